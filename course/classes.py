"""A class: many submissions graded side by side, and what their reports say together.

Each submission is graded by a process of its own (``course grade``), so memory stays flat and one
submission cannot hurt another; its report is a file, so a killed run goes on where it was.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.submission import SKIPPED
from zoo.errors import InferenceError, MissingExtraError

LIMIT = 900.0  # seconds for one submission
HARD = 0.6  # an exercise that a smaller share has done is worth teaching again


@dataclass(frozen=True)
class Work:
    """One submission to grade, and where its report belongs."""

    name: str
    submission: Path
    report: Path
    seed: int
    reference: Path | None

    def command(self) -> list[str]:
        """The command that grades it."""
        words = [sys.executable, "-m", "course", "grade", str(self.submission), "--format", "json",
                 "--out", str(self.report), "--seed", str(self.seed)]
        return words + (["--reference", str(self.reference)] if self.reference else [])


@dataclass(frozen=True)
class Graded:
    """What came of one submission: a report, or the line that refused it."""

    name: str
    report: dict[str, Any] | None
    error: str = ""


def plan(submissions: Sequence[Path], out: Path, seed: int, reference: Path | None) -> list[Work]:
    """The work for a class; names are made unique."""
    if not submissions:
        raise InferenceError("no submissions: name folders or zip archives")
    counts = Counter(path.stem for path in submissions)
    seen: Counter[str] = Counter()
    work = []
    for path in submissions:
        seen[path.stem] += 1
        name = path.stem if counts[path.stem] == 1 else f"{path.stem}-{seen[path.stem]}"
        key = f"{name}-{fingerprint(path, seed)}.json"
        work.append(Work(name, path.resolve(), (out / "reports" / key).resolve(), seed,
                         reference.resolve() if reference else None))
    return work


def fingerprint(path: Path, seed: int) -> str:
    """Of a submission's files: the same ones need not be graded twice."""
    digest = hashlib.sha256(str(seed).encode())
    if path.is_file():
        digest.update(path.read_bytes())
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        for name in sorted(n for n in files if n.endswith(".py")):
            file = Path(folder) / name
            digest.update(str(file.relative_to(path)).encode())
            if file.is_file() and not file.is_symlink():
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def grade_one(work: Work) -> Graded:
    """Grade one submission, or take the report that is there already."""
    if work.report.exists():
        try:
            return Graded(work.name, json.loads(work.report.read_text("utf-8")))
        except ValueError:  # cut off by a kill
            work.report.unlink()
    work.report.parent.mkdir(parents=True, exist_ok=True)
    partial = work.report.with_suffix(".part")
    command = [str(partial) if word == str(work.report) else word for word in work.command()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT,
                              cwd=Path(__file__).parents[1])
    except subprocess.TimeoutExpired:
        return Graded(work.name, None, f"not graded within {LIMIT:g} s")
    if not partial.exists():
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return Graded(work.name, None, lines[-1].removeprefix("error: "))
    partial.replace(work.report)
    return Graded(work.name, json.loads(work.report.read_text("utf-8")))


def grade_here(work: Iterable[Work], workers: int) -> Iterator[Graded]:
    """Side by side on this machine, in the order in which they finish."""
    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(grade_one, one) for one in work]):
            yield future.result()


def grade_on_ray(work: Iterable[Work], address: str) -> Iterator[Graded]:
    """The same as tasks of a Ray cluster, whose machines share the submissions' file system."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    ray.init(address=None if address == "local" else address, ignore_reinit_error=True,
             log_to_driver=False, include_dashboard=False)
    try:
        task: Callable[..., Any] = ray.remote(num_cpus=1, max_retries=2)(grade_one)
        waiting = [task.remote(one) for one in work]  # type: ignore[attr-defined]
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            yield ray.get(ready[0])
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class ExerciseSummary:
    """How a class did on one exercise."""

    id: str
    title: str
    verdicts: dict[str, int]
    share_done: float  # of those who tried
    mistakes: list[tuple[str, int]]  # named ones, most common first


def summaries(graded: Sequence[Graded]) -> list[ExerciseSummary]:
    """One for each exercise, in order."""
    results: dict[str, list[dict[str, Any]]] = {}
    for one in graded:
        for result in (one.report or {}).get("exercises", ()):
            results.setdefault(result["id"], []).append(result)
    found = []
    for name, rows in results.items():
        verdicts = Counter(row["verdict"] for row in rows)
        tried = len(rows) - verdicts["todo"] - verdicts["error"]
        share = (verdicts["done"] + verdicts["slow"]) / tried if tried else 0.0
        mistakes = Counter(row["mistake"] or row["reason"] for row in rows
                           if row["verdict"] == "wrong")
        found.append(ExerciseSummary(name, rows[0]["title"], dict(verdicts), share,
                                     mistakes.most_common(3)))
    return found


def to_teach_again(found: Sequence[ExerciseSummary]) -> list[ExerciseSummary]:
    """Exercises that fewer than ``HARD`` of those who tried have done, the hardest first."""
    tried = [s for s in found if set(s.verdicts) - {"todo", "error"}]
    return sorted((s for s in tried if s.share_done < HARD), key=lambda s: s.share_done)
