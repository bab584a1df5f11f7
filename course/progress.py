"""How far a learner is, by what was checked and what changed since."""

import ast
from dataclasses import dataclass
from pathlib import Path

from course.manifest import Exercise, Manifest
from course.state import State, digest_of
from course.template_source import is_untouched


@dataclass(frozen=True)
class Standing:
    """Where an exercise stands without being checked now."""

    exercise: Exercise
    verdict: str  # of the last check; "todo" while untouched, "edited" where not checked since
    waits_for: str = ""  # the exercise that must be done before


def standings(manifest: Manifest, state: State) -> list[Standing]:
    """All exercises in order."""
    trees: dict[Path, ast.Module | None] = {}
    found: dict[str, Standing] = {}
    for exercise in manifest.exercises:
        if exercise.template not in trees:
            trees[exercise.template] = _tree(manifest.root / exercise.template)
        verdict = _verdict(manifest, state, exercise, trees[exercise.template])
        waits = next((n for n in exercise.needs if found[n].verdict != "done"), "")
        found[exercise.id] = Standing(exercise, verdict, waits)
    return list(found.values())


def next_exercise(all_of_them: list[Standing]) -> Exercise | None:
    """The first that is not done and waits for nothing."""
    return next((s.exercise for s in all_of_them
                 if s.verdict not in ("done", "slow") and not s.waits_for), None)


def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_text("utf-8-sig"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None


def _verdict(manifest: Manifest, state: State, exercise: Exercise, tree: ast.Module | None) -> str:
    if tree is not None and any(is_untouched(tree, exercise, s) for s in exercise.symbols):
        return "todo"
    known = state.exercises.get(exercise.id)
    if known is None or known.digest != digest_of(manifest, exercise):
        return "edited"
    return known.verdict
