"""A report as others want to read it: one file a format."""

from collections.abc import Callable

from course.verdict import CheckReport

Writer = Callable[[CheckReport], str]
NAMES = ("json", "junit", "gradescope", "markdown", "html")


def writer(name: str) -> Writer:
    """What makes a text of a report in that format; only its own module is imported."""
    import importlib

    module = importlib.import_module(f"course.formats.{name}_format")
    write: Writer = module.write
    return write
