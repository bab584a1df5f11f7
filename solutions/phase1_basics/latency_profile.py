"""The latencies of one run, summarised with everything that says how far to trust them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.noise import Noise, judge_noise
from solutions.phase1_basics.percentiles import (
    CONFIDENCE,
    QUANTILES,
    PercentileEstimate,
    percentile_estimate,
)
from solutions.phase1_basics.request_times import RequestTimes, split_latency
from solutions.phase1_basics.throttling import Throttling, judge_throttling
from zoo.errors import InferenceError

Floats = NDArray[np.float64]
OVERLOADED = 0.95  # of the time busy: the queue has no end


@dataclass(frozen=True)
class LatencyProfile:
    """One run of a load generator. All times are seconds."""

    mode: Literal["closed", "open"]
    requested: int
    rate: float | None  # requests per second of an open loop
    latency: tuple[float, ...]  # of each finished request, in order
    queue: tuple[float, ...]
    overhead: tuple[float, ...]
    compute: tuple[float, ...]
    seconds: float  # from the first request's due time to the last result
    percentiles: tuple[PercentileEstimate, ...]
    noise: Noise
    throttling: Throttling
    stopped: str = ""

    @property
    def count(self) -> int:
        """Requests that were finished."""
        return len(self.latency)

    @property
    def throughput(self) -> float:
        """Finished requests per second."""
        return self.count / self.seconds if self.seconds > 0 else 0.0

    @property
    def utilisation(self) -> float:
        """The part of the time in which the model was busy."""
        return sum(self.compute) / self.seconds if self.seconds > 0 else 0.0

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader must know before believing a figure, one sentence each."""
        found = list(self.noise.flags)
        if self.throttling.noticed:
            word = "throttling" if self.throttling.evidence == "frequency" else "perhaps throttled"
            found.append(f"{word}: {self.throttling.reason}")
        if self.mode == "open" and self.utilisation > OVERLOADED:
            found.append(f"overloaded: busy {100 * self.utilisation:.0f}% of the time, so the "
                         "queue grows as long as the run lasts")
        return tuple(found)

    def percentile(self, quantile: float) -> PercentileEstimate:
        """The estimate of that quantile. Raises InferenceError where it was not estimated."""
        for estimate in self.percentiles:
            if estimate.quantile == quantile:
                return estimate
        raise InferenceError(f"the profile holds no estimate of the quantile {quantile:g}")


def summarise(
    times: RequestTimes,
    requested: int,
    rate: float | None = None,
    frequencies: Sequence[float | None] = (),
    confidence: float = CONFIDENCE,
) -> LatencyProfile:
    """The profile of a run: percentiles over latencies, noise over what the model itself took.

    ``rate`` is None for a closed loop; ``frequencies`` are the processor's in Hz, read before and
    after. Raises InferenceError where no request was finished.
    """
    if not times.count:
        raise InferenceError(f"nothing was measured: {times.stopped or 'no request finished'}")
    split = split_latency(times)
    noise = judge_noise(times.compute)
    return LatencyProfile(
        mode="closed" if rate is None else "open",
        requested=requested,
        rate=rate,
        latency=tuple(times.latency.tolist()),
        queue=tuple(split.queue.tolist()),
        overhead=tuple(split.overhead.tolist()),
        compute=tuple(split.compute.tolist()),
        seconds=float(times.finished[-1] - times.scheduled[0]),
        percentiles=tuple(percentile_estimate(times.latency, q, confidence) for q in QUANTILES),
        noise=noise,
        throttling=judge_throttling(frequencies, noise.drift),
        stopped=times.stopped,
    )
