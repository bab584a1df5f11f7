"""Whether a right answer is fast enough: by the ratio to the reference, with its spread.

The answer and the reference run in turns on fresh inputs, so that a noisy minute meets both; the
judge's clock times both, and every output is checked, so that nobody wins by computing nothing.
The median of the ratios has a distribution-free confidence interval (order statistics). Where it
lies on one side of the bound, that is the verdict; where it lies astride, there are more rounds,
and in the end the benefit of the doubt. Who looks several times errs more often: the looks share
the error that is allowed (Bonferroni), so an answer at the bound is called slow by chance in at
most 1 of 40 gradings.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

ROUNDS, MOST_ROUNDS = 9, 45
CONFIDENCE = 0.95


class Timed(NamedTuple):
    """One round: both times in seconds."""

    answer: float
    reference: float


@dataclass(frozen=True)
class SpeedVerdict:
    """How fast, and what follows."""

    verdict: Literal["fast", "slow", "benefit of the doubt"]
    ratio: float  # median
    low: float  # of its confidence interval
    high: float
    rounds: int

    @property
    def text(self) -> str:
        """For the learner."""
        return (f"{self.ratio:.2g} times the reference's time ({self.low:.2g} to {self.high:.2g} "
                f"in {self.rounds} rounds)")


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE
                    ) -> tuple[float, float]:
    """Two order statistics that enclose the true median with at least that probability.

    X_(k) and X_(n+1-k) for the largest k with P(B <= k - 1) <= (1 - confidence) / 2, B binomial
    (n, 1/2); the whole line where n is too small.
    """
    ordered, count = sorted(values), len(values)
    k, below = 0, 0.0
    while k < count // 2:
        below += math.comb(count, k) / 2**count
        if below > (1 - confidence) / 2:
            break
        k += 1
    if k == 0:
        return -math.inf, math.inf
    return ordered[k - 1], ordered[count - k]


def judge_speed(
    measure: Callable[[int], Timed], at_most: float, rounds: int = ROUNDS,
    most_rounds: int = MOST_ROUNDS,
) -> SpeedVerdict:
    """Measure round after round until the verdict is clear; ``measure`` gets the round's number."""
    looks = math.ceil(most_rounds / rounds)
    confidence = 1 - (1 - CONFIDENCE) / looks  # all looks together err with what one may
    ratios: list[float] = []
    while True:
        for _ in range(rounds):
            timed = measure(len(ratios))
            ratios.append(timed.answer / max(timed.reference, 1e-9))
        low, high = median_interval(ratios, confidence)
        middle = statistics.median(ratios)
        if high <= at_most:
            return SpeedVerdict("fast", middle, low, high, len(ratios))
        if low > at_most:
            return SpeedVerdict("slow", middle, low, high, len(ratios))
        if len(ratios) >= most_rounds:
            return SpeedVerdict("benefit of the doubt", middle, low, high, len(ratios))
