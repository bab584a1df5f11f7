"""Whether the profiler tells the truth: beside MLPerf's LoadGen, through stalls, at what cost."""

import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import loading
from benchmarks.measure import Spread, interleave
from benchmarks.peers.loadgen import Scenario, run_loadgen, server_arrivals
from benchmarks.suite import Context, Goal, Row, SuiteResult, at_least, at_most, unmeasured
from solutions.phase1_basics.load_generator import (
    closed_loop,
    open_loop,
    poisson_arrivals,
    precise_sleep,
)
from solutions.phase1_basics.percentiles import percentile
from solutions.phase1_basics.profile_run import shown

Floats = NDArray[np.float64]
# Counts of which no percentile below is a whole number of samples: there LoadGen's definition of
# a percentile and ours name the same sample.
REQUESTS, QUICK_REQUESTS = 309, 109
ROUNDS, QUICK_ROUNDS = 11, 5  # many short ones: a neighbour's burst then spoils few of them
# Long enough that LoadGen's way through its binding (SingleStream: some 0.03 ms a request), which
# a queue multiplies, weighs little: in Server a system of 3 ms, 63% busy, came out 2.4% apart.
SERVICE = 10e-3  # seconds, median of the system under test
SERVER_RATE = 50.0  # requests per second: 52% busy
QUANTILES = (0.5, 0.95, 0.99)
STALL, STALL_EVERY, STALL_SERVICE, STALL_RATE = 50e-3, 100, 1e-3, 200.0
# Neighbours on the machine only ever make a round slower, and not both loads alike: what the two
# load generators themselves make of a system shows in the fastest round of each.
AGREE = "largest difference of a percentile from LoadGen's in %, fastest rounds"
SCENARIOS: tuple[Scenario, ...] = ("SingleStream", "Server", "Offline")


def run(context: Context) -> SuiteResult:
    """LoadGen and our generators in turns, then the stall, then the profiler's own cost."""
    rows, goals = _beside_loadgen(context)
    context.say(f"a stall of {1e3 * STALL:.0f} ms in 1 of {STALL_EVERY} requests")
    stalls: dict[str, list[float]] = {loop: [] for loop in ("open", "closed", "expected")}
    samples: dict[str, Floats] = {}
    for seed in range(1 if context.quick else 5):
        samples = stalled_run(seed, 1000 if context.quick else 2000)
        for loop, latency in samples.items():
            stalls[loop].append(1e3 * percentile(latency, 0.99))
    rows.append(_row("stall, p99 in ms: open loop, closed loop", stalls["open"], stalls["closed"]))
    rows.append(_row("stall, p99 in ms: open loop, by Lindley's recursion", stalls["open"],
                     stalls["expected"]))
    seen, hidden = Spread.of(stalls["open"]), Spread.of(stalls["closed"])
    goal = at_least("p99 in ms that a stall of 50 ms shows in, open loop", seen.median, 40)
    goals.append(replace(goal, note=f"a closed loop says {hidden.median:.3g} ms"))
    context.say("the profiler's own cost")
    cost = _overhead(50 if context.quick else 200)
    rows.append({"measurement": "closed loop, cost of a call in % of 1 ms", "ours": str(cost),
                 "other": None, "ours / other": None})
    goals.append(at_most("profiler overhead on a call of 1 ms, in %", cost.median, 1.0))
    found = loading.measure(context)
    rows, goals = _merged(rows + found.rows), goals + found.goals
    return SuiteResult(rows, goals, lambda figure: _plot(figure, samples))


def service_times(count: int) -> Floats:
    """The scripted seconds of each request of the system under test, [count]."""
    return np.random.default_rng(7).lognormal(np.log(SERVICE), 0.3, count)


def scripted(seconds: Floats) -> Callable[[], None]:
    """A system under test that takes a scripted time for each request, in turn."""
    left = iter(seconds.tolist())
    return lambda: precise_sleep(next(left))


def _beside_loadgen(context: Context) -> tuple[list[Row], list[Goal]]:
    if importlib.util.find_spec("mlperf_loadgen") is None:
        why = "mlcommons-loadgen is not installed: pip install '.[bench]'"
        return [], [unmeasured(f"{AGREE}, {s}", "at most 2", why) for s in SCENARIOS]
    count = QUICK_REQUESTS if context.quick else REQUESTS
    rounds = QUICK_ROUNDS if context.quick else ROUNDS
    seconds = service_times(count)
    rows: list[Row] = []
    goals: list[Goal] = []
    for scenario in SCENARIOS:
        context.say(f"LoadGen {scenario} beside ours: {rounds} rounds of {count} requests")
        found = [_round(scenario, seconds, number) for number in range(rounds)]
        apart, medians = [], []
        for q in QUANTILES:
            ours, theirs = [one[q] for one, _ in found], [other[q] for _, other in found]
            rows.append(_row(f"{scenario} p{100 * q:g} in ms: ours, LoadGen", ours, theirs))
            apart.append(100 * abs(min(ours) / min(theirs) - 1))
            ratios = np.array(ours) / np.array(theirs)
            medians.append(100 * abs(float(np.median(ratios)) - 1))
        goal = at_most(f"{AGREE}, {scenario}", max(apart), 2.0)
        goals.append(replace(goal, note=f"by the median of all rounds {max(medians):.2g}%"))
    return rows, goals


