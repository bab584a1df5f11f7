"""The time that a layer spends itself, without the layers that it calls.

Your part, to be checked by ``course check``:

    1.13 Where the time goes: exclusive_times

The idea, an example and the usual mistakes: guidelines.md#113-where-the-time-goes
"""

from collections.abc import Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """One visit to a layer."""

    name: str
    start: float  # seconds
    end: float


def exclusive_times(spans: Sequence[Span]) -> dict[str, float]:
    """Own seconds of each layer, summed over its visits, from properly nested spans.

        block  |==========------======---|     = block's own, - = of the layers within
        conv            |======|    |--->|

    Each span's time is taken off the innermost span around it.
    """
    # TODO 1.13 Where the time goes
    # 1. Go through the spans by their start; of two that start together, the longer one is around
    #    the other.
    # 2. Keep a stack of the spans that are around the present one; those that have ended are taken
    #    off it.
    # 3. Add the span's length to its own layer, and take it off the innermost span around it.
    raise NotImplementedError("exercise 1.13: exclusive_times")
