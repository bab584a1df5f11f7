"""The time that a layer spends itself, without the layers that it calls."""

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
    own: dict[str, float] = {}
    around: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        while around and around[-1].end <= span.start:
            around.pop()
        own[span.name] = own.get(span.name, 0.0) + span.end - span.start
        if around:
            own[around[-1].name] -= span.end - span.start
        around.append(span)
    return own
