"""``course class``: many submissions, one page."""

import csv
import os
import secrets
from pathlib import Path

import click

from course.classes import Graded, grade_here, grade_on_ray, plan


@click.command("class")
@click.argument("submissions", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--workers", type=click.IntRange(min=1), help="side by side; default: processors")
@click.option("--ray", "address", metavar="ADDRESS",
              help="run on a Ray cluster (auto, ray://host:10001, or local)")
@click.option("--seed", type=click.IntRange(min=0), help="the same inputs for everybody; default: "
                                                         "those of the last run into this folder")
@click.option("--reference", type=click.Path(path_type=Path, exists=True))
def command(
    submissions: tuple[Path, ...], out: Path, workers: int | None, address: str | None,
    seed: int | None, reference: Path | None,
) -> int:
    """Grade SUBMISSIONS and write OUT/index.html, OUT/class.csv and a report for each.

    What was graded already is not graded again: a run that was killed goes on.
    """
    from course.formats.class_page import write_class_page
    from zoo.terminal import progress_bar

    out.mkdir(parents=True, exist_ok=True)
    work = plan(submissions, out, _seed(out, seed), reference)
    runs = grade_on_ray(work, address) if address else grade_here(work, workers or
                                                                  len(os.sched_getaffinity(0)))
    graded: list[Graded] = []
    with progress_bar("submissions") as bar:
        task = bar.add_task("grading", total=len(work))
        for one in runs:
            graded.append(one)
            bar.update(task, completed=len(graded))
            write_class_page(graded, out / "index.html")
    _write_table(graded, out / "class.csv")
    failed = [one for one in graded if one.report is None]
    for one in failed:
        click.echo(f"{one.name}: {one.error}", err=True)
    click.echo(f"{len(graded) - len(failed)} of {len(graded)} graded: {out / 'index.html'}")
    return 0


def _seed(out: Path, wanted: int | None) -> int:
    """The seed that was asked for, or the one of the last run into this folder."""
    path = out / "seed"
    if wanted is None and path.exists() and path.read_text().strip().isdigit():
        return int(path.read_text())
    seed = secrets.randbelow(1 << 31) if wanted is None else wanted
    path.write_text(f"{seed}\n")
    return seed


def _write_table(graded: list[Graded], path: Path) -> None:
    """One row a submission: name, score, verdicts."""
    ids = next(([e["id"] for e in one.report["exercises"]] for one in graded if one.report), [])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "score", *ids, "error"])
        for one in sorted(graded, key=lambda g: g.name):
            report = one.report or {"score": "", "exercises": [{"verdict": ""}] * len(ids)}
            verdicts, score = [e["verdict"] for e in report["exercises"]], report["score"]
            writer.writerow([_harmless(one.name), score, *verdicts, _harmless(one.error)])


def _harmless(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
