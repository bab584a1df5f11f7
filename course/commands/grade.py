"""``course grade``: a submission that is not trusted, exercise by exercise."""

from pathlib import Path

import click

from course.checkout import Checkout
from course.formats import NAMES, writer
from course.verdict import ExerciseResult, Verdict
from zoo.errors import InferenceError


@click.command("grade")
@click.argument("submission", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(NAMES), default="markdown", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="default: standard output")
@click.option("--seed", type=click.IntRange(min=0), help="the inputs of a former grading again")
@click.option("--min-score", type=float, help="exit with 1 where the score is lower")
@click.option("--reference", type=click.Path(path_type=Path, exists=True),
              help="folder or zip archive of the reference, where this copy has none")
def command(
    submission: Path, kind: str, out: Path | None, seed: int | None, min_score: float | None,
    reference: Path | None,
) -> int:
    """Grade a checkout, a folder of templates or a zip archive, isolated.

    Exits with 0 where the grading itself worked, whatever the score, and with 3 where the grader
    failed on an exercise.
    """
    from rich.console import Console

    from course.grading import grade
    from course.show import MARKS

    checkout = Checkout()
    console = Console(stderr=True, highlight=False)

    def say(result: ExerciseResult) -> None:
        mark, colour = MARKS[str(result.verdict)]
        console.print(f"[{colour}]{mark}[/] {result.id} {result.title}  [{colour}]"
                      f"{result.verdict}[/]  [dim]{result.reason}[/]")

    if out is not None and not out.parent.is_dir():
        raise InferenceError(f"--out {out}: there is no folder {out.parent}")
    report = grade(submission, checkout.manifest, checkout.reference(reference), seed, say)
    text = writer(kind)(report)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, "utf-8")
        click.echo(f"{report.score:g} of {report.max_score:g} points: {out}")
    if report.count(Verdict.ERROR):
        click.echo(f"error: the grader itself failed on {report.count(Verdict.ERROR)} exercises",
                   err=True)
        return 3
    return int(min_score is not None and report.score < min_score)
