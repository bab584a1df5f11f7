"""What the course remembers between commands: the last verdict on each exercise.

A small JSON file in the checkout (``.course/state.json``); where that cannot be written, in the
user's cache folder; where there is none either, nowhere. Every write replaces the file in one
step, so that two checks at once leave one of the two, never half of one. A file that is damaged
or of another version is put aside and begun anew: verdicts can be had again by a check.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course.manifest import Exercise, Manifest
from course.template_source import symbol_text
from course.verdict import ExerciseResult

VERSION = 1
FOLDER = ".course"


@dataclass
class Remembered:
    """The last verdict on an exercise, and on which text it was."""

    verdict: str
    digest: str
    reason: str = ""
    message: str = ""
    hints: int = 0  # shown so far


@dataclass
class State:
    """The verdicts by exercise, and where they are kept (None: nowhere)."""

    path: Path | None
    exercises: dict[str, Remembered] = field(default_factory=dict)
    note: str = ""  # what a learner should know about the file

    def remember(self, results: Iterable[tuple[ExerciseResult, str]]) -> None:
        """Note verdicts with the digests of the texts that they are on, and write the file."""
        fresh = load_state(self.path) if self.path is not None else self
        for result, digest in results:
            hints = fresh.exercises[result.id].hints if result.id in fresh.exercises else 0
            fresh.exercises[result.id] = Remembered(
                str(result.verdict), digest, result.reason, result.message[:500], hints
            )
        self.exercises = fresh.exercises
        self.save()

    def save(self) -> None:
        """Replace the file; without a place for it, do nothing."""
        if self.path is None:
            return
        document = {"version": VERSION,
                    "exercises": {k: vars(v) for k, v in sorted(self.exercises.items())}}
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix="state-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
            Path(name).replace(self.path)
        except OSError as error:
            self.note = f"verdicts are not kept: {self.path} cannot be written ({error.strerror})"


def find_state(root: Path) -> State:
    """The state of a checkout, wherever it can be kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    folders = [root / FOLDER]
    if cache:
        folders.append(Path(cache) / ".cache" / "inference-course" / name)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return load_state(folder / "state.json")
        except OSError:
            continue
    return State(None, note="verdicts are not kept: neither the checkout nor a cache folder can "
                            "be written")


def load_state(path: Path) -> State:
    """The state in a file; an empty one where it is not there or cannot be read."""
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}")
        return State(path, {str(k): _remembered(v) for k, v in document["exercises"].items()})
    except FileNotFoundError:
        return State(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        aside = path.with_name(f"state-{int(time.time())}.damaged.json")
        try:
            path.replace(aside)
        except OSError:
            return State(None, note=f"{path} cannot be used ({error})")
        return State(path, note=f"the notes of former checks could not be read and are begun anew "
                                f"(kept as {aside.name})")


def _remembered(entry: Any) -> Remembered:
    found = Remembered(**entry)
    if not all(isinstance(text, str) for text in (found.verdict, found.digest, found.reason)):
        raise ValueError("no texts")
    return found


def digest_of(manifest: Manifest, exercise: Exercise) -> str:
    """A fingerprint of an exercise's present text; "" where its file cannot be read."""
    try:
        source = (manifest.root / exercise.template).read_text("utf-8-sig")
        texts = [symbol_text(source, symbol) for symbol in exercise.symbols]
    except (OSError, ValueError, SyntaxError):
        return ""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def back_up(root: Path, file: Path) -> Path:
    """A copy of a learner's file, before anything is written over it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = root / FOLDER / "backups"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1000):
        copy = folder / f"{file.stem}.{stamp}{f'-{number}' if number else ''}.py"
        if not copy.exists():
            shutil.copy2(file, copy)
            return copy
    raise OSError(f"{folder} is full of copies")
