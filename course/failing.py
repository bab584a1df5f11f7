"""The smallest input that an answer fails on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course.difference import Difference, find_difference
from course.judge import Judge, run_reference
from course.manifest import Exercise, module_name
from course.runner import Job
from course.scenario import Guarded, Scenario, draw
from course.verdict import ExerciseResult

TRIES = 40  # seeds looked at

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Failing:
    """A seed that fails: the calls of its check and the first difference."""

    check: Scenario
    seed: int
    calls: tuple[Call, ...]
    difference: Difference


def smallest_failing(judge: Judge, exercise: Exercise, result: ExerciseResult) -> Failing | None:
    """Of many seeds of the check that failed, the one with the least input."""
    check = next(c for c in judge.scenarios(exercise) if c.name == result.scenario)
    module = judge.reference_module(exercise)
    inputs: list[tuple[int, int, tuple[Call, ...]]] = []
    for seed in range(judge.seed, judge.seed + TRIES):
        watched = Guarded(module, record=True)
        check.check(watched, draw(seed))
        inputs.append((_size(watched.calls), seed, tuple(watched.calls)))
    if result.seed is not None and all(seed != result.seed for _, seed, _ in inputs):
        watched = Guarded(module, record=True)
        check.check(watched, draw(result.seed))
        inputs.append((_size(watched.calls), result.seed, tuple(watched.calls)))
    inputs.sort(key=lambda entry: entry[:2])
    job = Job(
        exercise.id, module_name(exercise.template), judge.answers / exercise.template,
        judge.manifest.root / exercise.scenarios, tuple((check.name, s) for _, s, _ in inputs),
        judge.paths, Path(judge.answers), {check.name: check.limit_s + 2},
    )
    outcomes = judge.runner.run(job)
    try:
        for (_, seed, calls), outcome in zip(inputs, outcomes, strict=False):
            if outcome.kind != "result":
                continue
            found = find_difference(run_reference(check, module, seed), outcome.value,
                                    check.tolerance, check.tolerances)
            if found is not None:
                return Failing(check, seed, calls, found)
    finally:
        outcomes.close()  # type: ignore[attr-defined]
    return None


def _size(value: Any) -> int:
    """How much there is to look at in some arguments."""
    if isinstance(value, np.ndarray):
        return int(value.size)
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return len(value) if isinstance(value, str | bytes) else 1
