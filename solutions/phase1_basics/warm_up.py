"""When a model is warm: the first calls allocate, compile and fill caches, and are not the model.

The rule: the medians of the last two windows of calls differ by less than a tolerance. A fixed
number of warm-up calls is too few for one model and too many for another.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WINDOW = 5  # calls
TOLERANCE = 0.05  # of the earlier window's median


@dataclass(frozen=True)
class WarmUp:
    """The calls that came before the measurement."""

    seconds: tuple[float, ...]  # of each call
    stable: bool  # False: given up at the limit

    @property
    def calls(self) -> int:
        """How many."""
        return len(self.seconds)


def is_stable(
    seconds: Sequence[float], window: int = WINDOW, tolerance: float = TOLERANCE
) -> bool:
    """Whether the last ``window`` calls took as long as the ``window`` before them.

    Compared by medians, so that one interrupted call does not prolong the warm-up.
    """
    if len(seconds) < 2 * window:
        return False
    before = statistics.median(seconds[-2 * window : -window])
    last = statistics.median(seconds[-window:])
    return abs(last - before) <= tolerance * before


def warm_up(
    call: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
    synchronise: Callable[[], None] = lambda: None,
    most_calls: int = 200,
    most_seconds: float = 20.0,
) -> WarmUp:
    """Call until the times are stable, ``most_calls`` are made or ``most_seconds`` have passed."""
    seconds: list[float] = []
    while len(seconds) < most_calls and sum(seconds) < most_seconds:
        start = clock()
        call()
        synchronise()
        seconds.append(clock() - start)
        if is_stable(seconds):
            return WarmUp(tuple(seconds), True)
    return WarmUp(tuple(seconds), False)
