"""The figures of a run: percentiles, metrics.json and tracks.txt."""

import json
from pathlib import Path

import numpy as np
import pytest

from solutions.phase4_production.video_analysis.accuracy import score_run
from solutions.phase4_production.video_analysis.detections import Detections, TrackedObject
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult
from solutions.phase4_production.video_analysis.result_files import TrackFile
from solutions.phase4_production.video_analysis.run_record import (
    RunRecord,
    metrics_of,
    percentiles,
    write_metrics,
)
from zoo.errors import InferenceError
from zoo.street.truth import CLASSES, FrameTruth, TrueObject

KEYS = ["frames", "analysed", "dropped", "drops", "fps", "latency_ms", "stages_ms",
        "first_result_s", "peak_rss_mb", "partial", "device", "runtime", "detector", "precision"]
SCORES = ["map50", "map", "mota", "idf1", "hota", "route_accuracy"]
BUS = CLASSES.index("bus")


def result(boxes: list[list[float]], label: int = BUS, route: str = "") -> FrameResult:
    """A frame in which the i-th box is track i + 1."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    found = Detections(array, np.full(len(array), 0.9, np.float32), np.full(len(array), label))
    tracks = tuple(TrackedObject(i + 1, box, label, 0.9, route, 0.8)
                   for i, box in enumerate(array))
    return FrameResult(found, tracks, {"detect": 4.0, "track": 1.0})


def record_of(results: list[FrameResult]) -> RunRecord:
    """A run of these frames, each 10 ms late."""
    record = RunRecord(seconds=2.0)
    for one in results:
        record.frames += 1
        record.add(one, 10.0)
    return record


def test_percentiles_interpolate_between_ranks() -> None:
    assert percentiles(range(101)) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert percentiles([3.0]) == {"p50": 3, "p95": 3, "p99": 3, "max": 3}
    assert percentiles([]) == {"p50": 0, "p95": 0, "p99": 0, "max": 0}


def test_metrics_have_exactly_the_agreed_keys(tmp_path: Path) -> None:
    record = record_of([result([[0, 0, 9, 9]])] * 8)
    metrics = metrics_of(record, "cpu", "onnxruntime", "zoo:street-middle", None)
    assert list(metrics) == KEYS
    assert metrics["fps"] == 4.0 and metrics["stages_ms"] == {"detect": 4.0, "track": 1.0}
    assert metrics["partial"] is False
    write_metrics(metrics, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics


def test_a_score_that_does_not_exist_is_null(tmp_path: Path) -> None:
    metrics = metrics_of(record_of([]), "cpu", "r", "d", {"route_accuracy": float("nan")})
    write_metrics(metrics, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text())["route_accuracy"] is None


def test_tracks_are_written_as_motchallenge(tmp_path: Path) -> None:
    record = record_of([result([]), result([[10, 20, 40, 80], [1.5, 2, 3, 4]])])
    file = TrackFile(tmp_path / "tracks.txt")
    for index, one in zip(record.indices, record.results, strict=True):
        file.add(index, one)
    file.close()
    rows = np.loadtxt(tmp_path / "tracks.txt", delimiter=",")
    assert rows.tolist() == [
        [2, 1, 10, 20, 30, 60, 0.9, BUS + 1, -1], [2, 2, 1.5, 2, 1.5, 2, 0.9, BUS + 1, -1]
    ]


def truth_of(boxes: list[list[float]], route: str) -> list[FrameTruth]:
    """One bus, one box a frame."""
    return [
        FrameTruth(i, i / 30, (TrueObject(7, BUS, (b[0], b[1], b[2], b[3]), 1.0, route, True, 20),))
        for i, b in enumerate(boxes)
    ]


BOXES = [[10.0 + i, 20.0, 60.0 + i, 50.0] for i in range(12)]


def test_perfect_tracks_score_one() -> None:
    record = record_of([result([box], route="42") for box in BOXES])
    scores = score_run(record, truth_of(BOXES, "42"), CLASSES).metrics()
    assert list(scores) == SCORES
    assert scores == dict.fromkeys(SCORES, pytest.approx(1.0, abs=1e-6))


def test_another_class_order_is_matched_by_name() -> None:
    labels = ("toaster", "bus")
    record = record_of([result([box], label=1, route="42") for box in BOXES])
    assert score_run(record, truth_of(BOXES, "42"), labels).metrics()["map50"] == pytest.approx(1)
    record = record_of([result([box], label=0, route="42") for box in BOXES])
    assert score_run(record, truth_of(BOXES, "42"), labels).metrics()["map50"] == 0


def test_skipped_frames_are_scored_against_their_own_truth() -> None:
    record = RunRecord(seconds=1.0)
    for index in range(0, 12, 3):
        record.add(result([BOXES[index]]), 5.0, index)
    assert score_run(record, truth_of(BOXES, "42"), CLASSES).metrics()["mota"] == pytest.approx(1)


def test_truth_of_another_video_is_refused() -> None:
    record = record_of([result([box]) for box in BOXES])
    with pytest.raises(InferenceError, match="ground truth has 5 frames"):
        score_run(record, truth_of(BOXES[:5], "42"), CLASSES)
