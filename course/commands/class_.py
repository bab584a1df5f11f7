"""``course class``: many submissions, one page."""

import csv
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import click

from course.classes import Graded, grade_here, grade_on_ray, plan, processors
from course.commands.grade import GRADER_FAILED
from course.manifest import Manifest
from zoo.errors import InferenceError

EVERY = 2.0  # seconds between two looks of the page while it grows


@click.command("class")
@click.argument("submissions", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--workers", type=click.IntRange(min=1), help="side by side; default: processors")
@click.option("--ray", "address", metavar="ADDRESS",
              help="run on a Ray cluster (auto, ray://host:10001, or local)")
@click.option("--seed", type=click.IntRange(min=0), help="the same inputs for everybody; default: "
                                                         "those of the last run into this folder")
@click.option("--reference", type=click.Path(path_type=Path, exists=True),
              help="folder or zip archive of the reference, where this copy has none")
def command(
    submissions: tuple[Path, ...], out: Path, workers: int | None, address: str | None,
    seed: int | None, reference: Path | None,
) -> int:
    """Grade SUBMISSIONS and write OUT/index.html, OUT/class.csv and a report for each.

    What was graded already is not graded again: a run that was killed goes on. Another grader
    (its code, checks or solutions) grades everything again. Exits with 3 where the grader itself
    failed on a submission; the same command tries those again.
    """
    from course.checkout import Checkout
    from course.formats.class_page import write_class_page
    from zoo.terminal import progress_bar

    try:
        out.mkdir(parents=True, exist_ok=True)
        work = plan(submissions, out, _seed(out, seed), reference)
    except OSError as error:
        raise InferenceError(f"{error.filename}: {error.strerror}") from error
    manifest = Checkout().manifest
    runs = grade_on_ray(work, address) if address else grade_here(work, workers or processors())
    graded: list[Graded] = []
    due = 0.0
    with progress_bar("submissions") as bar:
        task = bar.add_task("grading", total=len(work))
        for one in runs:
            graded.append(one)
            bar.update(task, completed=len(graded))
            if time.monotonic() >= due or len(graded) == len(work):
                write_class_page(graded, manifest, out / "index.html")
                due = time.monotonic() + EVERY
    _write_table(graded, manifest, out / "class.csv")
    return _said(graded, out / "index.html")


def _said(graded: Sequence[Graded], page: Path) -> int:
    for one in graded:
        if one.report is None:
            click.echo(f"{one.name}: {one.error}", err=True)
    count = sum(one.report is not None for one in graded)
    click.echo(f"{count} of {len(graded)} graded: {page}")
    faulty = sorted(one.name for one in graded if one.graders_fault)
    if faulty:
        click.echo(f"error: the grader itself failed on {', '.join(faulty)}: the same command "
                   "tries again", err=True)
        return GRADER_FAILED
    return 0


def _seed(out: Path, wanted: int | None) -> int:
    """The seed that was asked for, or the one of the last run into this folder."""
    path = out / "seed"
    if wanted is None and path.exists() and path.read_text().strip().isdigit():
        return int(path.read_text())
    seed = secrets.randbelow(1 << 31) if wanted is None else wanted
    path.write_text(f"{seed}\n")
    return seed


def _write_table(graded: Sequence[Graded], manifest: Manifest, path: Path) -> None:
    """One row a submission: name, score, verdicts."""
    ids = [exercise.id for exercise in manifest.exercises]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "score", *ids, "error"])
        for one in sorted(graded, key=lambda g: g.name):
            report = one.report or {"score": "", "exercises": []}
            verdicts = {result["id"]: result["verdict"] for result in report["exercises"]}
            writer.writerow([_harmless(one.name), report["score"],
                             *(verdicts.get(name, "") for name in ids), _harmless(one.error)])


def _harmless(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
