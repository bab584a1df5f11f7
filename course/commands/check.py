"""``course check``: verdicts."""

import json
import time
from pathlib import Path

import click

from course.checkout import Checkout
from course.state import digest_of
from course.verdict import CheckReport, ExerciseResult, Verdict


@click.command("check")
@click.argument("ids", nargs=-1)
@click.option("--phase", type=click.IntRange(1, 4), help="all exercises of a phase")
@click.option("--json", "as_json", is_flag=True, help="print the report as JSON")
@click.option("--seed", type=click.IntRange(min=0), help="the inputs of a former check again")
@click.option("--reference", type=click.Path(path_type=Path, exists=True),
              help="folder or zip archive of the reference, where this copy has none")
def command(
    ids: tuple[str, ...], phase: int | None, as_json: bool, seed: int | None,
    reference: Path | None,
) -> int:
    """Check exercises (all without IDS): what you compute against what the reference computes.

    Exits with 1 where an answer is wrong.
    """
    report = run_check(Checkout(), ids, phase, seed, reference, quiet=as_json)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    return int(report.count(Verdict.WRONG) + report.count(Verdict.ERROR) > 0)


def run_check(
    checkout: Checkout, ids: tuple[str, ...], phase: int | None, seed: int | None,
    reference: Path | None = None, quiet: bool = False,
) -> CheckReport:
    """Check, show each verdict as it comes, remember them."""
    from rich.console import Console

    from course.show import show_report, show_result

    console = Console(quiet=quiet, highlight=False)
    exercises = checkout.chosen(ids, phase)
    judge = checkout.judge(seed, reference)
    start = time.perf_counter()
    results: list[ExerciseResult] = []
    digests: list[str] = []
    todo = 0
    for exercise in exercises:
        digests.append(digest_of(checkout.manifest, exercise))
        with console.status(f"{exercise.id} {exercise.title}"):
            result = judge.check(exercise)
        results.append(result)
        untouched = result.verdict == Verdict.TODO and not result.message
        todo += untouched
        if not untouched or len(exercises) == 1:
            show_result(result, console)
    checkout.state.remember(zip(results, digests, strict=True))
    report = CheckReport(tuple(results), judge.seed, seconds=time.perf_counter() - start)
    if len(exercises) > 1:
        show_report(report, console)
    elif results[0].verdict == Verdict.TODO and not results[0].message:
        console.print(f"    untouched so far: open {exercises[0].template} at "
                      f"{exercises[0].symbols[0]}")
    if len(exercises) == 1 and results[0].verdict == Verdict.WRONG:
        show_report(report, console)
    if checkout.state.note:
        console.print(f"[dim]{checkout.state.note}[/]")
    return report
