"""Real time: a frame is due when its moment comes, and the latest frame wins.

The problem: a camera does not wait. A pipeline that takes every frame falls further and further
behind as soon as it is slower than the camera for a while. The idea: a slot for one frame between
camera and analysis; a newer frame takes the place of one that nobody has taken yet, and the drop
is counted::

    due         0   1   2   3   4   5
    in the slot 0   1   2   3   4   5
    analysed    0.......|   3...|   5      1 and 2 overtaken by 3 and 4 by 5 are drops

Latency counts from the moment a frame is due, so time in the slot is part of it.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.detector import PreparedFrame
from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame, FrameReader
from solutions.phase4_production.video_analysis.interruption import Interruption

Item = TypeVar("Item")
PATIENCE = 0.1  # seconds between looks whether the run was asked to end
OVERTAKEN, DECODED_LATE = "overtaken by a newer frame", "decoded too late"
EVEN_IF_LATE = 10  # of so many late frames in a row the last is analysed all the same


class LatestSlot(Generic[Item]):
    """Holds one thing; putting a newer one in throws an untaken one out."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: list[Item] = []  # none or one

    def put(self, item: Item) -> bool:
        """Put it in; whether an untaken one was thrown out for it."""
        with self._condition:
            threw_out = bool(self._items)
            self._items = [item]
            self._condition.notify()
        return threw_out

    def take(self, timeout: float) -> Item | None:
        """Take the latest, waiting for it at most ``timeout`` seconds; None where none came."""
        with self._condition:
            self._condition.wait_for(lambda: bool(self._items), timeout)
            return self._items.pop() if self._items else None


class TimedFrame(NamedTuple):
    """A decoded frame as the network wants it, and from when its latency counts."""

    frame: DecodedFrame
    prepared: PreparedFrame
    decode_ms: float
    prepare_ms: float
    ready: float  # perf_counter seconds


Prepare = Callable[[NDArray[np.uint8]], PreparedFrame]


def next_frame(frames: Iterator[DecodedFrame], prepare: Prepare) -> TimedFrame | None:
    """Decode a frame and lay it out for the network; None after the last.

    Both release the interpreter's lock for most of their time, so the thread that decodes does
    them while another one analyses the frame before. The latency counts from the decoded frame.
    """
    start = time.perf_counter()
    frame = next(frames, None)
    if frame is None:
        return None
    decoded = time.perf_counter()
    prepared = prepare(frame.image)
    done = time.perf_counter()
    return TimedFrame(frame, prepared, (decoded - start) * 1e3, (done - decoded) * 1e3, decoded)


class Pacer:
    """Says when frames are due: the first one when it was decoded, the others by their times."""

    def __init__(self, clock: Callable[[], float], wait: Callable[[float], object]) -> None:
        self._clock, self._wait = clock, wait
        self._start: float | None = None
        self._late = 0  # in a row

    def until_due(self, frame_time: float, interval: float) -> float | None:
        """Wait for a frame's moment and return it (seconds of the clock); None: drop the frame.

        A frame is dropped where the next one, ``interval`` seconds later, is due already; but of
        ten in a row one is let through, so that a decoder which never keeps up still shows
        something.
        """
        now = self._clock()
        if self._start is None:
            self._start = now - frame_time
        due = self._start + frame_time
        if now < due:
            self._wait(due - now)
        self._late = self._late + 1 if now > due + interval else 0
        if self._late % EVEN_IF_LATE:
            return None
        return due


class PacedSource:
    """Decodes in a thread of its own; iterating gives the latest frame that is due.

    A live source is not paced: its frames are due when they arrive. A fault while decoding is
    raised in the iterating thread.
    """

    def __init__(
        self, reader: FrameReader, limit: int | None, stop: Interruption, drops: Counter[str],
        prepare: Prepare,
    ) -> None:
        self._reader, self._stop, self._drops = reader, stop, drops
        self._prepare = prepare
        self._ended = threading.Event()
        self._done = threading.Event()
        self._fault: BaseException | None = None
        self._slot: LatestSlot[TimedFrame] = LatestSlot()
        self.decoded = 0
        self._thread = threading.Thread(
            target=self._decode, args=(reader, limit), name="decode", daemon=True
        )
        self._thread.start()

    def _decode(self, reader: FrameReader, limit: int | None) -> None:
        try:
            pacer = Pacer(time.perf_counter, self._ended.wait)
            frames = reader.frames(limit)
            while not (self._ended.is_set() or self._stop):
                item = next_frame(frames, self._prepare)
                if item is None:
                    break
                self.decoded += 1
                due = (item.ready if reader.live
                       else pacer.until_due(item.frame.time, 1 / reader.fps))
                if due is None:
                    self._drops[DECODED_LATE] += 1
                elif self._slot.put(item._replace(ready=due)):
                    self._drops[OVERTAKEN] += 1
        except BaseException as error:  # raised again in the iterating thread
            self._fault = error
        finally:
            self._done.set()

    def __iter__(self) -> Iterator[TimedFrame]:
        while not self._stop:
            finished = self._done.is_set()
            item = self._slot.take(0 if finished else PATIENCE)
            if item is not None:
                yield item
            elif finished:
                if self._fault is not None:
                    raise self._fault
                return

    def close(self) -> None:
        """End the thread, whatever it is doing."""
        self._ended.set()
        self._reader.close()  # a live one may wait for a frame that never comes
        self._thread.join()
