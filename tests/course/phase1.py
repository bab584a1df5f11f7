"""What the tests of phase 1's content share: its manifest, and answers run in this process."""

from pathlib import Path
from typing import Any

from course.judge import Judge, run_reference
from course.manifest import Exercise, load_manifest
from course.runner import Outcome
from course.scenario import Scenario

ROOT = Path(__file__).parents[2]
MANIFEST = load_manifest(ROOT)


def judge(seed: int = 11) -> Judge:
    """A judge of this checkout, with the same inputs each time."""
    return Judge(MANIFEST, seed=seed)


def outcome_of(check: Scenario, module: Any, seed: int) -> Outcome:
    """What a child would send for a module that is run here."""
    try:
        return Outcome("result", run_reference(check, module, seed))
    except BaseException as error:  # an answer may raise anything
        return Outcome("exception", fault={"error": type(error).__name__, "message": str(error),
                                           "own": True})


def first_fault(found: Judge, exercise: Exercise, module: Any) -> Any:
    """The judge's view of a module that is run in this process; None where it is right."""
    reference = found.reference_module(exercise)
    for check, seed in found.plan(exercise):
        expected = run_reference(check, reference, seed)
        fault = found._judged(exercise, check, seed, expected, outcome_of(check, module, seed))
        if fault is not None:
            return fault
    return None
