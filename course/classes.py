"""A class: many submissions graded side by side.

Each submission is graded by a process of its own (``course grade``), so memory stays flat and one
submission cannot hurt another; its report is a file, so a killed run goes on where it was.
"""

import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.checkout import Checkout
from course.runner import clean
from course.submission import MOST_FILES, SKIPPED
from zoo.errors import InferenceError, MissingExtraError

LIMIT = 900.0  # seconds for one submission
ANSWERS_WITHIN = 5.0  # seconds: a cluster's port
REFUSED = 2  # exit status of ``course grade`` for a submission that cannot be taken in
ROOT = Path(__file__).parents[1]
GRADER = ("course", "tests/exercises", "tests/mistakes")  # what a verdict depends upon


@dataclass(frozen=True)
class Work:
    """One submission to grade, and where its report belongs."""

    name: str
    submission: Path
    report: Path
    seed: int
    reference: Path | None

    def command(self, out: Path) -> list[str]:
        """The command that grades it into that file."""
        words = [sys.executable, "-m", "course", "grade", str(self.submission),
                 "--seed", str(self.seed), "--format", "html", "--out", str(self.page),
                 "--format", "json", "--out", str(out)]
        return words + (["--reference", str(self.reference)] if self.reference else [])

    @property
    def page(self) -> Path:
        """The same report for people."""
        return self.report.with_suffix(".html")


@dataclass(frozen=True)
class Graded:
    """What came of one submission: a report, or the line that refused it."""

    name: str
    report: dict[str, Any] | None  # without messages: memory stays flat
    error: str = ""
    page: str = ""  # from OUT
    fault: bool = False  # not refused: the grader broke down

    @property
    def graders_fault(self) -> bool:
        """Whether the grader failed, on all of it or on an exercise."""
        results = self.report["exercises"] if self.report else ()
        return self.fault or any(result["verdict"] == "error" for result in results)


def plan(submissions: Sequence[Path], out: Path, seed: int, reference: Path | None) -> list[Work]:
    """The work for a class; names are made unique."""
    if not submissions:
        raise InferenceError("no submissions: name folders or zip archives")
    named = [clean(path.name if path.is_dir() else path.stem)
             for path in map(Path.absolute, submissions)]
    solutions = Checkout(ROOT).reference(reference) / "solutions"
    grader = digest_of([ROOT / name for name in GRADER] + [solutions])
    work: list[Work] = []
    for name, path in zip(named, submissions, strict=True):
        taken, number = {one.name for one in work}, 1
        unique = name
        while unique in taken or (named.count(name) > 1 and unique == name):
            unique, number = f"{name}-{number}", number + 1
        key = digest_of([path], f"{seed} {grader}")[:12]
        report = (out / "reports" / f"{unique}-{key}.json").resolve()
        work.append(Work(unique, path.resolve(), report, seed,
                         reference.resolve() if reference else None))
    return work


def digest_of(paths: Iterable[Path], salt: str = "") -> str:
    """Of the Python files, lists and archives there: what is the same need not be graded twice."""
    digest = hashlib.sha256(salt.encode())
    for root in paths:
        for file in [root] if root.is_file() else itertools.islice(_files(root), MOST_FILES):
            digest.update(f"{file.relative_to(root)}\0".encode("utf-8", "surrogateescape"))
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        for name in sorted(files):
            file = Path(folder) / name
            if file.suffix in (".py", ".toml", ".zip") and file.is_file() and (
                    not file.is_symlink()):
                yield file


def grade_one(work: Work) -> Graded:
    """Grade one submission, or take the report that is there already."""
    try:
        return _kept(work) or _graded(work)
    except OSError as error:
        return Graded(work.name, None, f"{error.strerror}: {error.filename}", fault=True)


def _kept(work: Work) -> Graded | None:
    """What a former run found, unless the grader failed in it."""
    if not (work.report.exists() and work.page.exists()):
        return None
    try:
        report = json.loads(work.report.read_text("utf-8"))
    except ValueError:
        return None
    if any(result["verdict"] == "error" for result in report["exercises"]):
        return None
    return _slim(work, report)


def _graded(work: Work) -> Graded:
    work.report.parent.mkdir(parents=True, exist_ok=True)
    partial = work.report.with_suffix(f".{uuid.uuid4().hex[:8]}.part")
    try:
        done = subprocess.run(work.command(partial), capture_output=True, text=True, timeout=LIMIT,
                              errors="replace", cwd=ROOT)
        if not partial.exists():
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            return Graded(work.name, None, lines[-1].removeprefix("error: "),
                          fault=done.returncode != REFUSED)
        partial.replace(work.report)
    except subprocess.TimeoutExpired:
        return Graded(work.name, None, f"not graded within {LIMIT:g} s", fault=True)
    finally:
        partial.unlink(missing_ok=True)
    return _slim(work, json.loads(work.report.read_text("utf-8")))


def _slim(work: Work, report: dict[str, Any]) -> Graded:
    exercises = [{k: v for k, v in result.items() if k != "message"}
                 for result in report["exercises"]]
    return Graded(work.name, report | {"exercises": exercises},
                  page=f"{work.page.parent.name}/{work.page.name}")


def grade_here(work: Iterable[Work], workers: int) -> Iterator[Graded]:
    """Side by side on this machine, in the order in which they finish."""
    pool = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([pool.submit(grade_one, one) for one in work]):
            yield future.result()
    finally:  # who interrupts a class does not wait for all of it
        pool.shutdown(cancel_futures=True)


def grade_on_ray(work: Iterable[Work], address: str) -> Iterator[Graded]:
    """The same as tasks of a Ray cluster, whose machines share the submissions' file system."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    _knock(address)
    try:
        ray.init(address=address, log_to_driver=False,
                 runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise InferenceError(f"--ray {address}: no cluster there ({first})") from error
    try:
        task: Callable[..., Any] = ray.remote(num_cpus=1, max_retries=2)(grade_one)
        waiting = {task.remote(one): one for one in work}  # type: ignore[attr-defined]
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            one = waiting.pop(ready[0])
            try:
                yield ray.get(ready[0])
            except ray.exceptions.RayError as error:  # its machine is gone, retries and all
                yield Graded(one.name, None, f"Ray: {type(error).__name__}", fault=True)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise InferenceError where nobody listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, local
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise InferenceError(f"--ray {address}: no cluster there ({error})") from error


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
