"""Two ways to send requests to a model, which answer two different questions.

A closed loop sends the next request when the last one is answered: how fast is the model? While
it stalls, nobody asks, so one stall costs one slow sample. An open loop sends requests when they
arrive, as the world does, and counts from that moment: how long do users wait? A stall then
delays everybody who arrives during it. Leaving these out is called coordinated omission
(G. Tene, "How NOT to Measure Latency", 2013).

Your part, to be checked by ``course check``:

    1.10 The timing loop: closed_loop
    1.12 The open loop: poisson_arrivals, open_loop

The idea, an example and the usual mistakes: guidelines.md#110-the-timing-loop
"""

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.request_times import RequestTimes
from zoo.errors import InferenceError

Floats = NDArray[np.float64]
Clock = Callable[[], float]
SPIN = 5e-4  # seconds before the end that are waited for awake: sleeping wakes up late


def nothing() -> None:
    """Synchronise a device that is always in step: the CPU."""


def ignore(done: int) -> None:
    """Follow the progress of a run by not following it."""


def precise_sleep(seconds: float) -> None:
    """Sleep, and spend the last half millisecond awake, so as to end on time."""
    end = time.perf_counter() + seconds
    if seconds > SPIN:
        time.sleep(seconds - SPIN)
    while time.perf_counter() < end:
        pass


def poisson_arrivals(uniforms: Floats, rate: float) -> Floats:
    """Arrival times [n], seconds from 0, of requests that come independently of each other.

    The gaps of a Poisson process are exponential with mean 1 / rate; each is made from one
    uniform draw of [0, 1) by the inverse of its distribution function, -ln(1 - u) / rate.
    ``rate`` is requests per second. Raises InferenceError where it is not a positive number.
    """
    # TODO 1.12 The open loop
    # 1. Refuse a rate that is not a positive, finite number. Make a gap of each uniform draw, and
    #    add the gaps up.
    raise NotImplementedError("exercise 1.12: poisson_arrivals")


def closed_loop(
    call: Callable[[], object],
    iterations: int,
    clock: Clock = time.perf_counter,
    synchronise: Callable[[], None] = nothing,
    progress: Callable[[int], None] = ignore,
) -> RequestTimes:
    """Call the model ``iterations`` times, each call after the one before.

    ``progress`` hears the number of finished calls between two of them. A call that raises, or
    Ctrl-C, ends the run; what was measured until then is returned and says so.

    Raises InferenceError for less than one iteration.
    """
    # TODO 1.10 The timing loop
    # 1. Refuse less than one iteration: _check_count.
    # 2. Synchronise once before the first call, so that earlier work is not counted.
    # 3. For each iteration: clock, call, synchronise, clock; then tell `progress` how many are
    #    finished, outside of the timed part.
    # 4. A call that raises, or Ctrl-C, ends the loop. Return what was measured until then, with
    #    _reason(error, finished) as `stopped`.
    # 5. In a closed loop, a request is scheduled when it is started.
    raise NotImplementedError("exercise 1.10: closed_loop")


def open_loop(
    call: Callable[[], object],
    arrivals: Floats,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = precise_sleep,
    synchronise: Callable[[], None] = nothing,
    progress: Callable[[int], None] = ignore,
) -> RequestTimes:
    """Call the model once for each arrival [n] (seconds from the start, ascending), in order.

    A request that arrives while the model is busy waits, and its time counts from its arrival:
    the schedule never waits for the model. Ends early as :func:`closed_loop` does.

    Raises InferenceError where there is no arrival or they are not in order.
    """
    # TODO 1.12 The open loop
    # 1. Refuse no arrivals, and arrivals that are not finite or not in ascending order.
    # 2. Read the clock once as the start. Before each request, sleep until start + arrival if that
    #    is still to come; where it is past, do not sleep.
    # 3. Time the call as in the closed loop; the request's scheduled moment is start + arrival,
    #    however late the call begins.
    # 4. A sleep may end a hair early: no request is scheduled after it was started. Endings by an
    #    exception are as in the closed loop.
    raise NotImplementedError("exercise 1.12: open_loop")


def _check_count(count: int) -> None:
    if count < 1:
        raise InferenceError(f"{count} requests: at least one is needed")


def _reason(error: BaseException, done: int) -> str:
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted after {done} requests"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"request {done + 1} raised {type(error).__name__}: {first}"
