"""Bounded records of endless runs, against the plain lists that they stand for."""

import gc
import os

import numpy as np
import psutil
import pytest
from moving_square import square_pipeline, write_square

from solutions.phase4_production.video_analysis.detections import Detections, TrackedObject
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult
from solutions.phase4_production.video_analysis.run_record import RunRecord
from solutions.phase4_production.video_analysis.timeline import RecentValues, Timeline
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_run import run_video

BOX = np.array([1, 2, 9, 9], np.float32)


@pytest.mark.parametrize("capacity", [1, 2, 7, 1500, 5000])
def test_recent_values_are_the_end_of_the_series(capacity: int) -> None:
    recent, plain = RecentValues(capacity), []
    assert len(recent) == 0 and recent.values().tolist() == []
    for value in np.random.default_rng(0).random(4000).tolist():
        recent.append(value)
        plain.append(value)
        if len(plain) in (1, 2, 6, 7, 8, 13, 14, 1023, 1024, 1025, 1500, 1501, 4000):
            assert recent.values().tolist() == plain[-capacity:]
            assert recent.last(3).tolist() == plain[-min(3, capacity):]
    assert recent.count == 4000


def result(tracks: int, scores: list[float]) -> FrameResult:
    found = Detections(np.tile(BOX, (len(scores), 1)), np.array(scores, np.float32),
                       np.zeros(len(scores), np.int64))
    return FrameResult(found, tuple(TrackedObject(k + 1, BOX, k % 3, 0.9) for k in range(tracks)),
                       {"detect": 1.0})


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 100, 1000])
def test_joined_stretches_keep_peaks_and_means(frames: int) -> None:
    rng, timeline = np.random.default_rng(frames), Timeline(16)
    latency, counts = rng.random(frames), rng.integers(0, 6, frames)
    for index in range(frames):
        timeline.add(index / 30, latency[index], result(counts[index], [0.6, 0.4]))
    assert len(timeline) <= 16 and timeline.latency.max() == latency.max()
    length = timeline.length
    starts = range(0, frames, length)
    np.testing.assert_allclose(timeline.latency, [latency[i:i + length].max() for i in starts])
    np.testing.assert_allclose(timeline.times,
                               [np.arange(frames)[i:i + length].mean() / 30 for i in starts])
    np.testing.assert_allclose(timeline.tracked(3).sum(axis=0),
                               [counts[i:i + length].mean() for i in starts])
    assert np.all(timeline.strong == 1.0)


def memory() -> float:
    gc.collect()
    return psutil.Process(os.getpid()).memory_info().rss / 2**20


def grow(frames: int) -> float:
    """How much memory a record takes for so many frames after the first thousands, MiB."""
    record = RunRecord(keep=False)
    for index in range(frames + 3000):
        if index == 3000:
            before = memory()
        record.add(result(5, [0.9, 0.3]), 5.0, index, index / 30)
    return memory() - before


def test_memory_of_a_run_stays_flat_over_5000_frames(tmp_path) -> None:
    clip = write_square(tmp_path / "a.mp4", 5400)
    seen: list[float] = []

    def progress(record: RunRecord) -> None:
        if record.analysed in (400, 5400):
            seen.append(memory())

    record = run_video(square_pipeline(), VideoReader(clip), tmp_path / "out.mp4",
                       progress=progress, record=RunRecord(keep=False))
    assert record.analysed == 5400 and record.results == []
    assert seen[1] - seen[0] < 16, seen


@pytest.mark.slow
def test_memory_of_a_record_stays_flat_over_an_hour() -> None:
    assert grow(108_000) < 10


@pytest.mark.slow
def test_memory_of_a_run_stays_flat_over_an_hour_of_video(tmp_path) -> None:
    """An hour at 30 frames per second through decoding, analysis, drawing and encoding."""
    clip = write_square(tmp_path / "a.mp4", 108_000)
    seen: list[float] = []

    def progress(record: RunRecord) -> None:
        if record.analysed in (5_000, 108_000):
            seen.append(memory())

    record = run_video(square_pipeline(), VideoReader(clip), tmp_path / "out.mp4",
                       progress=progress, record=RunRecord(keep=False))
    assert record.analysed == 108_000
    assert seen[1] - seen[0] < 24, seen
