"""What every command starts with: the checkout, its manifest, its state, its reference."""

import atexit
import os
import secrets
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from course.judge import Judge
from course.manifest import Exercise, Manifest, load_manifest
from course.runner import Runner
from course.state import State, find_state
from zoo.errors import InferenceError

ROOT = Path(__file__).parents[1]
MOST_FILES, MOST_BYTES = 5000, 200 << 20  # of a reference in a zip archive


@dataclass(frozen=True)
class Checkout:
    """A copy of the course on a learner's disk."""

    root: Path = ROOT

    @cached_property
    def manifest(self) -> Manifest:
        """The exercises."""
        return load_manifest(self.root)

    @cached_property
    def state(self) -> State:
        """What former checks found."""
        return find_state(self.root)

    def chosen(self, ids: tuple[str, ...], phase: int | None = None) -> tuple[Exercise, ...]:
        """The exercises of those ids, or of a phase, or all."""
        if ids:
            return tuple(self.manifest.find(name) for name in dict.fromkeys(ids))
        if phase is not None:
            found = self.manifest.of_phase(phase)
            if not found:
                raise InferenceError(f"phase {phase} has no exercises yet")
            return found
        return self.manifest.exercises

    def reference(self, named: Path | None) -> Path:
        """The folder of a whole reference. Raises InferenceError where there is none."""
        folder = find_reference(self.root, named)
        missing = [s for s in self.manifest.templates.values() if not (folder / s).exists()]
        if missing:
            raise InferenceError(
                f"{missing[0]} is not in {folder}: a check needs the reference; name its folder "
                "or zip archive by --reference or COURSE_REFERENCE"
            )
        return folder

    def judge(self, seed: int | None, reference: Path | None = None,
              runner: Runner | None = None) -> Judge:
        """A judge of the templates in this checkout; without a seed, with fresh inputs."""
        return Judge(self.manifest, reference=self.reference(reference), runner=runner,
                     seed=secrets.randbelow(1 << 31) if seed is None else seed)


def find_reference(root: Path, named: Path | None) -> Path:
    """The folder that holds ``solutions``: named, in COURSE_REFERENCE, or the checkout's own.

    A zip archive is unpacked into a folder of its own. Raises InferenceError where there is none.
    """
    named = named or (Path(os.environ["COURSE_REFERENCE"]) if "COURSE_REFERENCE" in os.environ
                      else None)
    if named is None:
        return root
    if named.is_file() and zipfile.is_zipfile(named):
        named = _unpacked(named)
    if not (named / "solutions").is_dir():
        inner = [path for path in named.glob("*/solutions") if path.is_dir()]
        if len(inner) != 1:
            raise InferenceError(f"reference {named}: there is no folder solutions in it")
        named = inner[0].parent
    return named.resolve()


def _unpacked(archive: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="course-reference-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(archive) as content:
        entries = content.infolist()
        if len(entries) > MOST_FILES or sum(e.file_size for e in entries) > MOST_BYTES:
            raise InferenceError(f"reference {archive}: too large for a reference")
        content.extractall(folder)  # drops drives, roots and .. by itself
    return folder
