"""What a percentile of a few hundred latencies is worth.

The problem: "p99 = 41 ms" from 100 requests is the slowest request but one, and says next to
nothing about the next 100. The idea: how many of n independent latencies lie below the true
quantile is a binomial count, whatever the distribution of the latencies is. So two order
statistics enclose the true quantile with a probability that can be computed, and where there is
no such pair the sample is too small.

Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd edition, section 7.1.

Your part, to be checked by ``course check``:

    1.11 What a percentile is worth: percentile, percentile_ranks, samples_needed

The idea, an example and the usual mistakes: guidelines.md#111-what-a-percentile-is-worth
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
    # TODO 1.11 What a percentile is worth
    # 1. checked_sample gives the sample or raises. Refuse a quantile outside 0..1.
    # 2. Sort; the rank is the smallest whole number that is at least quantile * n, and at least 1.
    #    Mind that 0.07 * 100 is 7.000000000000001 in floating point: shave a relative 1e-12 off.
    raise NotImplementedError("exercise 1.11: percentile")


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
    # TODO 1.11 What a percentile is worth
    # 1. Refuse a quantile or a confidence that is not within 0..1 (both ends excluded).
    # 2. binomial_cdf(count, quantile)[k] is the probability that at most k samples lie below the
    #    true quantile. Each side may err with half of 1 - confidence.
    # 3. low is the largest rank l with P(B <= l - 1) <= error; high the smallest rank u with P(B <=
    #    u - 1) >= 1 - error. Where there is none within 1..count, None.
    raise NotImplementedError("exercise 1.11: percentile_ranks")


def samples_needed(quantile: float, confidence: float = CONFIDENCE) -> int:
    """The smallest sample whose interval has both ends: the extremes must enclose the quantile.

    The sample's maximum lies below the quantile with probability q^n, its minimum above it with
    (1 - q)^n; the likelier of the two decides.
    """
    # TODO 1.11 What a percentile is worth
    # 1. The smallest n for which the likelier of two failures is at most half of 1 - confidence:
    #    that all samples lie below the quantile (q^n), or all above it ((1 - q)^n).
    raise NotImplementedError("exercise 1.11: samples_needed")


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
