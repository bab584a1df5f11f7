"""The verdict on an exercise: what the answer computes against what the reference computes.

    untouched?  -> needs done?  -> signature?  -> checks x seeds  -> named mistakes
       todo           todo            wrong          wrong / done       a sentence

The reference runs in this process, the answer in another; only raw results cross the pipe.
"""

import ast
import importlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from course.difference import Difference, find_difference
from course.manifest import Exercise, Manifest, module_name
from course.mistakes import load_mistakes, mistaken_module
from course.performance import MOST_ROUNDS, Timed, judge_speed
from course.plain_data import decode, encode
from course.runner import Job, Outcome, Runner, clean
from course.scenario import Guarded, Scenario, draw, load_scenarios
from course.template_source import find_symbol, functions_of, is_untouched
from course.verdict import ExerciseResult, Verdict
from zoo.errors import InferenceError

START_SLACK = 2.0  # seconds beyond a check's limit, for a busy machine


class NotAResultError(Exception):
    """A timed answer that was not right."""


@dataclass(frozen=True)
class Fault:
    """Why an answer is not right."""

    reason: str
    message: str
    scenario: str = ""
    seed: int | None = None
    mistake: str = ""
    difference: dict[str, Any] = field(default_factory=dict)


class Judge:
    """Checks the exercises of one set of answers against one reference.

    ``answers`` is the folder that holds the template folders; ``reference`` the one that holds
    ``solutions``. Raises InferenceError where there is no reference.
    """

    def __init__(
        self, manifest: Manifest, answers: Path | None = None, reference: Path | None = None,
        runner: Runner | None = None, seed: int = 0, seeds: int | None = None,
        paths: tuple[Path, ...] | None = None,
    ) -> None:
        self.manifest, self.seed, self._seeds = manifest, seed, seeds
        self.answers = answers or manifest.root
        self.reference = reference or manifest.root
        self.runner = runner or Runner()
        self.paths = paths or tuple(dict.fromkeys((self.answers, manifest.root)))
        self._results: dict[str, ExerciseResult] = {}
        self._scenarios: dict[Path, list[Scenario]] = {}

    def check(self, exercise: Exercise) -> ExerciseResult:
        """The verdict; each exercise is checked once, however often it is asked for."""
        if exercise.id not in self._results:
            start = time.perf_counter()
            result = self._checked(exercise)
            self._results[exercise.id] = replace(result, seconds=time.perf_counter() - start)
        return self._results[exercise.id]

    def _checked(self, exercise: Exercise) -> ExerciseResult:
        try:
            fault = self._static_fault(exercise)
            if fault is None:
                fault = self._needs_done(exercise, thorough=False) or self._run(exercise)
                fault = fault or self._too_slow(exercise)
                if fault is not None and fault.reason not in ("prerequisite", "harness"):
                    fault = self._needs_done(exercise, thorough=True) or fault
        except Exception as error:  # the harness's own fault, whatever it is
            fault = Fault("harness", f"the checker itself failed: {type(error).__name__}: {error}\n"
                          "This is no fault of yours: you have the points.")
        return _result(exercise, fault)

    # What can be seen without running anything.

    def _static_fault(self, exercise: Exercise) -> Fault | None:
        path = self.answers / exercise.template
        try:
            source = path.read_text("utf-8-sig")
        except FileNotFoundError:
            return Fault("missing file", f"{exercise.template} is not there: course reset "
                         f"{exercise.id} makes it anew")
        except (UnicodeDecodeError, OSError) as error:
            return Fault("import", f"{exercise.template} cannot be read as UTF-8 text ({error})")
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            own = (getattr(error, "text", "") or "").strip()
            where = f"{exercise.template}, line {line}" if line else str(exercise.template)
            return Fault("syntax", f"{where}: {getattr(error, 'msg', error)}"
                         + (f": {own}" if own else ""))
        missing = [s for s in exercise.symbols if find_symbol(tree, s) is None]
        if missing:
            return Fault("missing symbol", f"{exercise.template} has no {missing[0]} any more: "
                         f"course reset {exercise.id} brings it back")
        untouched = [s for s in exercise.symbols if is_untouched(tree, exercise, s)]
        if untouched:
            some = len(untouched) < len(exercise.symbols)
            return Fault("untouched", f"still to do: {', '.join(untouched)}" if some else "")
        return self._signature_fault(exercise, tree)

    def _signature_fault(self, exercise: Exercise, tree: ast.Module) -> Fault | None:
        reference = ast.parse((self.reference / exercise.solution).read_text("utf-8"))
        for symbol in exercise.symbols:
            wanted, found = find_symbol(reference, symbol), find_symbol(tree, symbol)
            assert wanted is not None and found is not None
            if type(wanted) is not type(found):
                return Fault("signature", f"{symbol} is no longer what it was: a function or a "
                             "class")
            own = {f.name: f for f in functions_of(found)}
            for function in functions_of(wanted):
                theirs = own.get(function.name)
                if theirs is not None and not _callable_alike(function.args, theirs.args):
                    return Fault("signature", f"{symbol} takes ({ast.unparse(theirs.args)}), "
                                 f"but it is called as ({ast.unparse(function.args)})")
        return None

    def _needs_done(self, exercise: Exercise, thorough: bool) -> Fault | None:
        """A fault where an exercise that this one builds upon is not done."""
        for need in exercise.needs:
            other = self.manifest.find(need)
            if thorough:
                undone = self.check(other).verdict in (Verdict.WRONG, Verdict.TODO)
            else:
                fault = self._static_fault(other)
                undone = fault is not None
            if undone:
                return Fault("prerequisite", f"needs {need} first")
        return None

    # Running.

    def scenarios(self, exercise: Exercise) -> list[Scenario]:
        """The checks of an exercise."""
        path = self.manifest.root / exercise.scenarios
        if path not in self._scenarios:
            self._scenarios[path] = load_scenarios(path)
        found = [check for check in self._scenarios[path] if check.exercise == exercise.id]
        if not found:
            raise InferenceError(f"{exercise.scenarios} has no check of {exercise.id}")
        return found

    def plan(self, exercise: Exercise) -> list[tuple[Scenario, int]]:
        """Each check with each of its seeds."""
        return [(check, self.seed + 1000 * number)
                for check in self.scenarios(exercise)
                for number in range(self._seeds or check.seeds)]

    def reference_module(self, exercise: Exercise) -> ModuleType:
        """The solution's module, imported from the reference."""
        return import_reference(self.reference, exercise.solution)

    def _job(self, exercise: Exercise, plan: list[tuple[Scenario, int]], scratch: Path) -> Job:
        return Job(
            exercise.id, module_name(exercise.template), self.answers / exercise.template,
            self.manifest.root / exercise.scenarios,
            tuple((check.name, seed) for check, seed in plan), self.paths, scratch,
            {check.name: check.limit_s + START_SLACK for check, _ in plan},
        )

    def _run(self, exercise: Exercise) -> Fault | None:
        plan = self.plan(exercise)
        with tempfile.TemporaryDirectory(prefix="course-") as scratch:
            outcomes = self.runner.run(self._job(exercise, plan, Path(scratch)))
            try:
                return self._first_fault(exercise, plan, outcomes)
            finally:
                outcomes.close()  # type: ignore[attr-defined]

    def _too_slow(self, exercise: Exercise) -> Fault | None:
        """A fault where a check asks for speed and the answer, though right, has too little."""
        module = self.reference_module(exercise)
        for check in self.scenarios(exercise):
            if check.at_most is None:
                continue
            seeds = [self.seed + 7919 * number for number in range(1, MOST_ROUNDS + 2)]
            with tempfile.TemporaryDirectory(prefix="course-") as scratch:
                job = replace(self._job(exercise, [(check, s) for s in seeds], Path(scratch)),
                              paced=True)
                outcomes = self.runner.run(job)
                try:
                    next(outcomes)  # warm
                    found = judge_speed(partial(self._timed, check, module, seeds, outcomes),
                                        check.at_most)
                except NotAResultError as error:
                    return Fault("difference", str(error), check.name)
                finally:
                    outcomes.close()  # type: ignore[attr-defined]
            if found.verdict == "slow":
                return Fault("slow", f"right, but it takes {found.text}; at most "
                             f"{check.at_most:g} times are wanted\nChecked: {check.about}",
                             check.name)
        return None

    def _timed(self, check: Scenario, module: ModuleType, seeds: list[int],
               outcomes: Iterator[Outcome], number: int) -> Timed:
        """One round: the reference, then the answer, on the same fresh input."""
        seed = seeds[number + 1]
        start = time.perf_counter()
        expected = run_reference(check, module, seed)
        spent = time.perf_counter() - start
        outcome = next(outcomes, Outcome("died"))
        if outcome.kind != "result" or _compared(check, expected, outcome.value):
            raise NotAResultError(f"while it was timed, it gave another result ({outcome.kind}): "
                                  "an answer must be right every time")
        return Timed(outcome.seconds, spent)

    def _first_fault(
        self, exercise: Exercise, plan: list[tuple[Scenario, int]], outcomes: Iterator[Outcome]
    ) -> Fault | None:
        module = self.reference_module(exercise)
        for check, seed in plan:
            expected = run_reference(check, module, seed)
            outcome = next(outcomes, None)
            if outcome is None:
                return Fault("died", "the answer ended before all checks were run", check.name,
                             seed)
            fault = self._judged(exercise, check, seed, expected, outcome)
            if fault is not None:
                return fault
        return None

    def _judged(self, exercise: Exercise, check: Scenario, seed: int, expected: Any,
                outcome: Outcome) -> Fault | None:
        if outcome.kind != "result":
            fault = _outcome_fault(exercise, check, outcome)
            found = self._mistake(exercise, check, seed, outcome)
            text = f"{fault.message}\n{found[1]}" if found else fault.message
            return replace(fault, scenario=check.name, seed=seed, message=text,
                           mistake=found[0] if found else "")
        difference = _compared(check, expected, outcome.value)
        if difference is None:
            return None
        found = self._mistake(exercise, check, seed, outcome)
        lines = [difference.text, *([found[1]] if found else []), f"Checked: {check.about}"]
        return Fault("difference", "\n".join(lines), check.name, seed, found[0] if found else "",
                     _shown(difference))

    def _mistake(self, exercise: Exercise, check: Scenario, seed: int, outcome: Outcome
                 ) -> tuple[str, str] | None:
        """Name and sentence of the mistake whose result this is."""
        for mistake in load_mistakes(self.manifest, exercise):
            try:
                module = mistaken_module(self.reference, exercise, mistake)
                theirs = run_reference(check, module, seed)
            except (Exception, KeyboardInterrupt) as error:  # as the answer did
                if isinstance(error, KeyboardInterrupt) and not error.args:
                    raise  # a real one
                if outcome.fault.get("error") == type(error).__name__:
                    return mistake.name, mistake.sentence
                continue
            if outcome.kind == "result" and _compared(check, theirs, outcome.value) is None:
                return mistake.name, mistake.sentence
        return None


