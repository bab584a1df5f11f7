"""The list of exercises: ``course/exercises.toml``, read and checked."""

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from zoo.errors import InferenceError

FILE = Path("course/exercises.toml")
ID = re.compile(r"[1-9]\.[1-9][0-9]?")
FIELDS = {
    "id", "title", "points", "template", "solution", "symbols", "needs", "guide", "steps",
    "hints", "keep", "minutes",
}


class ManifestError(InferenceError):
    """A fault of the course itself, not of a learner."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: some functions or classes of one file."""

    id: str  # 1.3: phase and number
    title: str
    points: int
    template: Path  # phase1_basics/template_preprocessing.py, from the checkout
    solution: Path  # solutions/phase1_basics/preprocessing.py
    symbols: tuple[str, ...]  # a function, a class, or Class.method
    needs: tuple[str, ...]  # exercises that must be done before
    extras: tuple[str, ...]  # packages such as torch
    guide: str  # anchor of its section in the phase's guidelines.md
    steps: tuple[str, ...]
    hints: tuple[str, ...]  # each stronger than the one before
    keep: tuple[str, ...] = ()  # helpers that the template keeps, though only symbols use them
    minutes: int = 20

    @property
    def phase(self) -> int:
        """1 to 4."""
        return int(self.id[0])

    @property
    def scenarios(self) -> Path:
        """The file of its checks."""
        return Path("tests/exercises") / self.solution.parent.name / self.solution.name

    @property
    def mistakes(self) -> Path:
        """The file of its typical wrong answers."""
        return Path("tests/mistakes") / f"{self.id}.toml"


@dataclass(frozen=True)
class Manifest:
    """All exercises, in the order of the course."""

    root: Path
    exercises: tuple[Exercise, ...]
    programs: tuple[tuple[Path, Path], ...] = ()  # templates without exercises, their solutions

    def find(self, wanted: str) -> Exercise:
        """The exercise of that id. Raises InferenceError for an unknown one."""
        for exercise in self.exercises:
            if exercise.id == wanted:
                return exercise
        known = ", ".join(exercise.id for exercise in self.exercises)
        raise InferenceError(f"no exercise {wanted!r}: there are {known}")

    def of_phase(self, phase: int) -> tuple[Exercise, ...]:
        """The exercises of one phase."""
        return tuple(e for e in self.exercises if e.phase == phase)

    def of_template(self, template: Path) -> tuple[Exercise, ...]:
        """The exercises in one template."""
        return tuple(e for e in self.exercises if e.template == template)

    @cached_property
    def templates(self) -> dict[Path, Path]:
        """Template to solution, each file once, in order."""
        pairs = {exercise.template: exercise.solution for exercise in self.exercises}
        return pairs | dict(self.programs)

    @cached_property
    def modules(self) -> dict[str, str]:
        """Dotted name of each templated solution to that of its template."""
        return {module_name(s): module_name(t) for t, s in self.templates.items()}


def module_name(path: Path) -> str:
    """``solutions/phase1_basics/model.py`` as ``solutions.phase1_basics.model``."""
    return ".".join(path.with_suffix("").parts)


def load_manifest(root: Path) -> Manifest:
    """The manifest of a checkout. Raises ManifestError that names what is wrong in it."""
    path = root / FILE
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ManifestError(f"{path}: not there: run this in a checkout of the course") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: {error}") from error
    exercises = tuple(_exercise(entry, path) for entry in document.get("exercise", ()))
    programs = tuple(
        (_path(entry["template"], path), _path(entry["solution"], path))
        for entry in document.get("program", ())
    )
    _check(exercises, path)
    return Manifest(root, exercises, programs)


def _exercise(entry: dict[str, Any], path: Path) -> Exercise:
    name = entry.get("id", "?")
    where = f"{path}: exercise {name}"
    missing = FIELDS - {"keep", "needs", "minutes"} - set(entry)
    if missing or set(entry) - FIELDS:
        unknown = set(entry) - FIELDS
        raise ManifestError(f"{where}: " + (f"{sorted(missing)[0]} is missing" if missing
                                            else f"{sorted(unknown)[0]} is no field"))
    if not isinstance(name, str) or not ID.fullmatch(name):
        raise ManifestError(f"{where}: an id is a phase and a number, such as 1.3")
    needs = [str(need) for need in entry.get("needs", ())]
    exercise = Exercise(
        name, str(entry["title"]), int(entry["points"]), _path(entry["template"], path),
        _path(entry["solution"], path), tuple(entry["symbols"]),
        tuple(need for need in needs if ID.fullmatch(need)),
        tuple(need for need in needs if not ID.fullmatch(need)), str(entry["guide"]),
        tuple(entry["steps"]), tuple(entry["hints"]), tuple(entry.get("keep", ())),
        int(entry.get("minutes", 20)),
    )
    if exercise.points < 1 or not exercise.symbols or not exercise.steps or not exercise.hints:
        raise ManifestError(f"{where}: points, symbols, steps and hints must not be empty")
    return exercise


def _path(text: str, manifest: Path) -> Path:
    path = Path(text)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".py":
        raise ManifestError(f"{manifest}: {text!r} is no Python file within the course")
    return path


def _check(exercises: tuple[Exercise, ...], path: Path) -> None:
    seen: dict[str, Exercise] = {}
    files: dict[Path, Path] = {}
    owners: dict[tuple[Path, str], str] = {}
    for exercise in exercises:
        where = f"{path}: exercise {exercise.id}"
        if exercise.id in seen:
            raise ManifestError(f"{where} is there twice")
        for need in exercise.needs:
            if need not in seen:
                raise ManifestError(f"{where} needs {need}, which does not come before it")
        if files.setdefault(exercise.template, exercise.solution) != exercise.solution:
            raise ManifestError(f"{where}: {exercise.template} mirrors two solutions")
        for symbol in exercise.symbols:
            other = owners.setdefault((exercise.solution, symbol), exercise.id)
            if other != exercise.id:
                raise ManifestError(f"{where}: {symbol} belongs to {other} already")
        seen[exercise.id] = exercise
    if len(set(files.values())) < len(files):
        raise ManifestError(f"{path}: a solution has two templates")
