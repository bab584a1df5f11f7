"""What a learner sees in the terminal: the board, verdicts, messages."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from course.manifest import Manifest
from course.progress import Standing, next_exercise
from course.verdict import CheckReport, ExerciseResult, Verdict

PHASES = {
    1: "Basics: loading models, measuring them",
    2: "Optimization: quantization, compilation",
    3: "Serving: GPU, dynamic batching, many models",
    4: "Production: real-time video analysis",
}
MARKS = {
    "done": ("✓", "green"), "slow": ("≈", "yellow"), "wrong": ("✗", "red"), "todo": ("·", "dim"),
    "error": ("!", "magenta"), "edited": ("?", "cyan"),
}
BAR = 40  # columns
WIDE = 96  # columns, from which on the files are shown


def show_board(manifest: Manifest, found: Sequence[Standing], console: Console) -> None:
    """Phases, exercises, verdicts, progress, the next step."""
    console.print("[bold]ML Inference from Scratch[/]\n")
    for phase, title in PHASES.items():
        rows = [s for s in found if s.exercise.phase == phase]
        done = sum(s.verdict == "done" for s in rows)
        count = f"{done} of {len(rows)}" if rows else "not open yet"
        console.print(f"[bold]Phase {phase}[/]  {title}  [dim]{count}[/]")
        if rows:
            console.print(Padding(_exercises(rows, console.width), (0, 0, 1, 2)))
    done, total = sum(s.verdict == "done" for s in found), len(found)
    filled = round(BAR * done / total) if total else 0
    console.print(f"\n[green]{'━' * filled}[/][dim]{'━' * (BAR - filled)}[/]  {done} of {total} "
                  f"exercises, {sum(s.exercise.points for s in found if s.verdict == 'done')} of "
                  f"{sum(s.exercise.points for s in found)} points")
    following = next_exercise(list(found))
    if following is None:
        console.print("Everything is done.")
        return
    console.print(
        f"Next: [bold]{following.id} {escape(following.title)}[/], about {following.minutes} "
        f"minutes\n      {following.template}\n"
        f"      course check {following.id}    course hint {following.id}    course watch"
    )


def _exercises(rows: Sequence[Standing], width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(4):
        table.add_column(no_wrap=True)
    for standing in rows:
        mark, colour = MARKS.get(standing.verdict, MARKS["edited"])
        said = "edited, not checked" if standing.verdict == "edited" else standing.verdict
        if standing.waits_for and standing.verdict == "todo":
            said = f"needs {standing.waits_for} first"
        exercise = standing.exercise
        file = [f"[dim]{exercise.template.name}[/]"] if width >= WIDE else []
        table.add_row(f"[{colour}]{mark}[/]", exercise.id, escape(exercise.title),
                      f"[{colour}]{said}[/]", *file)
    return table


def show_result(result: ExerciseResult, console: Console) -> None:
    """One exercise: its verdict in a line, what to read below it."""
    mark, colour = MARKS[str(result.verdict)]
    said = str(result.verdict)
    lines = result.message.splitlines()
    if result.verdict == Verdict.TODO and result.reason == "prerequisite" and lines:
        said = lines.pop(0)
    console.print(f"[{colour}]{mark}[/] [bold]{result.id}[/] {escape(result.title)}  "
                  f"[{colour}]{said}[/]  [dim]{result.seconds:.1f} s[/]")
    if result.verdict in (Verdict.DONE,):
        return
    for line in lines:
        console.print(Padding(escape(line), (0, 0, 0, 4)))


def show_report(report: CheckReport, console: Console) -> None:
    """The line below the verdicts: how many of each, and what to do with a wrong one."""
    counts = [(report.count(v), str(v)) for v in Verdict if report.count(v)]
    console.print("\n" + ", ".join(f"{n} {name}" for n, name in counts)
                  + f"  [dim](seed {report.seed})[/]")
    wrong = [r for r in report.exercises if r.verdict == Verdict.WRONG]
    if wrong:
        tip = f"course hint {wrong[0].id}"
        if wrong[0].reason == "difference":
            tip += f"    course diff {wrong[0].id}"
        console.print(f"[dim]{tip}[/]")
