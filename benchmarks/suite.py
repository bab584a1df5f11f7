"""What a suite gets and what it gives back."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).with_name("records")  # the last full run of each suite, committed

Row = dict[str, str | float | None]


@dataclass(frozen=True)
class Goal:
    """Something that a suite promises, and whether it is so."""

    name: str
    goal: str  # as a reader would say it: "at least 0.85"
    measured: float | None  # None: could not be measured here
    holds: bool
    note: str = ""  # why it was not measured, or from when and which commit the figure is


def at_least(name: str, measured: float, bound: float) -> Goal:
    """A goal with a lower bound; NaN does not hold."""
    return Goal(name, f"at least {bound:g}", measured, bool(measured >= bound))


def at_most(name: str, measured: float, bound: float) -> Goal:
    """A goal with an upper bound; NaN does not hold."""
    return Goal(name, f"at most {bound:g}", measured, bool(measured <= bound))


def within(name: str, measured: float, low: float, high: float) -> Goal:
    """A goal with both bounds."""
    return Goal(name, f"{low:g} to {high:g}", measured, bool(low <= measured <= high))


def unmeasured(name: str, goal: str, why: str) -> Goal:
    """A goal that cannot be measured here; it counts as not held."""
    return Goal(name, goal, None, False, why)


@dataclass(frozen=True)
class SuiteResult:
    """The outcome of one suite."""

    rows: list[Row]  # the table: one row per variant, the same keys in each
    goals: list[Goal]
    plot: Callable[[Any], None]  # draws onto a matplotlib figure
    facts: dict[str, Any] = field(default_factory=dict)  # further figures for the JSON


@dataclass(frozen=True)
class Context:
    """How a suite is run."""

    suite: str
    quick: bool
    say: Callable[[str], None]  # one line of progress

    def deep_goal(self, name: str, goal: str) -> Goal:
        """A goal that only a full run measures, from the last committed record."""
        path = RECORDS / f"{self.suite}.json"
        if not path.is_file():
            return unmeasured(name, goal, "no full run on record")
        record = json.loads(path.read_text())
        for known in record["goals"]:
            if known["name"] == name:
                when = f"full run of {record['date'][:10]}, commit {record['commit'][:10]}"
                return Goal(name, goal, known["measured"], known["holds"], when)
        return unmeasured(name, goal, "not in the last full run")


def as_json(result: SuiteResult, about: dict[str, Any]) -> dict[str, Any]:
    """The content of ``SUITE.json``."""
    goals = [asdict(goal) for goal in result.goals]
    return about | {"goals": goals, "rows": result.rows, "facts": result.facts}
