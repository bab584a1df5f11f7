"""What the reports of a class say together: success, common mistakes, what to teach again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from course.classes import Graded
from course.manifest import Exercise, Manifest
from course.mistakes import load_mistakes
from course.verdict import Verdict

HARD = 0.6  # an exercise that a smaller share of those who tried has done is taught again
COMMON = 0.25  # and so is one in which a larger share makes the same mistake
AT_LEAST = 2  # of them


@dataclass(frozen=True)
class CommonMistake:
    """A wrong answer that several gave."""

    name: str  # of the mistake; the reason where it has no name
    sentence: str  # "" where it has no name
    names: tuple[str, ...]  # of submissions

    @property
    def count(self) -> int:
        """How many made it."""
        return len(self.names)


@dataclass(frozen=True)
class ExerciseSummary:
    """How a class did on one exercise."""

    id: str
    title: str
    guide: str  # path of its section, from the checkout
    verdicts: dict[str, int]
    mistakes: tuple[CommonMistake, ...]  # the most common first

    @property
    def tried(self) -> int:
        """Submissions that are graded and not untouched."""
        return sum(self.verdicts.get(v, 0) for v in (Verdict.DONE, Verdict.SLOW, Verdict.WRONG))

    @property
    def share_done(self) -> float:
        """Of those who tried; slow is done, too: the idea is there."""
        right = self.verdicts.get(Verdict.DONE, 0) + self.verdicts.get(Verdict.SLOW, 0)
        return right / self.tried if self.tried else 0.0

    @property
    def again(self) -> str:
        """Why it is worth teaching again; "" where it is not."""
        most = self.mistakes[0] if self.mistakes else None
        if self.tried and self.share_done < HARD:
            return f"done by {self.share_done:.0%} of the {self.tried} who tried"
        if most and most.sentence and most.count >= max(AT_LEAST, COMMON * self.tried):
            return f"{most.count} of the {self.tried} who tried made the same mistake"
        return ""


def summarise(graded: Sequence[Graded], manifest: Manifest) -> list[ExerciseSummary]:
    """One for each exercise that was graded, in the order of the course."""
    found = []
    for exercise in manifest.exercises:
        rows = [(one.name, result) for one in graded if one.report
                for result in one.report["exercises"] if result["id"] == exercise.id]
        if rows:
            verdicts = Counter(result["verdict"] for _, result in rows)
            guide = f"{exercise.template.parts[0]}/guidelines.md#{exercise.guide}"
            found.append(ExerciseSummary(exercise.id, exercise.title, guide, dict(verdicts),
                                         _mistakes(manifest, exercise, rows)))
    return found


def _mistakes(manifest: Manifest, exercise: Exercise, rows: Sequence[tuple[str, dict[str, Any]]]
              ) -> tuple[CommonMistake, ...]:
    sentences = {m.name: m.sentence for m in load_mistakes(manifest, exercise)}
    who: dict[str, list[str]] = {}
    for name, result in rows:
        if result["verdict"] == Verdict.WRONG:
            who.setdefault(result["mistake"] or result["reason"], []).append(name)
    found = [CommonMistake(m, sentences.get(m, ""), tuple(names)) for m, names in who.items()]
    return tuple(sorted(found, key=lambda m: (-m.count, m.name)))


def to_teach_again(found: Sequence[ExerciseSummary]) -> list[ExerciseSummary]:
    """The exercises worth it, the hardest first."""
    return sorted((s for s in found if s.again), key=lambda s: s.share_done)


def score_bins(scores: Sequence[float], most: float, bins: int = 10) -> list[int]:
    """How many scores lie in each tenth of the points; full points in the last."""
    counts = [0] * bins
    for score in scores:
        counts[min(int(score / most * bins), bins - 1) if most else 0] += 1
    return counts
