"""Connecting again to what went away: a few times, ever more slowly, and not in step with others.

When a camera server restarts, all its clients lose it in the same moment. If they all come back
after the same delay, they knock it over again. So each waits a *random* time, and the range of
that time doubles with every failure ("full jitter": M. Brooker, "Exponential Backoff And Jitter",
AWS Architecture Blog, 2015). After a bounded number of failures it is over.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from zoo.errors import InferenceError

T = TypeVar("T")


class ReconnectError(InferenceError):
    """All attempts failed."""


@dataclass(frozen=True)
class Backoff:
    """How long and how often to try."""

    first: float = 0.5  # seconds that the first wait may take
    longest: float = 10.0  # seconds that any wait may take
    attempts: int = 8

    def __post_init__(self) -> None:
        if not (0 <= self.first <= self.longest and self.attempts >= 0):
            raise InferenceError(f"{self}: 0 <= first <= longest and attempts >= 0")


def full_jitter(attempt: int, backoff: Backoff, rng: random.Random) -> float:
    """Seconds to wait before that attempt (from 0), uniform in 0..min(longest, first * 2^n)."""
    ceiling = min(backoff.longest, backoff.first * 2.0 ** min(attempt, 64))
    return rng.uniform(0.0, ceiling)


def reconnect(
    connect: Callable[[], T],
    backoff: Backoff,
    rng: random.Random,
    sleep: Callable[[float], None],
) -> T:
    """What ``connect`` returns, once it does; ``sleep`` is called before every attempt.

    Raises ReconnectError after ``backoff.attempts`` InferenceErrors of ``connect``; whatever else
    ``connect`` or ``sleep`` raise ends it at once.
    """
    reason = ""
    for attempt in range(backoff.attempts):
        sleep(full_jitter(attempt, backoff, rng))
        try:
            return connect()
        except InferenceError as error:
            reason = f" (the last one: {error})"
    raise ReconnectError(f"{backoff.attempts} reconnects failed{reason}")
