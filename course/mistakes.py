"""Named mistakes: typical wrong answers, each an edit of the solution with a sentence."""

import ast
import itertools
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from course.manifest import Exercise, Manifest, ManifestError, module_name

COUNT = itertools.count(1)


@dataclass(frozen=True)
class Mistake:
    """One typical wrong answer."""

    name: str
    sentence: str  # what a learner reads who made it
    scenario: str  # the check that must catch it
    edits: tuple[tuple[str, str], ...]  # old text, new text

    def applied(self, source: str, where: str) -> str:
        """The solution with the mistake in it. Raises ManifestError for an edit that no longer
        fits: old text that is not there, or there twice."""
        for old, new in self.edits:
            count = source.count(old)
            if count != 1:
                raise ManifestError(f"{where}: mistake {self.name}: its old text occurs {count} "
                                    "times in the solution, not once")
            source = source.replace(old, new)
        return source


def load_mistakes(manifest: Manifest, exercise: Exercise) -> list[Mistake]:
    """The mistakes of an exercise; none where this copy of the course has none."""
    path = manifest.root / exercise.mistakes
    if not path.exists():
        return []
    document = tomllib.loads(path.read_text("utf-8"))
    return [
        Mistake(
            entry["name"], " ".join(entry["sentence"].split()), entry["scenario"],
            tuple((edit["old"].strip("\n"), edit["new"].strip("\n")) for edit in entry["edit"]),
        )
        for entry in document["mistake"]
    ]


def mistaken_module(reference: Path, exercise: Exercise, mistake: Mistake) -> ModuleType:
    """The solution's module with the mistake in it, beside the real one."""
    path = reference / exercise.solution
    source = mistake.applied(path.read_text("utf-8"), str(exercise.mistakes))
    return module_of(source, module_name(exercise.solution), path)


def module_of(source: str, name: str, path: Path) -> ModuleType:
    """A module of that text, beside the one of that name: imports never find it."""
    own = f"{name}_beside_{next(COUNT)}"
    module = ModuleType(own)
    module.__file__ = str(path)
    module.__package__ = name.rpartition(".")[0]
    sys.modules[own] = module  # dataclasses look their module up
    try:
        exec(compile(ast.parse(source), str(path), "exec"), vars(module))
    finally:
        del sys.modules[own]
    return module
