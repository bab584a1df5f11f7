"""Reconnecting: bounded, jittered, and with times that go on."""

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame, FrameReader
from solutions.phase4_production.video_analysis.interruption import Interruption
from solutions.phase4_production.video_analysis.reconnect import (
    Backoff,
    ReconnectError,
    full_jitter,
    reconnect,
)
from solutions.phase4_production.video_analysis.stream_reader import StreamReader
from solutions.phase4_production.video_analysis.video_run import FrameSource
from zoo.errors import InferenceError


def test_waits_are_uniform_below_a_doubling_ceiling() -> None:
    backoff, rng = Backoff(0.5, 4.0, 99), random.Random(3)
    for attempt, ceiling in enumerate([0.5, 1.0, 2.0, 4.0, 4.0]):
        waits = [full_jitter(attempt, backoff, rng) for _ in range(4000)]
        assert 0 <= min(waits) < 0.05 * ceiling and 0.95 * ceiling < max(waits) <= ceiling
        assert abs(statistics.mean(waits) - ceiling / 2) < 0.03 * ceiling
        assert abs(statistics.pstdev(waits) - ceiling / 12**0.5) < 0.02 * ceiling
    assert full_jitter(10_000, backoff, rng) <= 4.0


def test_it_waits_before_every_attempt_and_returns_what_connects() -> None:
    events: list[str] = []
    answers = iter([False, False, True])

    def connect() -> str:
        events.append("connect")
        if not next(answers):
            raise InferenceError("refused")
        return "connected"

    found = reconnect(connect, Backoff(), random.Random(0), lambda s: events.append("wait"))
    assert found == "connected" and events == ["wait", "connect"] * 3


def test_it_gives_up_after_the_last_attempt_and_says_why() -> None:
    tries = []

    def connect() -> None:
        tries.append(1)
        raise InferenceError("refused")

    with pytest.raises(ReconnectError, match=r"^5 reconnects failed .*refused"):
        reconnect(connect, Backoff(0.1, 1.0, 5), random.Random(0), lambda s: None)
    assert len(tries) == 5


def test_another_fault_is_not_tried_again() -> None:
    def connect() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        reconnect(connect, Backoff(), random.Random(0), lambda s: None)


class Connection:
    """A scripted connection: frames, and then it is over."""

    def __init__(self, frames: int, live: bool = True, size: int = 8) -> None:
        self.width = self.height = size
        self.fps, self.live, self.count = 10.0, live, frames
        self.expected_frames: int | None = None
        self.broken: str | None = None if live else "cut off"
        self.closed = False

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        for index in range(self.count):
            image = np.full((self.height, self.width, 3), index, np.uint8)
            yield DecodedFrame(index, index / 10, image)

    def close(self) -> None:
        self.closed = True


def script(*steps: Connection | Exception) -> Callable[[], FrameReader]:
    remaining = list(steps)

    def connect() -> FrameReader:
        step = remaining.pop(0) if remaining else InferenceError("refused")
        if isinstance(step, Exception):
            raise step
        return step

    return connect


QUICK = Backoff(0.001, 0.002, 3)


def test_frames_go_on_across_reconnects_until_these_are_used_up() -> None:
    first, second = Connection(4), Connection(3, size=16)
    refused = InferenceError("refused")
    reader = StreamReader(script(first, refused, refused, second), QUICK, random.Random(0))
    frames = list(reader.frames())
    assert [f.index for f in frames] == list(range(7))
    gaps = np.diff([f.time for f in frames])
    assert np.allclose(np.delete(gaps, 3), 0.1) and gaps[3] >= 0.1 - 1e-9
    assert {f.image.shape for f in frames} == {(8, 8, 3)}
    assert [int(f.image[0, 0, 0]) for f in frames] == [0, 1, 2, 3, 0, 1, 2]
    assert reader.reconnects == 1 and first.closed and second.closed
    assert reader.broken == "stream ended: 3 reconnects failed (the last one: refused)"


def test_the_gap_of_a_reconnect_shows_in_the_times() -> None:
    ticks = iter([0.0, 0.1, 0.2, 7.2, 7.3])
    reader = StreamReader(
        script(Connection(3), Connection(2)), QUICK, random.Random(0), lambda: next(ticks)
    )
    assert np.allclose([f.time for f in reader.frames()], [0, 0.1, 0.2, 7.2, 7.3])


def test_what_has_an_end_is_not_reconnected() -> None:
    reader = StreamReader(script(Connection(4, live=False), Connection(4)), QUICK)
    assert len(list(reader.frames())) == 4
    assert reader.broken == "cut off" and reader.reconnects == 0


def test_the_first_connection_must_succeed() -> None:
    with pytest.raises(InferenceError, match="refused"):
        StreamReader(script())


def test_a_fault_of_the_stream_reaches_whoever_iterates() -> None:
    class Faulty(Connection):
        def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
            yield from super().frames(limit)
            raise ZeroDivisionError

    reader = StreamReader(script(Faulty(5)), QUICK)
    with pytest.raises(ZeroDivisionError):
        list(reader.frames())


class Hanging(Connection):
    """Gives its frames and then hangs until ``release``."""

    def __init__(self, frames: int) -> None:
        super().__init__(frames)
        self.release = threading.Event()

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        yield from super().frames(limit)
        self.release.wait(60)


@pytest.mark.parametrize("where", ["read", "backoff"])
def test_a_run_ends_soon_though_the_stream_hangs(where: str) -> None:
    hanging = Hanging(3)
    connect = script(hanging) if where == "read" else script(Connection(3))
    reader = StreamReader(connect, Backoff(60.0, 60.0, 3), random.Random(1))
    stop = Interruption()
    source = FrameSource(reader, None, stop, lambda image: None)
    seen = 0
    threading.Timer(0.3, lambda: setattr(stop, "signal", 2)).start()
    for _ in source:
        seen += 1
    start = time.monotonic()
    source.close()
    assert seen == 3
    assert time.monotonic() - start < 30  # not the minute that it hangs for
    hanging.release.set()


def test_a_slow_reader_holds_the_stream_back() -> None:
    given = []

    class Counting(Connection):
        def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
            for frame in super().frames(limit):
                given.append(frame.index)
                yield frame

    reader = StreamReader(script(Counting(1000)), QUICK)
    frames = reader.frames()
    assert next(frames).index == 0
    time.sleep(0.2)
    assert len(given) <= 5
    reader.close()
    assert list(frames) == []
