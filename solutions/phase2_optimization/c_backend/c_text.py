"""Small pieces of C as text."""

from collections.abc import Sequence


def plus(number: int) -> str:
    """The end of a C sum."""
    return f" + {number}" if number > 0 else f" - {-number}" if number else ""


def times(name: str, factor: int) -> str:
    """A C product."""
    return name if factor == 1 else f"{name} * {factor}"


def indent(lines: Sequence[str], depth: int = 1) -> list[str]:
    """The lines, four blanks further right for each level."""
    return ["    " * depth + line for line in lines]
