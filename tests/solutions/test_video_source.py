"""The names that --video takes, and who reads what they name."""

import sys
from pathlib import Path

import pytest
from moving_square import write_square

from solutions.phase4_production.video_analysis import camera, video_source
from solutions.phase4_production.video_analysis.edge_inference import edge
from solutions.phase4_production.video_analysis.frame_folder import FrameFolder
from solutions.phase4_production.video_analysis.stream_url import StreamUrl
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_source import (
    DEMO,
    Source,
    Webcam,
    open_reader,
    open_source,
    street_config,
)
from zoo import registry
from zoo.errors import InferenceError
from zoo.terminal import run_command


def test_a_file_and_a_folder_have_their_readers(tmp_path: Path) -> None:
    video = write_square(tmp_path / "a.mp4", 3)
    assert isinstance(open_reader(open_source(str(video), None)), VideoReader)
    (tmp_path / "images").mkdir()
    with pytest.raises(InferenceError, match="no images"):
        open_reader(open_source(str(tmp_path / "images"), None))
    assert FrameFolder.live is False


@pytest.mark.parametrize("name, video", [
    ("0", Webcam(0)),
    ("/dev/video12", Webcam(12)),
    ("rtsp://host/a", StreamUrl("rtsp://host/a")),
    ("HTTP://host/a.mp4", StreamUrl("HTTP://host/a.mp4")),
    ("./0", Path("0")),
    ("concat:a.mp4|b.mp4", Path("concat:a.mp4|b.mp4")),
])
def test_names_are_told_apart(name: str, video: object) -> None:
    assert open_source(name, None).video == video


@pytest.mark.parametrize("name", ["ftp://host/a", "file:///etc/passwd", "udp://@:1", "x://"])
def test_other_schemes_are_refused_by_name(name: str) -> None:
    with pytest.raises(InferenceError, match="only rtsp, rtsps, http, https"):
        open_source(name, None)


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "pipe:0", "data:,x", "a" * 5000, "\udcff"])
def test_a_file_name_is_only_ever_a_file_name(name: str) -> None:
    with pytest.raises(InferenceError, match=r"no such file|not a readable video"):
        open_reader(open_source(name, None))


def test_a_file_named_like_a_protocol_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_square(tmp_path / "a.mp4", 3).rename("concat:b.mp4")
    assert len(list(open_reader(open_source("concat:b.mp4", None)).frames())) == 3


def test_a_street_takes_parameters() -> None:
    assert street_config("zoo:street") == DEMO
    chosen = street_config("zoo:street?seed=3&frames=40&difficulty=0.75")
    assert (chosen.seed, chosen.frames, chosen.difficulty) == (3, 40, 0.75)
    assert chosen.split == DEMO.split == "test" and chosen.zoom == DEMO.zoom


def test_a_street_with_parameters_is_rendered_with_its_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "cache_folder", lambda: tmp_path)
    source = open_source("zoo:street?seed=3&frames=4&width=64&height=48&fps=10", None)
    reader = open_reader(source)
    assert source.name.startswith("zoo:street?seed=3") and source.truth is not None
    assert (reader.width, reader.height, reader.fps, reader.expected_frames) == (64, 48, 10, 4)
    assert len(list(reader.frames())) == 4 == len(source.truth.frames)


BAD_STREETS = {
    "zoo:street?speed=3": "speed is unknown, choose of seed, frames",
    "zoo:street?split=train": "split is unknown",
    "zoo:street?seed=three": "seed is no number: 'three'",
    "zoo:street?seed=1.5": "seed is no number",
    "zoo:street?seed=": "seed is no number",
    "zoo:street?seed": "write zoo:street",
    "zoo:street?seed=1&seed=2": "seed is given twice",
    "zoo:street?seed=-1": "seed >= 0",
    "zoo:street?frames=0": "frames >= 1",
    "zoo:street?frames=999999999": "at most 108000 frames",
    "zoo:street?difficulty=2": "must lie in 0..1",
    "zoo:street?difficulty=nan": "must lie in 0..1",
    "zoo:street?width=100000": "each side must lie in",
    "zoo:streets": "the zoo has zoo:street",
}


@pytest.mark.parametrize("name", BAD_STREETS)
def test_a_bad_street_is_one_clear_line(name: str) -> None:
    with pytest.raises(InferenceError, match=BAD_STREETS[name]) as caught:
        open_source(name, None)
    assert "\n" not in str(caught.value)


def test_the_larger_of_two_streams_is_read_unless_one_is_chosen() -> None:
    try:
        source = open_source("two-streams-video", None)
    except InferenceError as error:
        pytest.skip(str(error))
    sizes = []
    for number in (None, 0, 1):
        reader = open_reader(source, number)
        sizes.append((reader.width, reader.height))
        frame = next(iter(reader.frames()))
        assert frame.time == 0.0 and frame.image.shape == (reader.height, reader.width, 3)
        reader.close()
    assert sizes[0] == max(sizes[1:], key=lambda size: size[0] * size[1])
    assert sizes[1] != sizes[2]
    with pytest.raises(InferenceError, match="no picture stream 2: it has 2"):
        open_reader(source, 2)


def test_a_stream_number_is_for_videos_only(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="leave --stream out"):
        open_reader(Source("a", tmp_path, None), 1)


def test_a_webcam_that_does_not_exist_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["edge_inference.py", "--video", "987"])
    assert run_command(edge) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert printed.err.startswith("error: webcam 987: ")


class FakeCapture:
    """A camera with three pictures."""

    def __init__(self, number: int) -> None:
        import numpy as np

        self.left = [np.full((48, 64, 3), 50 * i, np.uint8) for i in range(3)]

    def read(self) -> tuple[bool, object]:
        return (True, self.left.pop(0)) if self.left else (False, None)

    def get(self, what: int) -> float:
        return 15.0

    def release(self) -> None:
        self.left = []


def test_a_webcam_is_read_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "_open_quietly", FakeCapture)
    monkeypatch.setattr(camera.sys, "platform", "elsewhere")
    seconds = iter([10.0, 10.1, 10.3])
    reader = camera.CameraReader(0, lambda: next(seconds))
    assert (reader.width, reader.height, reader.fps, reader.live) == (64, 48, 15.0, True)
    frames = list(reader.frames())
    assert [round(f.time, 6) for f in frames] == [0, 0.1, 0.3]
    assert [int(f.image[0, 0, 0]) for f in frames] == [0, 50, 100]
    assert reader.broken == "the camera stopped"
    assert video_source.Webcam(0) == Webcam(0)
