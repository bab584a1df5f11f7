"""The same checks for those who live in pytest: one item for each check of each exercise.

    pytest tests/exercises                    what is untouched is shown as todo (t)
    pytest tests/exercises -k letterbox --pdb
    pytest tests/exercises --strict           todo is a failure, too
    pytest tests/exercises --seed 7           the inputs of a former run again
    pytest tests/exercises --submission DIR   grade it as ``course grade`` does, isolated

Without a submission, the answer runs in this process, so that a debugger reaches it.
"""

import ast
import contextlib
import importlib
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from course.checkout import find_reference  # noqa: E402
from course.difference import find_difference  # noqa: E402
from course.judge import import_reference, run_reference  # noqa: E402
from course.manifest import Exercise, load_manifest, module_name  # noqa: E402
from course.plain_data import decode, encode  # noqa: E402
from course.scenario import Guarded, Scenario, draw, load_scenarios  # noqa: E402
from course.template_source import find_symbol, is_untouched  # noqa: E402
from course.verdict import ExerciseResult  # noqa: E402
from zoo.errors import InferenceError  # noqa: E402


class WrongAnswer(Exception):
    """What a learner reads."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("course")
    with contextlib.suppress(ValueError):  # pytest 9 has the word already
        group.addoption("--strict", action="store_true", help="untouched exercises are failures")
    group.addoption("--submission", type=Path, default=None,
                    help="grade this folder or zip archive, isolated")
    group.addoption("--seed", type=int, default=None, help="the inputs of a former run again")


def pytest_configure(config: pytest.Config) -> None:
    config.course_manifest = load_manifest(ROOT)  # type: ignore[attr-defined]
    seed = config.getoption("--seed", default=None)
    config.course_seed = secrets.randbelow(1 << 31) if seed is None else seed  # type: ignore[attr-defined]


def pytest_report_header(config: pytest.Config) -> str:
    return f"course: seed {config.course_seed}"  # type: ignore[attr-defined]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    folder = Path(__file__).parent
    if file_path.suffix == ".py" and file_path.parent.parent == folder:
        collector: pytest.Collector = ScenarioFile.from_parent(parent, path=file_path)
        return collector
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Checks in the order of the course, behind everything else."""
    items.sort(key=lambda item: getattr(item, "order", (-1, -1)))


class ScenarioFile(pytest.File):
    """The checks of one template."""

    def collect(self) -> Iterator[pytest.Item]:
        manifest = self.config.course_manifest  # type: ignore[attr-defined]
        submission = self.config.getoption("--submission", default=None)
        if submission is not None:
            yield from self.graded(submission)
            return
        places = {exercise.id: (n, exercise) for n, exercise in enumerate(manifest.exercises)}
        for number, check in enumerate(load_scenarios(self.path)):
            place, exercise = places[check.exercise]
            title = exercise.title.lower().replace(" ", "_")
            yield CheckItem.from_parent(
                self, name=f"{exercise.id}_{title}::{check.name}", check=check, exercise=exercise,
                order=(place, number),
            )


    def graded(self, submission: Path) -> Iterator[pytest.Item]:
        """An item for each exercise, as the grader sees it."""
        manifest = self.config.course_manifest  # type: ignore[attr-defined]
        for number, exercise in enumerate(manifest.exercises):
            if ROOT / exercise.scenarios == self.path:
                yield GradedItem.from_parent(self, name=f"{exercise.id} {exercise.title}",
                                             exercise=exercise, order=(number, 0))


class GradedItem(pytest.Item):
    """One exercise of a submission that is not trusted."""

    def __init__(self, *, exercise: Exercise, order: tuple[int, int], **rest: Any) -> None:
        super().__init__(**rest)
        self.exercise, self.order = exercise, order

    def setup(self) -> None:
        """A fault of the grader is an error here, too, and no failure."""
        result = report_of(self.config)[self.exercise.id]
        if result.verdict == "error":
            self.user_properties += [("verdict", "error"), ("reason", result.reason),
                                     ("points", result.points), ("max_points", result.max_points)]
            raise WrongAnswer(f"error: {result.message}")

    def runtest(self) -> None:
        result = report_of(self.config)[self.exercise.id]
        self.user_properties += [("verdict", str(result.verdict)), ("reason", result.reason),
                                 ("points", result.points), ("max_points", result.max_points)]
        if result.verdict == "todo":
            if self.config.getoption("strict"):
                raise WrongAnswer(result.message or "still to do")
            pytest.skip(result.message or "still to do")
        if result.verdict != "done":
            raise WrongAnswer(f"{result.verdict}: {result.message}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, WrongAnswer):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


def report_of(config: pytest.Config) -> dict[str, ExerciseResult]:
    """The submission's verdicts by exercise: graded once, at the first item."""
    if not hasattr(config, "course_report"):
        from course.grading import grade

        report = grade(config.getoption("--submission"), config.course_manifest,  # type: ignore[attr-defined]
                       find_reference(ROOT, None), config.course_seed)  # type: ignore[attr-defined]
        config.course_report = {r.id: r for r in report.exercises}  # type: ignore[attr-defined]
    return config.course_report  # type: ignore[attr-defined,no-any-return]


class CheckItem(pytest.Item):
    """One check of one exercise, over its seeds."""

    def __init__(self, *, check: Scenario, exercise: Exercise, order: tuple[int, int],
                 **rest: Any) -> None:
        super().__init__(**rest)
        self.check, self.exercise, self.order = check, exercise, order
        if self.config.getoption("timeout", None) is not None:
            self.add_marker(pytest.mark.timeout(check.limit_s + 5))

    def runtest(self) -> None:
        todo = self.still_to_do()
        if todo:
            if self.config.getoption("strict"):
                raise WrongAnswer(todo)
            self.user_properties.append(("verdict", "todo"))
            pytest.skip(todo)
        try:
            reference = import_reference(find_reference(ROOT, None), self.exercise.solution)
        except InferenceError as error:
            pytest.skip(str(error))
        module = importlib.import_module(module_name(self.exercise.template))
        for number in range(self.check.seeds):
            seed = self.config.course_seed + 1000 * number  # type: ignore[attr-defined]
            expected = run_reference(self.check, reference, seed)
            found = decode(encode(self.check.check(Guarded(module), draw(seed))))
            difference = find_difference(expected, found, self.check.tolerance,
                                         self.check.tolerances)
            if difference is not None:
                raise WrongAnswer(f"{difference.text}\nChecked: {self.check.about}\n"
                                  f"course check {self.exercise.id} says more")

    def still_to_do(self) -> str:
        """Which symbols are untouched, or which exercise comes first; "" where none does."""
        manifest = self.config.course_manifest  # type: ignore[attr-defined]
        for exercise in (*(manifest.find(need) for need in self.exercise.needs), self.exercise):
            tree = ast.parse((ROOT / exercise.template).read_text("utf-8-sig"))
            open_ = [s for s in exercise.symbols if find_symbol(tree, s) is not None
                     and is_untouched(tree, exercise, s)]
            if open_:
                return (f"still to do: {', '.join(open_)}" if exercise is self.exercise
                        else f"needs {exercise.id} first")
        return ""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, WrongAnswer):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


def pytest_report_teststatus(report: Any, config: pytest.Config) -> Any:
    if report.when == "call" and ("verdict", "todo") in getattr(report, "user_properties", ()):
        return "todo", "t", ("TODO", {"yellow": True})
    return None
