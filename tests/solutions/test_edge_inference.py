"""The command: what it prints, what it leaves behind, and how it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from moving_square import square_pipeline, write_square

from solutions.phase4_production.video_analysis import edge_inference
from solutions.phase4_production.video_analysis.annotation import Annotator
from solutions.phase4_production.video_analysis.detections import TrackedObject
from solutions.phase4_production.video_analysis.device_profile import PROFILES
from zoo.terminal import run_command

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "solutions/phase4_production/video_analysis/edge_inference.py"


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs the command in this process, with a detector of bright spots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        edge_inference, "load_pipeline",
        lambda options, device, reader, scored: edge_inference.Loaded(square_pipeline(), ()),
    )

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["edge_inference.py", *map(str, words)])
        return run_command(edge_inference.edge)

    return run


def test_a_run_leaves_five_files(edge, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write_square(tmp_path / "a.mp4", 40)
    assert edge("--video", video, "--output", tmp_path / "new" / "out") == 0
    out = tmp_path / "new" / "out"
    names = {"annotated.mp4", "tracks.txt", "events.jsonl", "metrics.json", "report.html"}
    assert {p.name for p in out.iterdir()} == names
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["frames"] == metrics["analysed"] == 40 and metrics["partial"] is False
    assert metrics["device"] == "cpu" and metrics["detector"] == PROFILES["cpu"].detector
    printed = capsys.readouterr()
    assert "40 frames at" in printed.out and all(name in printed.out for name in names)
    with av.open(str(out / "annotated.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40


def test_options_limit_frames_and_leave_the_video_out(edge, tmp_path: Path) -> None:
    video = write_square(tmp_path / "a.mp4", 40)
    assert edge("--video", video, "--frames", 9, "--output", "out") == 0
    assert edge("--video", video, "--frames", 9, "--no-annotate", "--output", "out") == 0
    left = {"tracks.txt", "events.jsonl", "metrics.json", "report.html"}
    assert {p.name for p in Path("out").iterdir()} == left
    assert json.loads(Path("out/metrics.json").read_text())["analysed"] == 9


def test_a_device_that_is_not_here_is_said_and_labelled(
    edge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_square(tmp_path / "a.mp4", 10)
    assert edge("--video", video, "--device", "jetson") == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert len(notes) == 2 and "no Orin: only its profile is used" in notes[0]
    assert "no CUDA GPU here" in notes[1]
    metrics = json.loads(Path("out/edge/metrics.json").read_text())
    assert metrics["device"] == "jetson (on another machine)"
    report = Path("out/edge/report.html").read_text()
    assert "only its profile is used" in report and "jetson (on another machine)" in report


BAD = {
    "missing": ("no such file", None),
    "empty": ("the file is empty", b""),
    "text": ("not a readable video", b"hello\n" * 300),
    "cut": ("an MP4 without its index", None),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_video_is_one_line_and_exit_2(
    edge, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    reason, content = BAD[kind]
    video = tmp_path / f"{kind}.mp4"
    if content is not None:
        video.write_bytes(content)
    if kind == "cut":
        video.write_bytes(write_square(tmp_path / "whole.mp4", 60).read_bytes()[:1500])
    assert edge("--video", video, "--output", "out") == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and reason in lines[0]
    assert str(video) in lines[0] and printed.out == ""
    assert not Path("out").exists()


def test_a_cut_video_is_analysed_as_far_as_it_goes(
    edge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_square(tmp_path / "whole.mp4", 120, index_first=True).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * 0.6)])
    assert edge("--video", "cut.mp4", "--output", "out") == 0
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert metrics["partial"] is True and 10 <= metrics["analysed"] < 120
    assert "of 120 frames could be decoded" in capsys.readouterr().out
    assert "Partial result" in Path("out/report.html").read_text()


MISTAKES = {
    "unknown video": (["--video", "zoo:strreet"], "no video named"),
    "not a video": (["--video", "zoo:digits"], "is no video"),
    "unknown device": (["--device", "toaster"], "toaster"),
    "zero frames": (["--frames", "0"], "--frames"),
    "truth missing": (["--video", "a.mp4", "--truth", "no.json"], "ground truth no.json"),
    "line without an end": (["--video", "a.mp4", "--line", "1,2,3"], "--line 1,2,3"),
    "line of a point": (["--video", "a.mp4", "--line", "5,5,5,5"], "two different points"),
    "zone without area": (["--video", "a.mp4", "--zone", "1,1,9,1"], "has no area"),
    "zone of words": (["--video", "a.mp4", "--zone", "door=a,b,c,d"], "--zone a,b,c,d"),
    "colours": (["--mean", "1,2"], "one number or three"),
    "size": (["--input-size", "640"], "WIDTHxHEIGHT"),
    "output is a file": (["--video", "a.mp4", "--output", "a.mp4"], "cannot write there"),
    "output is the input": (["--video", "annotated.mp4", "--output", "."], "would overwrite"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(
    edge, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words, reason = MISTAKES[name]
    for video in ("a.mp4", "annotated.mp4"):
        write_square(tmp_path / video, 5)
    assert edge(*words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and reason in lines[0], lines
    assert (tmp_path / "annotated.mp4").stat().st_size > 0


def test_a_stray_coco_file_beside_the_video_does_no_harm(
    edge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "coco.json").write_text('{"images": []}')
    assert edge("--video", write_square(tmp_path / "a.mp4", 5)) == 0
    assert "note: accuracy is not measured" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_plotting_the_metrics_are_there_and_one_line_names_the_extra(
    edge, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert edge("--video", write_square(tmp_path / "a.mp4", 5), "--output", "out") == 0
    assert f"note: no report: {package} is not installed: pip install '.[demo]'" in (
        capsys.readouterr().err
    )
    assert Path("out/metrics.json").is_file() and not Path("out/report.html").exists()


def test_importing_the_edge_path_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = "torch torchvision matplotlib pycocotools trackeval onnx sklearn jinja2"
    code = (
        "import sys, solutions.phase4_production.video_analysis.edge_inference\n"
        f"print(sorted(set('{heavy}'.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("as_module", [False, True])
def test_it_starts_as_a_file_and_as_a_module(tmp_path: Path, as_module: bool) -> None:
    words = ["-m", "solutions.phase4_production.video_analysis.edge_inference"]
    command = [sys.executable, *(words if as_module else [str(SCRIPT)]), "--video", "none.mp4"]
    done = subprocess.run(
        command, cwd=ROOT if as_module else tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "error: video none.mp4: no such file\n"


def test_annotation_draws_only_near_its_objects() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    box = np.array([120, 100, 200, 160], np.float32)
    drawn = Annotator(("bus",)).draw(image.copy(), [TrackedObject(3, box, 0, 0.9, "42")], "x")
    changed = (drawn != image).any(axis=2)
    assert changed[100, 120:201].all() and changed[100:161, 200].all()  # the box's edges
    assert not changed[105:155, 125:195].any()  # not what is inside
    assert changed[80:100, 120:160].any()  # the label above
    assert not changed[170:].any()


