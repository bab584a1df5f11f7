"""From a submission to a report: every exercise, in isolation."""

import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from course.isolated import IsolatedRunner
from course.judge import Judge
from course.manifest import Exercise, Manifest
from course.sandbox.launch import Bounds
from course.submission import Submission, read_submission
from course.template_source import generate
from course.verdict import CheckReport, ExerciseResult

Progress = Callable[[ExerciseResult], None]


def grade(
    path: Path, manifest: Manifest, reference: Path | None = None, seed: int | None = None,
    progress: Progress = lambda result: None, bounds: Bounds | None = None,
) -> CheckReport:
    """Grade a checkout, a folder of templates or a zip archive.

    Raises InferenceError where it cannot be taken in; whatever its code does is a verdict.
    """
    return grade_submission(read_submission(path, manifest), manifest, reference, seed, progress,
                            bounds)


def grade_submission(
    submission: Submission, manifest: Manifest, reference: Path | None = None,
    seed: int | None = None, progress: Progress = lambda result: None,
    bounds: Bounds | None = None, exercises: tuple[Exercise, ...] | None = None,
) -> CheckReport:
    """Grade a submission that was taken in."""
    start = time.perf_counter()
    runner = IsolatedRunner(manifest, submission, bounds)
    with tempfile.TemporaryDirectory(prefix="submission-") as folder:
        answers = Path(folder)
        for template in manifest.templates:
            target = answers / template
            target.parent.mkdir(parents=True, exist_ok=True)
            text = submission.texts.get(template)
            target.write_text(generate(manifest, template) if text is None else text, "utf-8")
        judge = Judge(manifest, answers, reference, runner,
                      secrets.randbelow(1 << 31) if seed is None else seed)
        results = []
        for exercise in exercises or manifest.exercises:
            results.append(judge.check(exercise))
            progress(results[-1])
    held = (*runner.held, *(f"note: {note}" for note in submission.notes))
    return CheckReport(tuple(results), judge.seed, held, time.perf_counter() - start)
