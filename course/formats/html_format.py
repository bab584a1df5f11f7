"""One page for one submission."""

from pathlib import Path

from course.verdict import CheckReport, Verdict
from zoo.errors import MissingExtraError

try:
    import jinja2
except ImportError as missing:
    raise MissingExtraError("jinja2", "grade") from missing

FOLDER = Path(__file__).parent
MARKS = {"done": "✓", "slow": "≈", "wrong": "✗", "todo": "·", "error": "!"}


def environment() -> jinja2.Environment:
    """The templates of the pages; everything is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), undefined=jinja2.StrictUndefined, autoescape=True,
        trim_blocks=True, lstrip_blocks=True,
    )


def write(report: CheckReport) -> str:
    """Score, verdicts, messages, bounds."""
    counts = {str(verdict): report.count(verdict) for verdict in Verdict}
    return environment().get_template("report.html.j2").render(report=report, counts=counts,
                                                               marks=MARKS)
