"""``python -m benchmarks SUITE... [--quick] [--out DIR]`` and ``python -m benchmarks report``."""

import importlib
import json
import pkgutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import click

from benchmarks import suites
from benchmarks.fingerprint import commit, fingerprint
from benchmarks.page import figure, write_page
from benchmarks.suite import RECORDS, Context, SuiteResult, as_json
from zoo.errors import InferenceError, MissingExtraError
from zoo.terminal import run_command


def suite_names() -> list[str]:
    """Every module in ``benchmarks/suites``."""
    return sorted(module.name for module in pkgutil.iter_modules(suites.__path__))


def load_suite(name: str) -> ModuleType:
    """The suite's module. Raises InferenceError for an unknown one."""
    if name not in suite_names():
        raise InferenceError(f"no suite {name!r}: choose from {', '.join(suite_names())}")
    return importlib.import_module(f"benchmarks.suites.{name}")


def run_suite(name: str, quick: bool, folder: Path) -> SuiteResult:
    """Run one suite, write its JSON and plot, print its table and goals."""
    module = load_suite(name)
    about = (module.__doc__ or "").strip().splitlines()[0]
    click.echo(f"== {name}: {about}")
    start = time.perf_counter()
    result: SuiteResult = module.run(Context(name, quick, lambda line: click.echo(f"   {line}")))
    document = as_json(
        result,
        {
            "suite": name,
            "about": about,
            "quick": quick,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "seconds": round(time.perf_counter() - start, 1),
            "machine": fingerprint(),
        },
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    _plot(result, folder / f"{name}.png")
    _print(result)
    return result


def _plot(result: SuiteResult, path: Path) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing = plt.figure(figsize=(8.6, 3.6), layout="constrained")
    result.plot(drawing)
    drawing.savefig(path, dpi=130)
    plt.close(drawing)


def _print(result: SuiteResult) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    if result.rows:
        table = Table(box=None, header_style="bold")
        for column in result.rows[0]:
            table.add_column(column)
        for row in result.rows:
            table.add_row(*(figure(value) for value in row.values()))
        console.print(table)
    goals = Table(box=None, header_style="bold", title="goals", title_justify="left")
    for column in ("goal", "wanted", "measured", "", "note"):
        goals.add_column(column)
    for goal in result.goals:
        verdict = "[green]holds[/]" if goal.holds else "[red]missed[/]"
        goals.add_row(goal.name, goal.goal, figure(goal.measured), verdict, goal.note)
    console.print(goals)


@click.command()
@click.argument("names", nargs=-1, metavar="[SUITE... | report]")
@click.option("--quick", is_flag=True, help="a smaller fixed sample, under 3 minutes a suite")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("out/benchmarks"), show_default=True
)
@click.option("--record", is_flag=True, help="keep a full run's results in benchmarks/records")
def benchmarks(names: tuple[str, ...], quick: bool, out: Path, record: bool) -> int:
    """Measure the solutions against their peers. Without a suite: all of them."""
    if names == ("report",):
        click.echo(write_page(out))
        return 0
    for name in names:
        load_suite(name)
    if record and quick:
        raise InferenceError("--record keeps full runs: leave --quick out")
    missed = 0
    for name in names or suite_names():
        result = run_suite(name, quick, out)
        missed += sum(not goal.holds for goal in result.goals)
        if record:
            RECORDS.mkdir(exist_ok=True)
            (RECORDS / f"{name}.json").write_text((out / f"{name}.json").read_text())
    click.echo(f"{write_page(out)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(run_command(benchmarks))
