"""``course grade``: a submission that is not trusted, exercise by exercise."""

from pathlib import Path

import click

from course.checkout import Checkout
from course.formats import NAMES, Writer, writer
from course.verdict import CheckReport, ExerciseResult, Verdict
from zoo.errors import InferenceError

GRADER_FAILED = 3  # exit status


@click.command("grade")
@click.argument("submission", type=click.Path(path_type=Path))
@click.option("--format", "kinds", type=click.Choice(NAMES), multiple=True, default=("markdown",),
              show_default=True, help="may be given several times, each with an --out")
@click.option("--out", "outs", type=click.Path(path_type=Path, dir_okay=False, writable=True),
              multiple=True, help="default: standard output")
@click.option("--seed", type=click.IntRange(min=0), help="the inputs of a former grading again")
@click.option("--min-score", type=float, help="exit with 1 where the score is lower")
@click.option("--reference", type=click.Path(path_type=Path, exists=True),
              help="folder or zip archive of the reference, where this copy has none")
def command(
    submission: Path, kinds: tuple[str, ...], outs: tuple[Path, ...], seed: int | None,
    min_score: float | None, reference: Path | None,
) -> int:
    """Grade a checkout, a folder of templates or a zip archive, isolated.

    Exits with 0 where the grading itself worked, whatever the score, and with 3 where the grader
    failed on an exercise.
    """
    from rich.console import Console

    from course.grading import grade
    from course.show import MARKS

    _check_outs(kinds, outs)
    writers = [writer(kind) for kind in kinds]  # a package that is missing: before grading, too
    checkout = Checkout()
    console = Console(stderr=True, highlight=False)

    def say(result: ExerciseResult) -> None:
        mark, colour = MARKS[str(result.verdict)]
        console.print(f"[{colour}]{mark}[/] {result.id} {result.title}  [{colour}]"
                      f"{result.verdict}[/]  [dim]{result.reason}[/]")

    report = grade(submission, checkout.manifest, checkout.reference(reference), seed, say)
    _write(report, writers, outs)
    if report.count(Verdict.ERROR):
        click.echo(f"error: the grader itself failed on {report.count(Verdict.ERROR)} exercises",
                   err=True)
        return GRADER_FAILED
    return int(min_score is not None and report.score < min_score)


def _check_outs(kinds: tuple[str, ...], outs: tuple[Path, ...]) -> None:
    """Raise InferenceError for files that could not be written: before grading, not after."""
    if len(outs) != len(kinds) and (outs or len(kinds) > 1):
        raise InferenceError(f"{len(kinds)} --format and {len(outs)} --out: each format needs its "
                             "own file")
    for out in outs:
        if not out.parent.is_dir():
            raise InferenceError(f"--out {out}: there is no folder {out.parent}")


def _write(report: CheckReport, writers: list[Writer], outs: tuple[Path, ...]) -> None:
    if not outs:
        click.echo(writers[0](report), nl=False)
    for write, out in zip(writers, outs, strict=False):
        try:
            out.write_text(write(report), "utf-8")
        except OSError as error:
            raise InferenceError(f"--out {out}: {error.strerror}") from error
    if outs:
        names = ", ".join(map(str, outs))
        click.echo(f"{report.score:g} of {report.max_score:g} points: {names}")
