"""Timing that survives a noisy machine: variants take turns, and the spread is part of the result.

Ratios are taken within a round, where both variants met the same neighbours, and then summarised;
the ratio of two medians from different minutes would compare two different machines.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    count: int

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """The spread of some values."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(low), float(high), len(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}..{self.high:.3g})"


@dataclass(frozen=True)
class Interleaved:
    """Seconds per call of each variant, round by round."""

    seconds: dict[str, list[float]]

    def spread(self, variant: str) -> Spread:
        """Seconds per call."""
        return Spread.of(self.seconds[variant])

    def ratio(self, variant: str, base: str) -> Spread:
        """How many times longer ``variant`` takes than ``base``, by rounds."""
        pairs = zip(self.seconds[variant], self.seconds[base], strict=True)
        return Spread.of([a / b for a, b in pairs])


def interleave(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    calls: int = 1,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Interleaved:
    """Time the variants in turns: in each round every variant makes ``calls`` calls.

    The order turns around every round, so that no variant always follows the same one.
    """
    names = list(variants)
    for name in names:
        for _ in range(warm_up):
            variants[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                start = clock()
                for _ in range(calls):
                    variants[name]()
                seconds[name].append((clock() - start) / calls)
    finally:
        if enabled:
            gc.enable()
    return Interleaved(seconds)
