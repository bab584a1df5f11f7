"""Phase 1's exercises: what must fail fails with the right sentence, what is right passes."""

import ast
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from course.difference import Tolerance, find_difference
from course.judge import Judge, run_reference
from course.manifest import Exercise, module_name
from course.mistakes import Mistake, load_mistakes, mistaken_module, module_of
from course.plain_data import Record
from course.template_source import find_symbol, functions_of, generate
from course.verdict import Verdict
from tests.course.phase1 import MANIFEST, ROOT, first_fault, judge, outcome_of

EXERCISES = [pytest.param(e, id=e.id) for e in MANIFEST.exercises]
MISTAKES = [pytest.param(e, m, id=f"{e.id} {m.name}") for e in MANIFEST.exercises
            for m in load_mistakes(MANIFEST, e)]
ALTERNATIVES = sorted((ROOT / "tests/course/alternatives").glob("*.py"))


@pytest.mark.parametrize("exercise", EXERCISES)
def test_an_exercise_is_complete(exercise: Exercise) -> None:
    mistakes = load_mistakes(MANIFEST, exercise)
    assert 3 <= len(mistakes) <= 8 and len({m.name for m in mistakes}) == len(mistakes)
    checks = judge().scenarios(exercise)
    assert all(check.check.__doc__ for check in checks)
    assert {m.scenario for m in mistakes} <= {check.name for check in checks}
    assert {m.scenario for m in mistakes} == {check.name for check in checks}, "an idle check"
    assert 5 <= exercise.minutes <= 40


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_a_mistake_is_caught_and_named(exercise: Exercise, mistake: Mistake) -> None:
    found = judge()
    module = mistaken_module(ROOT, exercise, mistake)
    fault = first_fault(found, exercise, module)
    assert fault is not None, "this mistake passes"
    assert fault.mistake == mistake.name, fault.message
    assert mistake.sentence in fault.message
    reference = found.reference_module(exercise)
    caught = [
        find_difference(run_reference(check, reference, seed), outcome.value, check.tolerance,
                        check.tolerances) is not None or outcome.kind != "result"
        for check, seed in found.plan(exercise) if check.name == mistake.scenario
        for outcome in [outcome_of(check, module, seed)]
    ]
    assert any(caught), f"{mistake.scenario} does not catch it"


def answering(exercise: Exercise, body: str) -> ModuleType:
    """The solution's module with another body in every function of an exercise."""
    path = ROOT / exercise.solution
    tree = ast.parse(path.read_text("utf-8"))
    for symbol in exercise.symbols:
        node = find_symbol(tree, symbol)
        assert node is not None
        for function in functions_of(node):
            function.body = ast.parse(textwrap.dedent(body)).body
    return module_of(ast.unparse(tree), module_name(exercise.solution), path)


@pytest.mark.parametrize("body", [
    "return None", "return 0", "return []", "return 'cpu'", "import numpy; return numpy.zeros(3)",
    "raise ValueError('no')", "return True", "return {}",
])
@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_constant_answer_is_wrong(exercise: Exercise, body: str) -> None:
    fault = first_fault(judge(), exercise, answering(exercise, body))
    assert fault is not None and fault.message


def zeros_like(value: Any) -> Any:
    """The same shapes and types, all numbers zero."""
    if isinstance(value, np.ndarray | np.generic):
        return np.zeros_like(value)
    if isinstance(value, bool | int | float):
        return type(value)(0)
    if isinstance(value, dict):
        return {key: zeros_like(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(zeros_like(item) for item in value)
    return Record(value.name, zeros_like(value.fields)) if isinstance(value, Record) else value


@pytest.mark.parametrize("exercise", EXERCISES)
def test_zeros_of_the_right_shapes_are_wrong(exercise: Exercise) -> None:
    """What no function could be blamed for: results with every number zero."""
    found = judge()
    module = found.reference_module(exercise)
    differences = [find_difference(expected, zeros_like(expected), check.tolerance,
                                   check.tolerances)
                   for check, seed in found.plan(exercise)
                   for expected in [run_reference(check, module, seed)]]
    numeric = exercise.id not in ("1.1",)  # formats are words
    assert any(differences) or not numeric


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_reference_agrees_with_itself(exercise: Exercise) -> None:
    """Bit for bit: tolerances are for different right answers, not for noise of the harness."""
    found = judge(5)
    module = found.reference_module(exercise)
    for check, seed in found.plan(exercise):
        first, second = (run_reference(check, module, seed) for _ in range(2))
        assert find_difference(first, second, Tolerance(0, 0)) is None


@pytest.mark.parametrize("exercise", EXERCISES)
def test_tolerances_lie_below_the_nearest_mistake(exercise: Exercise) -> None:
    """Ten times the tolerance still catches every mistake that the checks are there for."""
    found = judge(7)
    reference = found.reference_module(exercise)
    for mistake in load_mistakes(MANIFEST, exercise):
        module = mistaken_module(ROOT, exercise, mistake)
        wide = []
        for check, seed in found.plan(exercise):
            tolerance = Tolerance(*(10 * part for part in check.tolerance))
            outcome = outcome_of(check, module, seed)
            wide.append(outcome.kind != "result" or find_difference(
                run_reference(check, reference, seed), outcome.value, tolerance) is not None)
        assert any(wide), mistake.name


@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem) for p in ALTERNATIVES])
def test_a_different_right_answer_passes(path: Path) -> None:
    exercise = MANIFEST.find(path.stem.partition("_")[0].replace("-", "."))
    solution = ROOT / exercise.solution
    source = solution.read_text("utf-8") + "\n" + path.read_text("utf-8")
    module = module_of(source, module_name(exercise.solution), solution)
    for seed in (11, 500, 900):
        fault = first_fault(judge(seed), exercise, module)
        assert fault is None, fault.message


def test_the_templates_are_generated() -> None:
    """Where nobody has filled them: what is committed is what the solutions give."""
    for template in MANIFEST.templates:
        text = (ROOT / template).read_text("utf-8")
        compile(text, str(template), "exec")
        assert generate(MANIFEST, template).count("\n") > 20


def test_untouched_templates_are_todo_and_answers_are_done(tmp_path: Path) -> None:
    pristine, answers = tmp_path / "pristine", tmp_path / "answers"
    for folder, filled in ((pristine, False), (answers, True)):
        for template in MANIFEST.templates:
            path = folder / template
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generate(MANIFEST, template, answers=filled), "utf-8")
    for folder, verdict in ((pristine, Verdict.TODO), (answers, Verdict.DONE)):
        found = Judge(MANIFEST, answers=folder, seed=3)
        results = [found.check(exercise) for exercise in MANIFEST.exercises]
        assert [r.verdict for r in results] == [verdict] * len(results), [
            (r.id, r.message) for r in results if r.verdict != verdict]
