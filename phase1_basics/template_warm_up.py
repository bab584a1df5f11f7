"""When a model is warm: the first calls allocate, compile and fill caches, and are not the model.

The rule: the medians of the last two windows of calls differ by less than a tolerance. A fixed
number of warm-up calls is too few for one model and too many for another.

Your part, to be checked by ``course check``:

    1.9 Warm-up: is_stable, warm_up

The idea, an example and the usual mistakes: guidelines.md#19-warm-up
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
    # TODO 1.9 Warm-up
    # 1. Compare the medians of the last `window` times and of the `window` times before them. Fewer
    #    times than two windows are never stable.
    raise NotImplementedError("exercise 1.9: is_stable")


def warm_up(
    call: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
    synchronise: Callable[[], None] = lambda: None,
    most_calls: int = 200,
    most_seconds: float = 20.0,
) -> WarmUp:
    """Call until the times are stable, ``most_calls`` are made or ``most_seconds`` have passed."""
    # TODO 1.9 Warm-up
    # 1. Time call by call: the clock before, the call, synchronise, the clock after. Stop when
    #    is_stable says so, or when a bound is reached; say which.
    raise NotImplementedError("exercise 1.9: warm_up")
