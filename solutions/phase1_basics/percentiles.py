"""What a percentile of a few hundred latencies is worth.

The problem: "p99 = 41 ms" from 100 requests is the slowest request but one, and says next to
nothing about the next 100. The idea: how many of n independent latencies lie below the true
quantile is a binomial count, whatever the distribution of the latencies is. So two order
statistics enclose the true quantile with a probability that can be computed, and where there is
no such pair the sample is too small.

Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError

Floats = NDArray[np.float64]
QUANTILES = (0.5, 0.95, 0.99)
CONFIDENCE = 0.95


class RankInterval(NamedTuple):
    """Ranks, from 1, of the order statistics that enclose a quantile; None: beyond the sample."""

    low: int | None
    high: int | None


@dataclass(frozen=True)
class PercentileEstimate:
    """A percentile of a sample and how far it can be trusted."""

    quantile: float  # 0.99 for p99
    value: float  # in the unit of the sample
    low: float | None  # the interval's ends; None: the sample is too small for this side
    high: float | None
    confidence: float  # that the interval was asked to have
    needed: int  # samples that are enough for both ends

    @property
    def supported(self) -> bool:
        """Whether the sample is large enough for an interval with both ends."""
        return self.low is not None and self.high is not None

    @property
    def name(self) -> str:
        """p50, p99, p99.9."""
        return f"p{100 * self.quantile:.10g}"

    @property
    def verdict(self) -> str:
        """Whether the sample supports the figure, in a few words."""
        return "supported" if self.supported else f"too few samples, {self.needed} needed"


def checked_sample(values: Sequence[float] | Floats) -> Floats:
    """The sample float64 [n]. Raises InferenceError where it is empty or not all finite."""
    sample = np.asarray(values, np.float64).ravel()
    if not len(sample):
        raise InferenceError("no samples: at least one measurement is needed")
    bad = int((~np.isfinite(sample)).sum())
    if bad:
        raise InferenceError(f"{bad} of {len(sample)} samples are not finite: measure again")
    return sample


def percentile(values: Sequence[float] | Floats, quantile: float) -> float:
    """The smallest sample value that at least ``quantile`` of the samples do not exceed.

    An order statistic itself, never a value between two (definition 1 of Hyndman and Fan,
    "Sample quantiles in statistical packages", 1996). Raises InferenceError for an empty sample,
    one that is not finite, or a quantile outside 0..1.
    """
    sample = np.sort(checked_sample(values))
    if not 0 <= quantile <= 1:
        raise InferenceError(f"quantile {quantile:g} is outside 0..1")
    rank = math.ceil(quantile * len(sample) * (1 - 1e-12))
    return float(sample[max(rank, 1) - 1])


def binomial_cdf(count: int, probability: float) -> Floats:
    """P(B <= k) for k = 0..count, B binomial: float64 [count + 1]."""
    k = np.arange(count + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    log_choose = log_factorial[count] - log_factorial[k] - log_factorial[count - k]
    log_mass = log_choose + k * math.log(probability) + (count - k) * math.log1p(-probability)
    cumulated: Floats = np.minimum(np.cumsum(np.exp(log_mass)), 1.0)
    return cumulated


def percentile_ranks(count: int, quantile: float, confidence: float = CONFIDENCE) -> RankInterval:
    """Ranks l and u with P(X_(l) <= true quantile <= X_(u)) >= confidence, whatever X is.

    Each side errs with at most half of what is left of the confidence. X_(l) lies above the
    quantile only where fewer than l of the samples lie below it: P(B <= l - 1); X_(u) lies below
    it only where at least u do: 1 - P(B <= u - 1).

        rank   1 ... l ......... nq ......... u ... n
               |error|       the quantile     |error|

    Raises InferenceError for a quantile or a confidence that is not within 0..1.
    """
    if not (0 < quantile < 1 and 0 < confidence < 1):
        raise InferenceError(
            f"quantile {quantile:g} and confidence {confidence:g} must lie between 0 and 1"
        )
    below = binomial_cdf(count, quantile)
    error = (1 - confidence) / 2
    low = int(np.searchsorted(below, error, side="right"))  # the first l with P(B <= l) > error
    high = int(np.searchsorted(below, 1 - error, side="left")) + 1
    return RankInterval(low if low >= 1 else None, high if high <= count else None)


def samples_needed(quantile: float, confidence: float = CONFIDENCE) -> int:
    """The smallest sample whose interval has both ends: the extremes must enclose the quantile.

    The sample's maximum lies below the quantile with probability q^n, its minimum above it with
    (1 - q)^n; the likelier of the two decides.
    """
    error = (1 - confidence) / 2
    return math.ceil(math.log(error) / math.log(max(quantile, 1 - quantile)))


def percentile_estimate(
    values: Sequence[float] | Floats, quantile: float, confidence: float = CONFIDENCE
) -> PercentileEstimate:
    """A percentile with its distribution-free confidence interval.

    Raises InferenceError as :func:`percentile` and :func:`percentile_ranks` do.
    """
    sample = np.sort(checked_sample(values))
    low, high = percentile_ranks(len(sample), quantile, confidence)
    return PercentileEstimate(
        quantile, percentile(sample, quantile),
        None if low is None else float(sample[low - 1]),
        None if high is None else float(sample[high - 1]),
        confidence, samples_needed(quantile, confidence),
    )  # fmt: skip
