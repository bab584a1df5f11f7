"""The report as JSON: the format that the others are made from."""

import json

from course.verdict import CheckReport


def write(report: CheckReport) -> str:
    """``score``, ``max_score``, ``seed``, ``bounds``, ``exercises``."""
    return json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n"
