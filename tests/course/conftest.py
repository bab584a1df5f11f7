"""A learner's copy of the course, to be filled and spoilt."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from course.judge import Judge
from course.manifest import Manifest, load_manifest
from course.runner import Runner
from course.template_source import generate, replace_symbol
from course.verdict import ExerciseResult

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Learner:
    """A checkout whose templates may be edited."""

    root: Path

    @property
    def manifest(self) -> Manifest:
        return load_manifest(self.root)

    def template(self, exercise: str) -> Path:
        return self.root / self.manifest.find(exercise).template

    def solve(self, *exercises: str) -> None:
        """Put the reference's answers in."""
        for name in exercises:
            exercise = self.manifest.find(name)
            answer = generate(self.manifest, exercise.template, answers=True)
            text = self.template(name).read_text()
            helpers = answer  # the answer may need what the template left out
            for symbol in exercise.symbols:
                text = replace_symbol(text, symbol, answer)
            missing = [n for n in _private(helpers) if f"def {n}(" not in text]
            for helper in missing:
                text += "\n\n" + _text_of(helpers, helper) + "\n"
            self.template(name).write_text(text)

    def write(self, exercise: str, symbol: str, code: str) -> None:
        """Put another text in the place of a function."""
        path = self.template(exercise)
        path.write_text(replace_symbol(path.read_text(), symbol, code))

    def check(self, exercise: str, **named: object) -> ExerciseResult:
        judge = Judge(self.manifest, reference=ROOT, seed=5, paths=(self.root,), **named)
        return judge.check(self.manifest.find(exercise))

    def run(self, *words: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """The command ``course`` in this checkout."""
        return subprocess.run(
            [sys.executable, "-m", "course", *words], cwd=self.root, capture_output=True,
            text=True, timeout=timeout, env=self.environment(**env),
        )

    def environment(self, **env: str) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.root), "COLUMNS": "100",
                "PYTHONDONTWRITEBYTECODE": "1", **env}


def _private(source: str) -> list[str]:
    import ast

    return [n.name for n in ast.parse(source).body
            if isinstance(n, ast.FunctionDef) and n.name.startswith("_")]


def _text_of(source: str, name: str) -> str:
    from course.template_source import symbol_text

    return symbol_text(source, name)


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("zoo", "solutions", "course"):
        (root / name).symlink_to(ROOT / name)
    (root / "tests").mkdir()
    for name in ("exercises", "mistakes"):
        (root / "tests" / name).symlink_to(ROOT / "tests" / name)
    for template in load_manifest(ROOT).templates:
        (root / template).parent.mkdir(exist_ok=True)
        (root / template).write_text(generate(load_manifest(ROOT), template))
    return Learner(root)


@pytest.fixture
def runner() -> Callable[..., Runner]:
    return Runner


@pytest.fixture(scope="session", autouse=True)
def _no_bytecode() -> None:
    sys.dont_write_bytecode = True
    shutil.rmtree(ROOT / "phase1_basics" / "__pycache__", ignore_errors=True)
