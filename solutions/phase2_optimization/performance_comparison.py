"""Accuracy, latency, size and energy of every variant of a model, on one page.

    python -m solutions.phase2_optimization.performance_comparison --model zoo:street-middle

The variants come from ``variants``, are timed in turns by ``measured_variants``, and end as a
table, a page with a Pareto plot (``comparison_page``) and ``comparison.json``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository's root is two folders up
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import click

from solutions.phase2_optimization.comparison_options import ROUNDS, comparison_options
from solutions.phase2_optimization.comparison_page import make_folder, table, write_page
from solutions.phase2_optimization.measured_variants import Comparison, compare
from solutions.phase2_optimization.tasks import find_task
from solutions.phase2_optimization.variants import NAMES, VariantMaker
from zoo.errors import InferenceError
from zoo.terminal import progress_bar, run_command


def run(
    model: str, data: Path | None, output: Path, rounds: int = ROUNDS,
    names: Sequence[str] | None = None, notes: Sequence[str] = (), streets: int | None = None,
) -> Comparison:
    """Compare, print and write; what the commands do.

    ``names``: the variants (default: all), ``notes``: what the page shall say, ``streets``: how
    many of them judge a street detector.
    """
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 170)
    for note in notes:
        console.print(f"note: {note}", style="dim", markup=False)
    make_folder(output)
    with progress_bar("variants") as bar:
        part = bar.add_task(f"load {model}", total=None)
        task = find_task(model, data, streets)
        found = compare(
            task, VariantMaker(task), names, rounds,
            lambda what, done, total: bar.update(part, description=what, completed=done,
                                                 total=total),
            notes,
        )
    page = write_page(found, output)
    console.print(table(found))
    for row in found.rows:
        for line in row.kept_float:
            console.print(f"{row.name} keeps {line}", style="dim", markup=False)
    for missing in found.absent:
        console.print(f"absent: {missing.name}: {missing.reason}", style="dim", markup=False)
    said = [f"energy: {found.no_energy}"] if found.no_energy else []
    for note in (*found.notes[len(notes):], *said):
        console.print(f"note: {note}", style="dim", markup=False)
    console.print(f"page: {page}", markup=False, soft_wrap=True)
    return found


def chosen(variants: Sequence[str]) -> list[str] | None:
    """The variants asked for, ``fp32`` first; None for all. Raises InferenceError for others."""
    unknown = [name for name in variants if name not in NAMES]
    if unknown:
        raise InferenceError(f"no variant {unknown[0]!r}: there are {', '.join(NAMES)}")
    return ["fp32", *(name for name in NAMES[1:] if name in variants)] if variants else None


@click.command()
@comparison_options
def main_command(
    model: str, data: Path | None, output: Path, rounds: int, variants: tuple[str, ...]
) -> None:
    """Compare every precision of a model: accuracy, latency, size, energy."""
    run(model, data, output, rounds, chosen(variants))


def main() -> int:
    """The command; its exit code."""
    return run_command(main_command)


if __name__ == "__main__":
    sys.exit(main())
