"""A run's course in bounded memory: recent values, running means, joined stretches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.model_pipeline import FrameResult

Floats = NDArray[np.float64]
STRONG = 0.5  # score
MOST_STRETCHES = 1600


class RecentValues:
    """The latest values of an endless series, exactly: 8 MB at most by default.

    The array grows with the series up to ``capacity``; from then on it is a ring::

        | newer | oldest ... | newest |      count % capacity is the next place
    """

    def __init__(self, capacity: int = 1 << 20) -> None:
        assert capacity >= 1, capacity
        self.capacity, self.count = capacity, 0
        self._array = np.empty(min(capacity, 1024))

    def append(self, value: float) -> None:
        """Add one value."""
        if self.count == len(self._array) < self.capacity:
            grown = np.empty(min(2 * len(self._array), self.capacity))
            grown[: self.count] = self._array
            self._array = grown
        self._array[self.count % self.capacity] = value
        self.count += 1

    def last(self, count: int) -> Floats:
        """The latest ``count`` values, oldest first."""
        count = min(count, self.count, self.capacity)
        end = (self.count - 1) % self.capacity + 1 if self.count else 0
        tail = self._array[max(0, end - count) : end]
        missing = count - len(tail)
        head = self._array[self.capacity - missing : self.capacity] if missing else tail[:0]
        return np.concatenate([head, tail])

    def values(self) -> Floats:
        """All that are kept, oldest first."""
        return self.last(self.capacity)

    def __len__(self) -> int:
        return min(self.count, self.capacity)


@dataclass
class RunningMean:
    """The mean of an endless series."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        """Take one value in."""
        self.total += value
        self.count += 1

    @property
    def mean(self) -> float:
        """The mean so far; 0 where there was nothing."""
        return self.total / self.count if self.count else 0.0


@dataclass
class Stretch:
    """Some frames in a row."""

    frames: int
    time: float  # sum of their times, seconds
    latency: float  # greatest, ms
    strong: int  # detections with a high score
    tracked: dict[int, int]  # tracks by label, summed over the frames

    def join(self, other: "Stretch") -> None:
        """Take the next stretch in."""
        self.frames += other.frames
        self.time += other.time
        self.latency = max(self.latency, other.latency)
        self.strong += other.strong
        for label, count in other.tracked.items():
            self.tracked[label] = self.tracked.get(label, 0) + count


class Timeline:
    """Latency and objects over time: at most ``MOST_STRETCHES`` stretches of equal length.

    When there are more, neighbours are joined, so each then covers twice as many frames.
    """

    def __init__(self, most: int = MOST_STRETCHES) -> None:
        assert most >= 2 and most % 2 == 0, most
        self.most, self.length = most, 1  # frames per stretch
        self._stretches: list[Stretch] = []

    def add(self, time: float, latency_ms: float, result: FrameResult) -> None:
        """Note one frame."""
        tracked: dict[int, int] = {}
        for track in result.tracks:
            tracked[track.label] = tracked.get(track.label, 0) + 1
        strong = int(np.count_nonzero(result.detections.scores >= STRONG))
        frame = Stretch(1, time, latency_ms, strong, tracked)
        if self._stretches and self._stretches[-1].frames < self.length:
            self._stretches[-1].join(frame)
            return
        if len(self._stretches) == self.most:
            self._halve()
        self._stretches.append(frame)

    def _halve(self) -> None:
        for first, second in zip(self._stretches[::2], self._stretches[1::2], strict=True):
            first.join(second)
        self._stretches = self._stretches[::2]
        self.length *= 2

    def __len__(self) -> int:
        return len(self._stretches)

    @property
    def times(self) -> Floats:
        """Mean time of each stretch, seconds."""
        return np.array([s.time / s.frames for s in self._stretches])

    @property
    def latency(self) -> Floats:
        """Greatest latency in each stretch, ms."""
        return np.array([s.latency for s in self._stretches])

    @property
    def strong(self) -> Floats:
        """Detections with a high score per frame."""
        return np.array([s.strong / s.frames for s in self._stretches])

    def tracked(self, labels: int) -> Floats:
        """Tracks per frame by label [labels, stretches]."""
        table = np.zeros((labels, len(self._stretches)))
        for column, stretch in enumerate(self._stretches):
            for label, count in stretch.tracked.items():
                table[label, column] = count / stretch.frames
        return table
