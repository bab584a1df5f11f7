"""The page of a class: table, success by exercise, common mistakes, what to teach again."""

from collections.abc import Sequence
from pathlib import Path

from course.classes import Graded, summaries, to_teach_again
from course.formats.html_format import environment

MARKS = {"done": "✓", "slow": "≈", "wrong": "✗", "todo": "·", "error": "!"}


def write_class_page(graded: Sequence[Graded], path: Path) -> None:
    """Write ``index.html``."""
    ordered = sorted(graded, key=lambda one: (-(one.report or {}).get("score", -1), one.name))
    found = summaries(ordered)
    scores = [one.report["score"] for one in ordered if one.report]
    page = environment().get_template("class.html.j2").render(  # type: ignore[attr-defined]
        graded=ordered, exercises=found, again=to_teach_again(found), marks=MARKS,
        mean=sum(scores) / len(scores) if scores else 0.0,
        most=max((one.report["max_score"] for one in ordered if one.report), default=0),
    )
    path.write_text(page, "utf-8")
