"""Load generators on a scripted clock: closed forms of queues, and runs that end early."""

import math

import numpy as np
import pytest
from scipy import stats

from solutions.phase1_basics.latency_profile import summarise
from solutions.phase1_basics.load_generator import (
    closed_loop,
    open_loop,
    poisson_arrivals,
    precise_sleep,
)
from solutions.phase1_basics.request_times import RequestTimes, split_latency
from solutions.phase1_basics.warm_up import is_stable, warm_up
from tests.solutions.scripted import ScriptedClock
from zoo.errors import InferenceError


def uniforms(count: int, seed: int = 0) -> np.ndarray:
    """Draws for arrivals."""
    return np.random.default_rng(seed).random(count)


def test_a_closed_loop_times_each_call() -> None:
    clock, seconds = ScriptedClock(), [0.1, 0.5, 0.2]
    clock.now = 17.0
    heard: list[int] = []
    found = closed_loop(clock.model(seconds), 3, clock, progress=heard.append)
    assert np.allclose(found.latency, seconds) and np.allclose(found.compute, seconds)
    assert heard == [1, 2, 3] and not found.stopped


def test_the_device_is_awaited_within_each_call() -> None:
    clock = ScriptedClock()
    found = closed_loop(lambda: clock.advance(0.001), 4, clock, lambda: clock.advance(0.01))
    assert np.allclose(found.latency, 0.011)
    found = open_loop(lambda: clock.advance(0.001), np.array([0.0, 5.0]), clock, clock.advance,
                      lambda: clock.advance(0.01))
    assert np.allclose(found.latency, [0.021, 0.011])  # the device was in arrears at the start


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_waiting_times_are_those_of_an_m_d_1_queue(load: float) -> None:
    service, count, clock = 0.01, 200_000, ScriptedClock()
    arrivals = poisson_arrivals(uniforms(count, 3), load / service)
    found = open_loop(lambda: clock.advance(service), arrivals, clock, clock.advance)
    split = split_latency(found)
    expected = load * service / (2 * (1 - load))  # Pollaczek and Khinchine
    assert split.queue.mean() == pytest.approx(expected, rel=0.04)
    assert np.allclose(split.compute, service) and np.allclose(split.overhead, 0, atol=1e-9)


def test_an_open_loop_is_lindleys_recursion() -> None:
    rng, clock = np.random.default_rng(1), ScriptedClock()
    arrivals, seconds = np.cumsum(rng.exponential(0.02, 500)), rng.gamma(2, 0.008, 500)
    found = open_loop(clock.model(seconds), arrivals, clock, clock.advance)
    wait, expected = 0.0, []
    for i in range(500):
        if i:
            wait = max(0.0, wait + seconds[i - 1] - (arrivals[i] - arrivals[i - 1]))
        expected.append(wait + seconds[i])
    assert np.allclose(found.latency, expected)


def test_an_open_loop_shows_the_stall_that_a_closed_loop_hides() -> None:
    seconds = np.full(1000, 0.001)
    seconds[50::100] += 0.05
    clock = ScriptedClock()
    closed = closed_loop(clock.model(seconds), 1000, clock)
    arrivals = poisson_arrivals(uniforms(1000), 200.0)
    opened = open_loop(clock.model(seconds), arrivals, clock, clock.advance)
    assert (closed.latency > 0.01).sum() == 10
    assert (opened.latency > 0.01).sum() > 60


def test_arrivals_are_exponential_at_their_rate() -> None:
    arrivals = poisson_arrivals(uniforms(20_000), 50.0)
    gaps = np.diff(np.concatenate([[0.0], arrivals]))
    assert stats.kstest(gaps, stats.expon(scale=1 / 50).cdf).pvalue > 0.01
    assert np.allclose(arrivals, np.cumsum(stats.expon(scale=1 / 50).ppf(uniforms(20_000))))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(InferenceError, match="rate"):
        poisson_arrivals(uniforms(3), rate)


