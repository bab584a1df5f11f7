"""Two ways to send requests to a model, which answer two different questions.

A closed loop sends the next request when the last one is answered: how fast is the model? While
it stalls, nobody asks, so one stall costs one slow sample. An open loop sends requests when they
arrive, as the world does, and counts from that moment: how long do users wait? A stall then
delays everybody who arrives during it. Leaving these out is called coordinated omission
(G. Tene, "How NOT to Measure Latency", 2013).
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
    if not (math.isfinite(rate) and rate > 0):
        raise InferenceError(f"rate {rate:g}: requests per second must be a positive number")
    arrivals: Floats = np.cumsum(-np.log1p(-np.asarray(uniforms, np.float64)) / rate)
    return arrivals


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
    _check_count(iterations)
    started, finished = [0.0] * iterations, [0.0] * iterations
    done, stopped = 0, ""
    try:
        synchronise()
        for i in range(iterations):
            begin = clock()
            call()
            synchronise()
            finished[i] = clock()
            started[i] = begin
            done = i + 1
            progress(done)
    except (Exception, KeyboardInterrupt) as error:  # whatever a model raises
        stopped = _reason(error, done)
    begun = np.array(started[:done])
    return RequestTimes(begun, begun, np.array(finished[:done]), stopped)


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
    _check_count(len(arrivals))
    if np.any(np.diff(arrivals) < 0) or not np.all(np.isfinite(arrivals)):
        raise InferenceError("arrivals must be finite and in ascending order")
    due = np.asarray(arrivals, np.float64).tolist()
    started, finished = [0.0] * len(due), [0.0] * len(due)
    done, stopped = 0, ""
    start = clock()
    try:
        synchronise()
        for i, moment in enumerate(due):
            wait = start + moment - clock()
            if wait > 0:
                sleep(wait)
            begin = clock()
            call()
            synchronise()
            finished[i] = clock()
            started[i] = begin
            done = i + 1
            progress(done)
    except (Exception, KeyboardInterrupt) as error:  # whatever a model raises
        stopped = _reason(error, done)
    # A sleep may end a hair early, within the clock's resolution: no latency is negative for it.
    begun = np.array(started[:done])
    scheduled = np.minimum(start + np.array(due[:done]), begun)
    return RequestTimes(scheduled, begun, np.array(finished[:done]), stopped)


def _check_count(count: int) -> None:
    if count < 1:
        raise InferenceError(f"{count} requests: at least one is needed")


def _reason(error: BaseException, done: int) -> str:
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted after {done} requests"
    first = (str(error).strip().splitlines() or [""])[0]
    return f"request {done + 1} raised {type(error).__name__}: {first}"
