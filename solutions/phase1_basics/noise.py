"""Whether a measurement may be believed: outliers, spread, dependence, drift.

Each test is one function over the latencies in the order in which they were measured.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.percentiles import checked_sample

Floats = NDArray[np.float64]
OUTLIER_SCORE = 3.5  # Iglewicz and Hoaglin's bound
NOISY_SPREAD = 0.10  # interquartile range over median
SIGNIFICANT = 0.01
BLOCKS = 20


@dataclass(frozen=True)
class Drift:
    """Whether the latencies rise or fall over the run."""

    change: float  # of the fitted line over the whole run, as a part of the median
    probability: float  # of so clear a trend where there is none

    @property
    def significant(self) -> bool:
        """Whether chance is no longer an explanation."""
        return self.probability < SIGNIFICANT


@dataclass(frozen=True)
class Noise:
    """The flags of one measurement."""

    outliers: int
    spread: float  # interquartile range over median
    dependence: float  # lag-1 autocorrelation
    dependence_bound: float  # beyond which it is no accident
    drift: Drift

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader must know, one sentence each."""
        found = []
        if self.outliers:
            found.append(f"{self.outliers} outliers (modified z-score over {OUTLIER_SCORE})")
        if self.spread > NOISY_SPREAD:
            found.append(f"noisy: the middle half spreads over {100 * self.spread:.0f}% of the "
                         "median")
        if self.dependence > self.dependence_bound:
            found.append(f"neighbouring requests depend on each other (autocorrelation "
                         f"{self.dependence:.2f}): the intervals are too narrow")
        if self.drift.significant:
            word = "slower" if self.drift.change > 0 else "faster"
            found.append(f"got {100 * abs(self.drift.change):.0f}% {word} during the run")
        return tuple(found)


def modified_z_scores(values: Sequence[float] | Floats) -> Floats:
    """0.6745 (x - median) / MAD for each value [n]; the median absolute deviation forgives
    outliers that a standard deviation would swallow.

    Where more than half of the values are equal, their mean absolute deviation takes its place.
    Source: B. Iglewicz and D. Hoaglin, How to Detect and Handle Outliers, 1993.
    """
    sample = checked_sample(values)
    away = sample - np.median(sample)
    deviation = float(np.median(np.abs(away))) / 0.6745
    if deviation == 0:
        deviation = float(np.mean(np.abs(away))) * 1.253314
    scores: Floats = away / deviation if deviation > 0 else np.zeros_like(away)
    return scores


def relative_spread(values: Sequence[float] | Floats) -> float:
    """The interquartile range as a part of the median."""
    low, middle, high = np.percentile(checked_sample(values), [25, 50, 75])
    return float((high - low) / middle) if middle > 0 else 0.0


def lag_one_autocorrelation(values: Sequence[float] | Floats) -> float:
    """How much one value tells about the next, -1..1; 0 for independent ones.

    Source: G. Box, G. Jenkins, Time Series Analysis, section 2.1. Taken over ranks, so that one
    outlier does not decide.
    """
    sample = checked_sample(values)
    if len(sample) < 3:
        return 0.0
    order = np.argsort(np.argsort(sample, kind="stable"), kind="stable").astype(np.float64)
    away = order - order.mean()
    return float((away[1:] * away[:-1]).sum() / (away**2).sum())


def drift(values: Sequence[float] | Floats, blocks: int = BLOCKS) -> Drift:
    """Mann-Kendall's test for a trend and Sen's slope, over the medians of consecutive blocks.

    S counts the pairs of blocks that rise minus those that fall; without a trend it is nearly
    normal with variance k (k - 1) (2 k + 5) / 18, less what ties take away.
    Source: R. Gilbert, Statistical Methods for Environmental Pollution Monitoring, 1987,
    sections 16.4 and 16.5. Fewer than 8 values show no drift.
    """
    sample = checked_sample(values)
    if len(sample) < 8:
        return Drift(0.0, 1.0)
    parts = np.array_split(sample, min(blocks, len(sample)))
    medians = np.array([np.median(part) for part in parts])
    first, second = np.triu_indices(len(medians), 1)
    rises = medians[second] - medians[first]
    score = int(np.sign(rises).sum())
    k = len(medians)
    ties = np.unique(medians, return_counts=True)[1]
    variance = (k * (k - 1) * (2 * k + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    if variance <= 0:
        return Drift(0.0, 1.0)
    z = (abs(score) - 1) / math.sqrt(variance) if score else 0.0
    slope = float(np.median(rises / (second - first)))
    middle = float(np.median(sample))
    change = slope * (k - 1) / middle if middle > 0 else 0.0
    return Drift(change, math.erfc(z / math.sqrt(2)))


def judge_noise(values: Sequence[float] | Floats) -> Noise:
    """All tests of one measurement, in the order in which it was taken."""
    sample = checked_sample(values)
    return Noise(
        outliers=int((modified_z_scores(sample) > OUTLIER_SCORE).sum()),
        spread=relative_spread(sample),
        dependence=lag_one_autocorrelation(sample),
        dependence_bound=2.576 / math.sqrt(len(sample)),
        drift=drift(sample),
    )
