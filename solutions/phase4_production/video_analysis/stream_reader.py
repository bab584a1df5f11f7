"""Frames from a stream that may hang, stop and come back.

A read from the network cannot be interrupted, only timed out. So it happens in a thread that
nobody has to wait for: whoever iterates looks ten times a second whether it was told to stop::

    connect --> frames --[2 frames]--> whoever iterates
       ^           |
       +- backoff -+  the connection was lost
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame, FrameReader
from solutions.phase4_production.video_analysis.reconnect import (
    Backoff,
    ReconnectError,
    reconnect,
)

WAITING = 2  # frames between the thread and whoever iterates
PATIENCE = 0.1  # seconds between looks whether it was closed


class ClosedError(Exception):
    """Nobody wants more frames."""


class StreamReader:
    """Reads what ``connect`` opens; when that ends though it is live, connects again.

    Times go on across a reconnect by the time that the gap took. When the reconnects are used
    up, the frames end and ``broken`` says so; each frame that comes refills them.
    Raises what ``connect`` raises the first time.
    """

    def __init__(
        self,
        connect: Callable[[], FrameReader],
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect, self._clock = connect, clock
        self._backoff, self._rng = backoff or Backoff(), rng or random.Random()
        self._closed = threading.Event()
        self._queue: queue.Queue[DecodedFrame | BaseException | None] = queue.Queue(WAITING)
        self._opened: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.broken: str | None = None
        self.reconnects = 0
        self._count, self._last, self._arrived = 0, 0.0, 0.0
        threading.Thread(target=self._run, name="stream", daemon=True).start()
        self._await_opened()

    def _await_opened(self) -> None:
        try:
            while True:
                with suppress(queue.Empty):
                    fault = self._opened.get(timeout=PATIENCE)
                    break
        except BaseException:  # Ctrl-C while opening
            self._closed.set()
            raise
        if fault is not None:
            raise fault

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        """The frames as they come; at most ``limit``. Ends soon after ``close``."""
        count = 0
        while count != limit and not self._closed.is_set():
            try:
                item = self._queue.get(timeout=PATIENCE)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
            count += 1

    def close(self) -> None:
        """End it at once; a read that hangs is left to its timeout."""
        self._closed.set()

    # What follows runs in the thread.

    def _run(self) -> None:
        try:
            reader = self._connect()
        except BaseException as error:  # raised again by whoever opens
            self._opened.put(error)
            return
        self.width, self.height, self.fps = reader.width, reader.height, reader.fps
        self.expected_frames, self.live = reader.expected_frames, reader.live
        self._opened.put(None)
        try:
            self._follow(reader)
            self._put(None)
        except ClosedError:
            pass
        except BaseException as error:  # raised again by whoever iterates
            with suppress(ClosedError):
                self._put(error)

    def _follow(self, reader: FrameReader) -> None:
        """Forward frames from one connection after the other."""
        while True:
            live = reader.live
            self._forward(reader)
            if not live:
                self.broken = reader.broken
                return
            try:
                reader = reconnect(self._connect, self._backoff, self._rng, self._sleep)
            except ReconnectError as error:
                self.broken = f"stream ended: {error}"
                return
            self.reconnects += 1

    def _forward(self, reader: FrameReader) -> None:
        """Put the frames of one connection, with times that go on from those before."""
        start: float | None = None
        try:
            for frame in reader.frames():
                now = self._clock()
                if start is None:
                    start = self._last + max(now - self._arrived, 1 / self.fps)
                    start = 0.0 if self._count == 0 else start
                self._last, self._arrived = start + frame.time, now
                self._put(DecodedFrame(self._count, self._last, self._fitted(frame)))
                self._count += 1
        finally:
            reader.close()

    def _fitted(self, frame: DecodedFrame) -> NDArray[np.uint8]:
        """The image in the size of the first connection, should the camera have changed it."""
        if frame.image.shape[:2] == (self.height, self.width):
            return frame.image
        return np.asarray(cv2.resize(frame.image, (self.width, self.height)), np.uint8)

    def _put(self, item: DecodedFrame | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=PATIENCE)
            except queue.Full:
                continue
        raise ClosedError

    def _sleep(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise ClosedError
