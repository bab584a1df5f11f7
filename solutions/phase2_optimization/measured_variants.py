"""Variants of a model measured in turns: score, latency, size, energy, and who is beaten.

The problem: a machine has neighbours, and a variant that is timed in a quiet minute looks faster
than it is. The idea: variants take turns, and speed-ups are taken within rounds, where both met the
same neighbours.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from solutions.phase1_basics.energy import cpu_energy
from solutions.phase2_optimization.evaluation_task import Task
from solutions.phase2_optimization.variants import Absent, Variant, VariantMaker
from zoo.errors import InferenceError

ROUNDS, WARM_UP = 30, 3
ROUND_SECONDS = 0.02  # a variant's share of a round: so many calls as fit, at least one
MOST_CALLS = 50
ENERGY_SECONDS = 0.3
Clock = Callable[[], float]


@dataclass(frozen=True)
class Measured:
    """One line of the comparison."""

    name: str
    metric: float
    kept: float | None  # the metric as a share of FP32's; None where that is zero
    p50: float  # milliseconds
    p90: float
    p99: float
    speedup: float  # over FP32 in the same round: median
    speedup_low: float  # quartiles
    speedup_high: float
    bytes: int
    seconds: float  # that making it took
    joules: float | None  # of one inference
    detail: str
    kept_float: tuple[str, ...] = ()  # layers in float for accuracy's sake, and why
    best: bool = False  # no other variant is both faster and better


@dataclass(frozen=True)
class Comparison:
    """The page's content."""

    model: str
    metric_name: str
    rows: tuple[Measured, ...]
    absent: tuple[Absent, ...]
    notes: tuple[str, ...]
    no_energy: str = ""  # why no variant has a figure


def latencies(
    variants: Sequence[Variant], task: Task, rounds: int = ROUNDS,
    clock: Clock = time.perf_counter,
) -> dict[str, list[list[float]]]:
    """Seconds of each call of each variant, round by round; the order turns every round."""
    feeds = task.example
    calls: dict[str, int] = {}
    for variant in variants:
        quickest = math.inf  # what neighbours do only ever adds
        for _ in range(WARM_UP):
            start = clock()
            variant.run(feeds)
            quickest = min(quickest, clock() - start)
        calls[variant.name] = max(1, min(MOST_CALLS, int(ROUND_SECONDS / max(quickest, 1e-6))))
    found: dict[str, list[list[float]]] = {variant.name: [] for variant in variants}
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            times = []
            for _ in range(calls[variant.name]):
                start = clock()
                variant.run(feeds)
                times.append(clock() - start)
            found[variant.name].append(times)
    return found


def compare(
    task: Task, maker: VariantMaker, names: Sequence[str] | None = None, rounds: int = ROUNDS,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Make, score and time the variants of a task; the first one must be ``fp32``.

    ``notes``: what a reader has to know, beside what the task itself has to say.
    """
    wanted = list(names or maker.names())
    variants: list[Variant] = []
    absent: list[Absent] = []
    scores: dict[str, float] = {}
    for number, name in enumerate(wanted):
        progress(name, number, len(wanted) + 1)
        made = maker.make(name)
        if isinstance(made, Absent):
            absent.append(made)
            continue
        scores[name] = task.metric(made.run)
        if math.isnan(scores[name]):
            absent.append(Absent(name, f"its score is no number ({task.metric_name})"))
            continue
        variants.append(made)
    if not any(variant.name == "fp32" for variant in variants):
        raise InferenceError(f"{task.name} in FP32 has no score ({task.metric_name}): there is "
                             "nothing to compare with")
    progress("timing", len(wanted), len(wanted) + 1)
    seconds = latencies(variants, task, rounds)
    joules = {v.name: energy(v, task) for v in variants}
    rows = [_measured(v, scores, seconds, joules[v.name]) for v in variants]
    silent = all(found is None for found in joules.values())
    return Comparison(
        task.name, task.metric_name, tuple(with_front(rows)), tuple(absent),
        (*notes, *([task.note] if task.note else [])),
        cpu_energy(lambda: None).reason if silent else "",
    )


def energy(variant: Variant, task: Task) -> float | None:
    """Joules of one inference, everything on the processor included; None without a counter."""
    if cpu_energy(lambda: None).reason.startswith("no RAPL"):
        return None
    count = 0

    def many() -> None:
        nonlocal count
        end = time.perf_counter() + ENERGY_SECONDS
        while time.perf_counter() < end:
            variant.run(task.example)
            count += 1

    found = cpu_energy(many)
    return None if found.joules is None else found.joules / count


def _measured(
    variant: Variant, scores: dict[str, float], seconds: dict[str, list[list[float]]],
    joules: float | None,
) -> Measured:
    every = np.concatenate(seconds[variant.name]) * 1e3
    base = [float(np.median(times)) for times in seconds["fp32"]]
    own = [float(np.median(times)) for times in seconds[variant.name]]
    ratios = [b / o for b, o in zip(base, own, strict=True)]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    p50, p90, p99 = np.percentile(every, [50, 90, 99])
    metric, best = scores[variant.name], scores["fp32"]
    return Measured(
        variant.name, metric, metric / best if best else None, float(p50), float(p90),
        float(p99), float(middle), float(low), float(high),
        len(variant.model.SerializeToString()), variant.seconds, joules, variant.detail,
        variant.kept_float,
    )


def with_front(rows: Sequence[Measured]) -> list[Measured]:
    """The rows, those marked than which none is both faster and better."""
    def beaten(row: Measured) -> bool:
        return any(
            other.p50 <= row.p50 and other.metric >= row.metric
            and (other.p50, other.metric) != (row.p50, row.metric) for other in rows
        )

    return [replace(row, best=not beaten(row)) for row in rows]
