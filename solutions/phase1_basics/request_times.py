"""What a load generator notes about each request, and how a latency is split."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RequestTimes:
    """Three readings of one monotonic clock for each request, float64 [n], seconds."""

    scheduled: Floats  # when the request was due
    started: Floats  # when the model was called
    finished: Floats  # when its result was there, the device synchronised
    stopped: str = ""  # why the run ended early, "" where it did not

    def __post_init__(self) -> None:
        sizes = {len(self.scheduled), len(self.started), len(self.finished)}
        if len(sizes) != 1:
            raise InferenceError(f"request times of different lengths: {sorted(sizes)}")
        if np.any(self.finished < self.started):
            raise InferenceError("a request finished before it started: use a monotonic clock")

    @property
    def count(self) -> int:
        """Requests that were finished."""
        return len(self.finished)

    @property
    def latency(self) -> Floats:
        """Seconds from the moment a request was due to its result."""
        return self.finished - self.scheduled

    @property
    def compute(self) -> Floats:
        """Seconds within the model."""
        return self.finished - self.started


class LatencySplit(NamedTuple):
    """Where the latency of each request went: three arrays [n], seconds; they sum to it."""

    queue: Floats  # the model was busy with earlier requests
    overhead: Floats  # the model was free, and had not been called yet
    compute: Floats  # the model ran


def split_latency(times: RequestTimes) -> LatencySplit:
    """Split each latency at the moment from which nothing stood in the request's way.

        scheduled        ready              started          finished
            |--- queue ---|---- overhead ------|---- compute ----|

    A request is ready when it is due and the request before it has finished.
    """
    before = np.concatenate([[-np.inf], times.finished[:-1]])
    ready = np.minimum(np.maximum(times.scheduled, before), times.started)
    return LatencySplit(ready - times.scheduled, times.started - ready, times.compute)
