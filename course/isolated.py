"""Runs the answers of a submission in a sandbox, each exercise in a tree of its own."""

import ast
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from course.manifest import Exercise, Manifest, module_name
from course.runner import Job, Outcome, Runner
from course.sandbox.launch import Bounds, Sandbox
from course.submission import Submission
from course.template_source import generate

TORCH_MEMORY = 6 << 30  # bytes of address space
CHILD = ("__init__.py", "plain_data.py", "difference.py", "scenario.py", "runner_side.py")


class IsolatedRunner(Runner):
    """A runner whose children see their own answers, and nothing that could be copied from.

    ``held`` says which bounds held, as the last child found them.
    """

    expects_bounds = True

    def __init__(self, manifest: Manifest, submission: Submission, bounds: Bounds | None = None
                 ) -> None:
        super().__init__()
        self.manifest, self.submission = manifest, submission
        self.bounds = bounds or Bounds()
        self.held: tuple[str, ...] = ()

    def run(self, job: Job) -> Iterator[Outcome]:
        """As :meth:`course.runner.Runner.run`, in a fresh tree that is gone afterwards."""
        exercise = self.manifest.find(job.exercise)
        with tempfile.TemporaryDirectory(prefix="grade-") as folder:
            tree = Path(folder).resolve()
            build_tree(self.manifest, self.submission, exercise, tree)
            zoo = self.manifest.root.resolve() / "zoo"
            inner = replace(job, template=tree / exercise.template, paths=(tree,), scratch=tree,
                            scenarios=tree / exercise.scenarios)
            bounds = self.bounds
            if "torch" in exercise.extras:  # which alone needs more than the usual
                bounds = replace(bounds, memory=max(bounds.memory, TORCH_MEMORY))
            self._launch = Sandbox(tree, (zoo,), bounds, self.manifest.root.resolve()).launch
            outcomes = super().run(inner)
            try:
                yield from outcomes
            finally:
                outcomes.close()  # type: ignore[attr-defined]

    def note_bounds(self, held: list[str]) -> None:
        """What the child says of its bounds before foreign code runs."""
        self.held = tuple(held)


def build_tree(manifest: Manifest, submission: Submission, exercise: Exercise, tree: Path) -> None:
    """All that the answers to one exercise can see of the course.

    Their own template and those of the exercises that it builds upon are the submission's; the
    others are untouched, so that a fault in them is nobody else's.
    """
    (tree / "zoo").symlink_to(manifest.root.resolve() / "zoo")
    (tree / "course").mkdir()
    for name in CHILD:
        shutil.copy(manifest.root / "course" / name, tree / "course" / name)
    (tree / exercise.scenarios).parent.mkdir(parents=True)
    shutil.copy(manifest.root / exercise.scenarios, tree / exercise.scenarios)
    theirs = {exercise.template}
    waiting = list(exercise.needs)
    while waiting:
        other = manifest.find(waiting.pop())
        theirs.add(other.template)
        waiting += other.needs
    for template in manifest.templates:
        text = submission.texts.get(template) if template in theirs else None
        path = tree / template
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generate(manifest, template) if text is None else text, "utf-8")
    for file in given_files(manifest.root, tuple(manifest.templates.values())):
        path = tree / file
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest.root / file, path)


@cache
def given_files(root: Path, secret: tuple[Path, ...]) -> tuple[Path, ...]:
    """The solution files of the templates' phases that hold no answer and import none."""
    folders = {solution.parent for solution in secret}
    files = {path.relative_to(root) for folder in folders for path in (root / folder).glob("*.py")}
    files |= {parent / "__init__.py" for folder in folders for parent in (folder, *folder.parents)
              if (root / parent / "__init__.py").exists() and parent != Path()}
    modules = {module_name(file): file for file in files}
    tainted = set(secret)
    while True:
        more = {file for file in files - tainted
                if any(modules.get(name) in tainted for name in _imported(root / file))}
        if not more:
            return tuple(sorted(files - tainted))
        tainted |= more


def _imported(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{n.name}" for n in node.names)}
        elif isinstance(node, ast.Import):
            found |= {n.name for n in node.names}
    return found
