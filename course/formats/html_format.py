"""One page for one submission."""

from pathlib import Path

from course.verdict import CheckReport
from zoo.errors import MissingExtraError

FOLDER = Path(__file__).parent


def environment() -> "object":
    """The templates of the pages; everything is escaped."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("jinja2", "learn") from error
    return jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True,
                              trim_blocks=True, lstrip_blocks=True)


def write(report: CheckReport) -> str:
    """Score, verdicts, messages, bounds."""
    found = environment()
    page: str = found.get_template("report.html.j2").render(report=report)  # type: ignore[attr-defined]
    return page
