"""Timing in rounds: everyone takes a turn, then everyone again, in the opposite order.

A machine changes its speed from minute to minute. What is measured in the same round met the same
neighbours, so ratios are taken within rounds. Who fails is out; the others go on.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from zoo.errors import InferenceError

PAUSE = 0.005  # seconds between turns, until the threads of the one before are asleep
Turn = Callable[[int, int], list[float]]  # (batch size, calls) -> seconds of each call


@dataclass(frozen=True)
class Latency:
    """How long a format takes for one batch size; seconds."""

    batch: int
    p50: float  # median of the rounds' medians
    low: float  # their quartiles
    high: float
    p90: float  # of all calls
    speedup: float  # over the base in the same round: median
    speedup_low: float  # quartiles
    speedup_high: float
    rounds: int


@dataclass
class Rounds:
    """What was timed: seconds by name, batch size, round and call; and who fell out, why."""

    seconds: dict[str, dict[int, list[list[float]]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def latency(self, name: str, base: str, batch: int) -> Latency:
        """One format's latency, with the speed-up over ``base``."""
        turns = self.seconds[name][batch]
        medians = np.array([np.median(turn) for turn in turns])
        bases = np.array([np.median(turn) for turn in self.seconds[base][batch]])
        low, p50, high = np.percentile(medians, [25, 50, 75])
        p90 = np.percentile(np.concatenate(turns), 90)
        slow, middle, fast = np.percentile(bases[: len(medians)] / medians, [25, 50, 75])
        return Latency(batch, float(p50), float(low), float(high), float(p90), float(middle),
                       float(slow), float(fast), len(turns))


def take_turns(
    turns: Mapping[str, Turn], calls: Mapping[str, Mapping[int, int]], rounds: int,
    progress: Callable[[int], None] = lambda done: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Rounds:
    """Time everyone ``rounds`` times for every batch size in ``calls``.

    A turn that raises InferenceError takes its format out, with the reason.
    """
    found = Rounds({name: {batch: [] for batch in calls[name]} for name in turns})
    for number in range(rounds):
        names = [name for name in turns if name not in found.failed]
        sizes = sorted({batch for name in names for batch in calls[name]})
        for batch in sizes:
            for name in names if number % 2 == 0 else reversed(names):
                if name in found.failed or batch not in calls[name]:
                    continue
                sleep(PAUSE)
                try:
                    seconds = turns[name](batch, calls[name][batch])
                except InferenceError as error:
                    found.failed[name] = str(error)
                    del found.seconds[name]
                    continue
                found.seconds[name][batch].append(seconds)
        progress(number + 1)
    return found