def import_reference(root: Path, solution: Path) -> ModuleType:
    """A solution's module from a reference folder. Raises InferenceError where it is missing."""
    if not (root / solution).exists():
        raise InferenceError(
            f"{solution} is not in {root}: this copy of the course has no reference; name one by "
            "--reference or COURSE_REFERENCE"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    folder = root
    for depth, part in enumerate(solution.parent.parts, 1):  # packages that are known already
        package: Any = importlib.import_module(".".join(solution.parts[:depth]))
        folder = folder / part
        if str(folder) not in package.__path__:
            package.__path__.insert(0, str(folder))
    return importlib.import_module(module_name(solution))


def run_reference(check: Scenario, module: Any, seed: int) -> Any:
    """The expected result, as it would come out of the pipe."""
    with np.errstate(all="ignore"):  # a mistake may overflow: that is what is shown
        return decode(encode(check.check(Guarded(module), draw(seed))))


def _compared(check: Scenario, expected: Any, got: Any) -> Difference | None:
    """The first difference. What cannot be compared is the answer's fault, not the judge's, as
    long as the expected result can be compared with itself."""
    try:
        return find_difference(expected, got, check.tolerance, check.tolerances)
    except Exception as error:
        find_difference(expected, expected, check.tolerance, check.tolerances)
        return Difference("", "type", "the result cannot be compared with what is expected "
                          f"({type(error).__name__})", None, None)


def _callable_alike(wanted: ast.arguments, found: ast.arguments) -> bool:
    """Whether all calls that fit ``wanted`` fit ``found``, by names and by places."""
    def names(arguments: ast.arguments) -> list[str]:
        return [a.arg for a in (*arguments.posonlyargs, *arguments.args)]

    if found.vararg is not None and found.kwarg is not None:
        return True
    a, b = names(wanted), names(found)
    required = len(b) - len(found.defaults)
    keywords = {k.arg for k in wanted.kwonlyargs}
    theirs = {k.arg for k in found.kwonlyargs}
    return (
        b[: len(a)] == a and required <= len(a) - len(wanted.defaults) and keywords <= theirs
    )


def _outcome_fault(exercise: Exercise, check: Scenario, outcome: Outcome) -> Fault:
    fault, name = outcome.fault, exercise.symbols[0]
    lines = "\n".join(f"  {line}" for line in fault.get("lines", ()))
    match outcome.kind:
        case "import":
            reason = "syntax" if fault.get("error") == "SyntaxError" else "import"
            return Fault(reason, f"{exercise.template} cannot be imported: {fault.get('error')}: "
                         f"{fault.get('message')}" + (f"\n{lines}" if lines else ""))
        case "exception" if fault.get("error") == "NotImplementedError" and str(
                fault.get("message")).startswith("exercise "):
            other = str(fault["message"])[len("exercise "):].partition(":")[0]
            if other != exercise.id:
                return Fault("prerequisite", f"needs {other} first")
        case "exception" if not fault.get("own") and "call" in fault:
            return Fault("exception", f"{fault['call']} returned {fault['returned']}, which the "
                         f"check could not use ({fault.get('error')}: {fault.get('message')})\n"
                         f"Checked: {check.about}")
        case "hang":
            return Fault("hang", f"{name} did not come to an end within {check.limit_s:g} s: is "
                         "there a loop that never ends?")
        case "output":
            return Fault("output", "the answer printed more than a megabyte: take the prints out "
                         "of its loops")
        case "mutation":
            return Fault("mutation", str(fault.get("message")))
        case "not plain":
            return Fault("not plain data", f"{name}: {fault.get('message')}")
        case "died":
            return Fault("died", f"the answer's process is gone: {fault.get('message')}")
        case "bounds" | "ready":  # forged: the real ones come before any check
            return Fault("not plain data", "what came back is no result")
        case "garbage":
            return Fault("not plain data", f"what came back is no result ({fault.get('message')})")
    return Fault("exception", f"{fault.get('error')}: {fault.get('message')}"
                 + (f"\n{lines}" if lines else "") + f"\nChecked: {check.about}")


def _shown(difference: Difference) -> dict[str, Any]:
    return {"path": difference.path, "kind": difference.kind, "text": difference.text,
            "expected": difference.expected, "got": difference.got,
            "first": difference.first, "worst": difference.worst}


def _result(exercise: Exercise, fault: Fault | None) -> ExerciseResult:
    if fault is None:
        return ExerciseResult(exercise.id, exercise.title, Verdict.DONE, exercise.points,
                              exercise.points)
    verdict = {"untouched": Verdict.TODO, "prerequisite": Verdict.TODO,
               "slow": Verdict.SLOW, "harness": Verdict.ERROR}.get(fault.reason, Verdict.WRONG)
    return ExerciseResult(
        exercise.id, exercise.title, verdict,
        exercise.points if verdict == Verdict.ERROR else 0, exercise.points, fault.reason,
        clean(fault.message),
        mistake=fault.mistake, scenario=fault.scenario, seed=fault.seed,
        difference=fault.difference,
    )
