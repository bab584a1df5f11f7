"""A report as others want to read it: one file a format."""

from collections.abc import Callable

from course.verdict import CheckReport

NAMES = ("json", "junit", "gradescope", "markdown", "html")


def writer(name: str) -> Callable[[CheckReport], str]:
    """What makes a text of a report in that format; only its own module is imported."""
    import importlib

    module = importlib.import_module(f"course.formats.{name}_format")
    write: Callable[[CheckReport], str] = module.write
    return write
