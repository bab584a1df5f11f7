"""Written video: true times, and playable whatever happens to the disk or the process."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from moving_square import square_frame

from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_writer import VideoWriter
from zoo.errors import InferenceError

ROOT = Path(__file__).parents[2]


def noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (96, 160, 3), np.uint8)


def test_frames_are_shown_at_their_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.3, 0.31, 2.0, 2.0, 1.9, 5.5]
    writer = VideoWriter(tmp_path / "a.mp4", 160, 96, 30)
    for index, when in enumerate(times):
        writer.write(square_frame(index), when)
    writer.close()
    found = [f.time for f in VideoReader(tmp_path / "a.mp4").frames()]
    assert np.allclose(found, [0.0, 0.04, 0.3, 0.31, 2.0, 2.0, 2.0, 5.5], atol=1e-3)
    assert np.diff(found).min() > 0


def test_a_whole_file_is_a_plain_mp4(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 160, 96, 30)
    for index in range(95):
        writer.write(square_frame(index))
    writer.close()
    writer.close()
    reader = VideoReader(tmp_path / "a.mp4")
    assert reader.expected_frames == 95 == len(list(reader.frames()))
    assert reader.broken is None
    with pytest.raises(InferenceError, match="closed already"):
        writer.write(square_frame(0))


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "a.mp4", 160, 96, 30).close()
    assert not (tmp_path / "a.mp4").exists()


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A file system of that size in the folder; skips where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("kilobytes", [4, 64, 1500])
def test_a_full_disk_is_told_and_what_fitted_plays(tmp_path: Path, kilobytes: int) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, kilobytes):
        writer = VideoWriter(disk / "a.mp4", 160, 96, 30)
        written = 0
        with pytest.raises(InferenceError, match="No space left on device"):
            for index in range(2000):
                writer.write(noise(index))
                written += 1
        writer.close()  # what failed was told already
        assert written >= 1
        if kilobytes == 1500:
            count = len(list(VideoReader(disk / "a.mp4").frames()))
            assert count >= written - 61  # two fragments at most are lost


LIMITED = """
import resource, signal, sys
sys.path[:0] = ["tests/solutions"]
from pathlib import Path
from test_video_writer import noise
from solutions.phase4_production.video_analysis.video_writer import VideoWriter
from zoo.errors import InferenceError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
writer = VideoWriter(Path(sys.argv[1]), 160, 96, 30)
try:
    for index in range(2000):
        writer.write(noise(index))
except InferenceError as error:
    print(index, error)
writer.close()
"""


def test_a_file_that_may_not_grow_is_told_and_what_fitted_plays(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "a.mp4")], cwd=ROOT,
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0 and "cannot be written (File too large)" in done.stdout, done
    written = int(done.stdout.split()[0])
    assert len(list(VideoReader(tmp_path / "a.mp4").frames())) >= written - 61


ENDLESS = """
import sys
sys.path[:0] = ["tests/solutions"]
from moving_square import square_pipeline
from solutions.phase4_production.video_analysis import edge_inference
from zoo.terminal import run_command
edge_inference.load_pipeline = lambda *words: edge_inference.Loaded(square_pipeline(), ())
sys.argv = ["edge", "--video", sys.argv[1], "--output", sys.argv[2]]
sys.exit(run_command(edge_inference.edge))
"""


@pytest.mark.parametrize("number, code", [
    (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9),
])
def test_a_run_that_is_ended_leaves_a_playable_video(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    video, output = tmp_path / "long.mp4", tmp_path / "out"
    writer = VideoWriter(video, 160, 96, 30)
    for index in range(9000):
        writer.write(square_frame(index))
    writer.close()
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(video), str(output)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    annotated = output / "annotated.mp4"
    deadline = time.monotonic() + 60
    while not (annotated.exists() and annotated.stat().st_size > 5_000):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    printed = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert 10 < len(list(VideoReader(annotated).frames())) < 9000
    names = {path.name for path in output.iterdir()}
    if number != signal.SIGKILL:
        assert {"metrics.json", "report.html", "tracks.txt"} <= names
        assert '"partial": true' in (output / "metrics.json").read_text()
