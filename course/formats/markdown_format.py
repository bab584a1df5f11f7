"""A table for pull requests and job summaries."""

from course.verdict import CheckReport, Verdict

MARKS = {Verdict.DONE: "✅", Verdict.SLOW: "🐢", Verdict.WRONG: "❌", Verdict.TODO: "⬜",
         Verdict.ERROR: "⚠️"}


def escaped(text: str) -> str:
    """Text that stays in its table cell and is nothing but text."""
    for letter in "\\`*_{}[]()#+!|<>~":
        text = text.replace(letter, "\\" + letter)
    return " ".join(text.split())


def write(report: CheckReport) -> str:
    """Score, a row for each exercise, the bounds."""
    lines = [
        f"## {report.score:g} of {report.max_score:g} points", "",
        "| | exercise | verdict | points | |", "|---|---|---|---|---|",
    ]
    for result in report.exercises:
        message = escaped(result.message)[:300]
        lines.append(f"| {MARKS[result.verdict]} | {result.id} {escaped(result.title)} | "
                     f"{result.verdict} | {result.points:g} / {result.max_points:g} | {message} |")
    lines += ["", f"Seed {report.seed}, {report.seconds:.1f} s. Bounds:", ""]
    lines += [f"- {escaped(bound)}" for bound in report.bounds]
    if report.count(Verdict.ERROR):
        lines.insert(1, "\n**The grader itself failed on some exercises: see ⚠️.**")
    return "\n".join(lines) + "\n"
