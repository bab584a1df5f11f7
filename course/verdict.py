"""What is said of an exercise: five verdicts, everywhere the same."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """``error`` is the harness's own fault and never blamed on the learner."""

    DONE = "done"
    SLOW = "slow"
    WRONG = "wrong"
    TODO = "todo"
    ERROR = "error"


@dataclass(frozen=True)
class ExerciseResult:
    """The verdict on one exercise and what the learner should read."""

    id: str
    title: str
    verdict: Verdict
    points: float
    max_points: float
    reason: str = ""  # untouched, prerequisite, difference, exception, syntax, import, hang, ...
    message: str = ""
    seconds: float = 0.0
    mistake: str = ""  # name of the mistake that it matches
    scenario: str = ""  # the check that failed
    seed: int | None = None
    difference: dict[str, Any] = field(default_factory=dict)  # path, kind, expected, got

    def as_json(self) -> dict[str, Any]:
        """Plain data, as reports write it."""
        return {
            "id": self.id, "title": self.title, "verdict": str(self.verdict),
            "points": self.points, "max_points": self.max_points, "reason": self.reason,
            "message": self.message, "mistake": self.mistake, "scenario": self.scenario,
            "seed": self.seed, "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class CheckReport:
    """All exercises that were checked."""

    exercises: tuple[ExerciseResult, ...]
    seed: int
    bounds: tuple[str, ...] = ()  # what held while foreign code ran
    seconds: float = 0.0

    @property
    def score(self) -> float:
        """Points reached."""
        return sum(result.points for result in self.exercises)

    @property
    def max_score(self) -> float:
        """Points that there are."""
        return sum(result.max_points for result in self.exercises)

    def count(self, verdict: Verdict) -> int:
        """How many exercises have that verdict."""
        return sum(result.verdict == verdict for result in self.exercises)

    def as_json(self) -> dict[str, Any]:
        """Plain data, as reports write it."""
        return {
            "score": self.score, "max_score": self.max_score, "seed": self.seed,
            "bounds": list(self.bounds), "seconds": round(self.seconds, 3),
            "exercises": [result.as_json() for result in self.exercises],
        }