def _round(
    scenario: Scenario, seconds: Floats, number: int
) -> tuple[dict[float, float], dict[float, float]]:
    """Percentiles by ours and by LoadGen, the first of the two in turns."""
    if number % 2:
        theirs = _theirs(scenario, seconds)
        return _ours(scenario, seconds), theirs
    return _ours(scenario, seconds), _theirs(scenario, seconds)


def _ours(scenario: Scenario, seconds: Floats) -> dict[float, float]:
    """Percentiles in ms by our generators."""
    call = scripted(seconds)
    if scenario == "SingleStream":
        latency = closed_loop(call, len(seconds)).latency
    elif scenario == "Server":  # woken by the operating system, late, as LoadGen is
        arrivals = server_arrivals(len(seconds), SERVER_RATE)
        latency = open_loop(call, arrivals, sleep=time.sleep).latency
    else:  # everything arrives at once
        latency = open_loop(call, np.zeros(len(seconds))).latency
    return {q: 1e3 * percentile(latency, q) for q in QUANTILES}


def _theirs(scenario: Scenario, seconds: Floats) -> dict[float, float]:
    """Percentiles in ms by LoadGen."""
    with tempfile.TemporaryDirectory() as folder:
        return run_loadgen(scenario, scripted(seconds), len(seconds), SERVER_RATE, QUANTILES,
                           Path(folder))


def stalled_run(seed: int, count: int) -> dict[str, Floats]:
    """Latencies of the same stalling system in an open and a closed loop, and as they must be."""
    seconds = np.full(count, STALL_SERVICE)
    seconds[STALL_EVERY // 2 :: STALL_EVERY] += STALL
    arrivals = poisson_arrivals(np.random.default_rng(seed).random(count), STALL_RATE)
    return {
        "open": open_loop(scripted(seconds), arrivals).latency,
        "closed": closed_loop(scripted(seconds), count).latency,
        "expected": lindley(arrivals, seconds),
    }


def lindley(arrivals: Floats, seconds: Floats) -> Floats:
    """Latencies [n] of a queue with one server: W' = max(0, W + S - gap) (D. Lindley, 1952)."""
    waits = np.zeros(len(arrivals))
    for i in range(1, len(arrivals)):
        gap = arrivals[i] - arrivals[i - 1]
        waits[i] = max(0.0, waits[i - 1] + seconds[i - 1] - gap)
    return waits + seconds


def _overhead(rounds: int) -> Spread:
    """What the closed loop adds to a call, in percent of 1 ms, in turns with a bare loop.

    The call itself does nothing: a real one would hide the difference behind its own spread.
    """
    calls = 2000

    def call() -> None:
        return None

    def bare() -> None:
        for _ in range(calls):
            call()

    follow = shown(lambda done: None)
    timed = interleave(
        {"bare": bare, "profiled": lambda: closed_loop(call, calls, progress=follow)}, rounds
    )
    pairs = zip(timed.seconds["profiled"], timed.seconds["bare"], strict=True)
    return Spread.of([100 * (profiled - plain) / calls / 1e-3 for profiled, plain in pairs])


def _row(measurement: str, ours: list[float], other: list[float]) -> Row:
    ratio = [a / b for a, b in zip(ours, other, strict=True)]
    return {"measurement": measurement, "ours": str(Spread.of(ours)),
            "other": str(Spread.of(other)), "ours / other": str(Spread.of(ratio))}


def _merged(rows: list[Row]) -> list[Row]:
    """The same columns in every row."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]


def _plot(figure: Any, samples: dict[str, Floats]) -> None:
    axes = figure.subplots()
    names = {"open": "open loop, from the scheduled time", "closed": "closed loop",
             "expected": "as it must be (Lindley)"}
    for loop, latency in samples.items():
        ordered = np.sort(latency) * 1e3
        slower = 100 * (1 - np.arange(len(ordered)) / len(ordered))
        axes.step(ordered, slower, where="post", label=names[loop],
                  linestyle="--" if loop == "expected" else "-")
    axes.set_yscale("log")
    axes.set_xlabel("latency, ms, of a 1 ms system that stalls for 50 ms in 1 of 100 requests")
    axes.set_ylabel("requests at least as slow, %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
