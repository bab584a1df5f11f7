"""Gradescope's ``results.json``: https://gradescope-autograders.readthedocs.io, "Output format"."""

import json
from typing import Any

from course.verdict import CheckReport, ExerciseResult, Verdict


def write(report: CheckReport) -> str:
    """A test for each exercise; a fault of the grader gives full points and says so."""
    tests = [_test(result) for result in report.exercises]
    return json.dumps({
        "score": report.score,
        "execution_time": round(report.seconds),
        "output": f"seed {report.seed}\n" + "\n".join(report.bounds),
        "visibility": "visible",
        "tests": tests,
    }, indent=2) + "\n"


def _test(result: ExerciseResult) -> dict[str, Any]:
    fault = result.verdict == Verdict.ERROR
    words = f"{result.verdict}: {result.reason}" if result.reason else str(result.verdict)
    return {
        "number": result.id, "name": result.title,
        "score": result.points, "max_score": result.max_points,
        "status": "passed" if fault or result.verdict == Verdict.DONE else "failed",
        "output": "\n".join(line for line in (words, result.message) if line),
    }
