"""Real time: due moments, the latest frame wins, every drop is counted by its reason."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from moving_square import square_frame, square_pipeline, write_square

from solutions.phase4_production.video_analysis.detector import PreparedFrame
from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame
from solutions.phase4_production.video_analysis.interruption import Interruption
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult, VideoPipeline
from solutions.phase4_production.video_analysis.realtime import (
    DECODED_LATE,
    OVERTAKEN,
    LatestSlot,
    PacedSource,
    Pacer,
)
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_run import run_video


def test_the_slot_holds_the_latest() -> None:
    slot: LatestSlot[int] = LatestSlot()
    assert slot.take(0) is None
    assert [slot.put(1), slot.put(2), slot.put(3)] == [False, True, True]
    assert slot.take(0) == 3 and slot.take(0) is None
    assert slot.put(4) is False


def test_the_slot_wakes_who_waits() -> None:
    slot: LatestSlot[str] = LatestSlot()
    threading.Timer(0.05, slot.put, ["here"]).start()
    assert slot.take(10) == "here"


class FakeClock:
    """Time that passes only where it is waited for or worked."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def paced(work: list[float], interval: float) -> list[float | None]:
    """When each frame is due if decoding takes so long; None: dropped."""
    clock = FakeClock()
    pacer = Pacer(clock, clock.wait)
    due = []
    for index, seconds in enumerate(work):
        clock.now += seconds
        due.append(pacer.until_due(index * interval, interval))
    return due


def test_frames_are_due_by_their_times_from_the_first_on() -> None:
    assert paced([5.0, 0.01, 0.01, 0.01], 0.1) == pytest.approx([105.0, 105.1, 105.2, 105.3])


def test_a_frame_whose_successor_is_due_is_dropped_until_the_decoder_caught_up() -> None:
    due = paced([0.0, 0.01, 0.35, 0.01, 0.01, 0.01, 0.01], 0.1)
    assert [d is None for d in due] == [False, False, True, True, False, False, False]
    assert due[-1] == pytest.approx(100.6)


def test_a_decoder_that_never_keeps_up_still_shows_one_in_ten() -> None:
    due = paced([0.0] + [0.5] * 40, 0.1)
    assert [i for i, d in enumerate(due) if d is not None] == [0, 10, 20, 30, 40]


class Slow(VideoPipeline):
    """Takes a while for each frame."""

    def analyse(
        self, frame: np.ndarray, seconds: float = 1 / 30, prepared: PreparedFrame | None = None
    ) -> FrameResult:
        time.sleep(0.12)
        return super().analyse(frame, seconds, prepared)


def test_a_pipeline_that_keeps_up_drops_nothing(tmp_path: Path) -> None:
    clip = write_square(tmp_path / "a.mp4", 30)
    record = run_video(square_pipeline(), VideoReader(clip), realtime=True)
    assert record.frames == record.analysed + record.dropped == 30
    assert record.drops[OVERTAKEN] <= 3  # a busy machine may lose some
    assert record.seconds > 0.9 * 29 / 30
    assert {"decode", "encode"}.isdisjoint(t.name for t in threading.enumerate())


def test_a_slow_pipeline_drops_by_reason_and_stays_fresh(tmp_path: Path) -> None:
    clip, good = write_square(tmp_path / "a.mp4", 45), square_pipeline()
    slow = Slow(good.detector, good.tracker)
    record = run_video(slow, VideoReader(clip), tmp_path / "out.mp4", realtime=True)
    assert record.analysed + record.dropped == record.frames == 45
    assert set(record.drops) <= {OVERTAKEN, DECODED_LATE} and record.drops[OVERTAKEN] > 15
    assert record.indices[-1] == 44  # the last frame is not lost
    assert np.all(np.diff(record.indices) > 0)
    assert np.percentile(record.latency_ms, 90) < 600  # never an ever longer queue


class Camera:
    """A live source that gives a frame every 10 ms, whether anybody is ready or not."""

    width, height, fps, expected_frames, live = 160, 96, 30.0, None, True
    broken: str | None = None

    def __init__(self, count: int, fault: Exception | None = None) -> None:
        self.count, self.fault, self.closed = count, fault, 0

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        for index in range(self.count):
            time.sleep(0.01)
            yield DecodedFrame(index, index / 100, square_frame(index))
        if self.fault is not None:
            raise self.fault

    def close(self) -> None:
        self.closed += 1


def test_a_live_source_always_runs_in_real_time() -> None:
    good, camera = square_pipeline(), Camera(80)
    record = run_video(Slow(good.detector, good.tracker), camera)
    assert record.frames == 80 and record.drops[OVERTAKEN] > 40 and camera.closed
    assert record.latency_ms.max() < 600


def test_a_fault_while_decoding_comes_after_the_frames_before_it() -> None:
    source = PacedSource(Camera(3, ValueError("cable")), None, Interruption(), Counter(),
                         square_pipeline().detector.prepare)
    seen = []
    with pytest.raises(ValueError, match="cable"):
        for item in source:
            seen.append(item.frame.index)
    source.close()
    assert seen[-1] == 2


def test_a_wish_to_stop_ends_a_paced_run() -> None:
    stop = Interruption()
    threading.Timer(0.3, lambda: setattr(stop, "signal", 2)).start()
    start = time.monotonic()
    record = run_video(square_pipeline(), Camera(100_000), stop=stop)
    assert record.partial == "interrupted" and time.monotonic() - start < 30