def test_late_wake_ups_are_overhead_and_the_parts_sum_to_the_latency() -> None:
    clock = ScriptedClock()
    late = lambda seconds: clock.advance(seconds + 0.002)  # noqa: E731
    found = open_loop(clock.model([0.01, 0.5, 0.01]), np.array([1.0, 2.0, 2.1]), clock, late)
    queue, overhead, compute = split_latency(found)
    assert np.allclose(queue, [0, 0, 0.402]) and np.allclose(overhead, [0.002, 0.002, 0])
    assert np.allclose(queue + overhead + compute, found.latency)


@pytest.mark.parametrize("error", [ValueError("bad batch\nmore"), KeyboardInterrupt()])
def test_a_run_that_breaks_keeps_what_it_measured(error: BaseException) -> None:
    for loop in ("closed", "open"):
        clock = ScriptedClock()
        calls = [0]

        def model(clock: ScriptedClock = clock, calls: list[int] = calls) -> None:
            calls[0] += 1
            clock.advance(0.1)
            if calls[0] == 4:
                raise error

        found = (closed_loop(model, 10, clock) if loop == "closed"
                 else open_loop(model, np.arange(10.0), clock, clock.advance))
        assert np.allclose(found.latency, [0.1, 0.1, 0.1])
        assert found.stopped == ("interrupted after 3 requests" if isinstance(
            error, KeyboardInterrupt) else "request 4 raised ValueError: bad batch")
        assert summarise(found, 10).stopped == found.stopped


def test_nothing_to_do_is_refused() -> None:
    with pytest.raises(InferenceError, match="at least one"):
        closed_loop(lambda: None, 0)
    with pytest.raises(InferenceError, match="at least one"):
        open_loop(lambda: None, np.array([]))
    for arrivals in ([1.0, 0.5], [0.0, math.nan]):
        with pytest.raises(InferenceError, match="ascending"):
            open_loop(lambda: None, np.array(arrivals))
    empty = np.array([])
    with pytest.raises(InferenceError, match="nothing was measured: broken"):
        summarise(RequestTimes(empty, empty, empty, "broken"), 5)
    with pytest.raises(InferenceError, match="monotonic"):
        RequestTimes(np.array([0.0]), np.array([2.0]), np.array([1.0]))
    with pytest.raises(InferenceError, match="lengths"):
        RequestTimes(np.zeros(2), np.zeros(1), np.zeros(1))


def test_a_profile_counts_from_the_first_due_moment() -> None:
    clock = ScriptedClock()
    found = open_loop(clock.model([0.5] * 8), np.arange(8.0), clock, clock.advance)
    profile = summarise(found, 8, 1.0)
    assert profile.seconds == pytest.approx(7.5) and profile.mode == "open"
    assert profile.throughput == pytest.approx(8 / 7.5)
    assert profile.utilisation == pytest.approx(4 / 7.5)
    assert not any("overloaded" in flag for flag in profile.flags)
    found = open_loop(clock.model([1.5] * 8), np.arange(8.0), clock, clock.advance)
    assert any("overloaded" in flag for flag in summarise(found, 8, 1.0).flags)
    with pytest.raises(InferenceError, match=r"0\.42"):
        profile.percentile(0.42)


def test_warm_up_ends_where_the_times_settle() -> None:
    clock = ScriptedClock()
    found = warm_up(clock.model([1.0, 0.5, 0.2, 0.1] + [0.1] * 100), clock)
    assert found.stable and found.calls == 11  # medians of 7..11 and 2..6 both 0.1
    assert not is_stable([0.1] * 9) and is_stable([0.1] * 10)
    assert is_stable([0.1] * 9 + [5.0])
    assert not is_stable([0.2] * 5 + [0.1] * 5)


def test_warm_up_gives_up() -> None:
    clock = ScriptedClock()
    shrinking = (0.8**i for i in range(1000))
    found = warm_up(clock.model(shrinking), clock, most_calls=30)
    assert not found.stable and found.calls == 30
    slow = warm_up(clock.model([9.0] * 50), clock, most_seconds=20)
    assert not slow.stable and slow.calls == 3


def test_precise_sleep_never_ends_early() -> None:
    import time

    for seconds in (0.0, 1e-4, 2e-3):
        start = time.perf_counter()
        precise_sleep(seconds)
        assert time.perf_counter() - start >= seconds
