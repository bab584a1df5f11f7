"""The report's parts, where a short demo does not reach: nothing to show, and very much of it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from solutions.phase4_production.video_analysis import report, report_plots
from solutions.phase4_production.video_analysis.census import Route
from solutions.phase4_production.video_analysis.detections import Detections, TrackedObject
from solutions.phase4_production.video_analysis.device_profile import choose_device
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult
from solutions.phase4_production.video_analysis.run_output import RunSettings
from solutions.phase4_production.video_analysis.run_record import RunRecord, metrics_of
from solutions.phase4_production.video_analysis.video_source import Source

LABELS = tuple(f"class{i}" for i in range(12))
IMAGE = np.zeros((36, 64, 3), np.uint8)


def settings(name: str = "a.mp4") -> RunSettings:
    """A run of a file on a computer."""
    source = Source(name, Path(name), None)
    return RunSettings(source, 64, 36, 30.0, choose_device("cpu"), "onnxruntime", "d", LABELS)


def page_of(record: RunRecord, path: Path, name: str = "a.mp4") -> str:
    """The report's text."""
    for index in record.indices:
        record.samples.offer(index, index / 30, 0, IMAGE)
    metrics = metrics_of(record, "cpu", "onnxruntime", "d", None)
    report.write_report(record, metrics, None, settings(name), path)
    return path.read_text()


def record_of(frames: int) -> RunRecord:
    """A run with one track of each class at times."""
    record, rng = RunRecord(frames=frames, seconds=frames / 100), np.random.default_rng(0)
    box = np.array([1, 2, 9, 9], np.float32)
    for index in range(frames):
        tracks = tuple(
            TrackedObject(k + 1, box, k, 0.9, "7" if k == 2 else "", 0.9)
            for k in range(len(LABELS)) if (index >> k) % 2
        )
        result = FrameResult(Detections.empty(), tracks, {"detect": 1.0})
        record.add(result, float(rng.gamma(2, 5)), index, index / 30)
    return record


def test_a_run_without_a_frame_has_a_report(tmp_path: Path) -> None:
    text = page_of(RunRecord(partial="interrupted"), tmp_path / "r.html")
    assert "Nothing was analysed" in text and "interrupted" in text and "nan" not in text


def test_a_long_run_has_a_small_report(tmp_path: Path) -> None:
    record = record_of(20_000)
    text = page_of(record, tmp_path / "r.html")
    assert len(text) < 600_000
    assert "others" in text and "3.3 times real time" in text
    assert max(map(len, re.findall(r' d="([^"]*)"', text))) < 60_000


def test_names_from_outside_cannot_break_the_page(tmp_path: Path) -> None:
    text = page_of(record_of(5), tmp_path / "r.html", "<script>alert(1)</script>.mp4")
    assert "<script" not in text and "&lt;script&gt;" in text


def test_the_page_asks_for_nothing_from_outside(tmp_path: Path) -> None:
    text = page_of(record_of(50), tmp_path / "r.html")
    assert not re.search(r'(src|href)="(?!data:|#|metrics\.json|tracks\.txt)', text)
    placeholders = "|".join(report_plots.VARIABLES)
    assert not re.search(placeholders, text) and "var(--accent)" in text


def test_the_same_run_gives_the_same_plots() -> None:
    record = record_of(60)
    first, second = (
        report_plots.latency_timeline(record.timeline, record.latency_ms, 33.3) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(("fps", "words"), [
    (90.0, "3.0 times real time"), (31.0, "Keeps up with real time"),
    (20.0, "Slower than real time"),
])
def test_the_verdict_compares_with_the_video(fps: float, words: str) -> None:
    assert report.verdict({"analysed": 9, "fps": fps, "dropped": 0}, settings()) == words


def test_in_real_time_the_page_speaks_of_drops(tmp_path: Path) -> None:
    live = replace(settings(), realtime=True)
    record = record_of(20)
    record.frames, record.drops["overtaken by a newer frame"] = 25, 5
    metrics = metrics_of(record, "cpu", "onnxruntime", "d", None)
    assert report.verdict(metrics, live) == "In real time, some frames dropped"
    report.write_report(record, metrics, None, live, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "5 of 25 frames dropped" in text and "5 overtaken by a newer frame" in text
    assert "20.0%" in text


@pytest.mark.parametrize("count", [1, 799, 800, 801, 5003])
def test_binning_keeps_peaks_and_means(count: int) -> None:
    values = np.random.default_rng(count).random((2, count))
    assert np.allclose(report_plots.binned(values, "max").max(axis=1), values.max(axis=1))
    step = -(-count // report_plots.COLUMNS)
    means = [values[:, i : i + step].mean(axis=1) for i in range(0, count, step)]
    assert np.allclose(report_plots.binned(values, "mean"), np.array(means).T)


def test_routes_and_lives_are_taken_from_the_end_of_each_track() -> None:
    record = record_of(64)
    found = {s.label: s for s in report.seen(record, LABELS)}
    assert found["class2"].tracks == 1
    assert found["class2"].longest == pytest.approx((63 - 4) / 30)
    assert record.census.routes() == [Route(3, "7", 0.9, pytest.approx(59 / 30))]
