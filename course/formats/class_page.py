"""A class on one page: what to teach again, success by exercise, common mistakes, everybody."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from course.class_summary import score_bins, summarise, to_teach_again
from course.classes import Graded
from course.formats.html_format import MARKS, environment
from course.manifest import Manifest


def write_class_page(graded: Sequence[Graded], manifest: Manifest, path: Path) -> None:
    """Write ``index.html``, whole or not at all."""
    ordered = sorted(graded, key=lambda one: (-(one.report or {}).get("score", -1), one.name))
    found = summarise(ordered, manifest)
    reports = [one.report for one in ordered if one.report]
    scores = [report["score"] for report in reports]
    most = max((report["max_score"] for report in reports), default=0)
    mistakes = [(one, mistake) for one in found for mistake in one.mistakes]
    page = environment().get_template("class.html.j2").render(
        graded=ordered, exercises=found, again=to_teach_again(found), marks=MARKS,
        mistakes=sorted(mistakes, key=lambda pair: -pair[1].count), most=most,
        median=statistics.median(scores) if scores else 0, bins=score_bins(scores, most),
        seed=reports[0]["seed"] if reports else None,
        bounds=sorted({bound for report in reports for bound in report["bounds"]
                       if not bound.startswith("note:")}),
        faulty=[one.name for one in ordered if one.graders_fault],
    )
    partial = path.with_suffix(".part")
    partial.write_text(page, "utf-8")
    partial.replace(path)
