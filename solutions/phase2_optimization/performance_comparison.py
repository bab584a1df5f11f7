"""Accuracy, latency, size and energy of every variant of a model, on one page.

    python -m solutions.phase2_optimization.performance_comparison --model zoo:street-middle

Variants take turns, and speed-ups are taken within rounds, where both met the same neighbours. The
page shows the table and the Pareto plot: what is neither faster nor better than another variant is
grey. ``comparison.json`` holds the same figures.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a file: the repository's root is two folders up
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import click
import numpy as np

from solutions.phase1_basics.energy import cpu_energy
from solutions.phase2_optimization.evaluation_task import Task
from solutions.phase2_optimization.tasks import find_task
from solutions.phase2_optimization.variants import Absent, Variant, VariantMaker
from zoo.errors import InferenceError, MissingExtraError
from zoo.terminal import progress_bar, run_command

if TYPE_CHECKING:
    from rich.table import Table

ROUNDS, WARM_UP = 30, 3
ROUND_SECONDS = 0.02  # a variant's share of a round: so many calls as fit, at least one
ENERGY_SECONDS = 0.3
TEMPLATE = Path(__file__).with_name("comparison.html.j2")
Clock = Callable[[], float]


@dataclass(frozen=True)
class Measured:
    """One line of the comparison."""

    name: str
    metric: float
    kept: float  # the metric as a share of FP32's
    p50: float  # milliseconds
    p90: float
    p99: float
    speedup: float  # over FP32 in the same round: median
    speedup_low: float  # quartiles
    speedup_high: float
    bytes: int
    seconds: float  # that making it took
    joules: float | None  # of one inference
    detail: str
    best: bool = False  # no other variant is both faster and better


@dataclass(frozen=True)
class Comparison:
    """The page's content."""

    model: str
    metric_name: str
    rows: tuple[Measured, ...]
    absent: tuple[Absent, ...]
    notes: tuple[str, ...]


def latencies(
    variants: Sequence[Variant], task: Task, rounds: int = ROUNDS,
    clock: Clock = time.perf_counter,
) -> dict[str, list[list[float]]]:
    """Seconds of each call of each variant, round by round; the order turns every round."""
    feeds = task.example
    calls: dict[str, int] = {}
    for variant in variants:
        for _ in range(WARM_UP):
            start = clock()
            variant.run(feeds)
            last = clock() - start
        calls[variant.name] = max(1, min(50, int(ROUND_SECONDS / max(last, 1e-6))))
    found: dict[str, list[list[float]]] = {variant.name: [] for variant in variants}
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            times = []
            for _ in range(calls[variant.name]):
                start = clock()
                variant.run(feeds)
                times.append(clock() - start)
            found[variant.name].append(times)
    return found


def compare(
    task: Task, maker: VariantMaker, names: Sequence[str] | None = None, rounds: int = ROUNDS,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Comparison:
    """Make, score and time the variants of a task; the first one must be ``fp32``."""
    wanted = list(names or maker.names())
    variants: list[Variant] = []
    absent: list[Absent] = []
    scores: dict[str, float] = {}
    for number, name in enumerate(wanted):
        progress(name, number, len(wanted) + 1)
        made = maker.make(name)
        if isinstance(made, Absent):
            absent.append(made)
            continue
        variants.append(made)
        scores[name] = task.metric(made.run)
    progress("timing", len(wanted), len(wanted) + 1)
    seconds = latencies(variants, task, rounds)
    joules = {v.name: energy(v, task) for v in variants}
    rows = [_measured(v, scores, seconds, joules[v.name]) for v in variants]
    notes = [task.note] if task.note else []
    if all(found is None for found in joules.values()):
        notes.append("energy: " + cpu_energy(lambda: None).reason)
    return Comparison(task.name, task.metric_name, tuple(with_front(rows)), tuple(absent),
                      tuple(notes))


def energy(variant: Variant, task: Task) -> float | None:
    """Joules of one inference, everything on the processor included; None without a counter."""
    if cpu_energy(lambda: None).reason.startswith("no RAPL"):
        return None
    count = 0

    def many() -> None:
        nonlocal count
        end = time.perf_counter() + ENERGY_SECONDS
        while time.perf_counter() < end:
            variant.run(task.example)
            count += 1

    found = cpu_energy(many)
    return None if found.joules is None else found.joules / count


def _measured(
    variant: Variant, scores: dict[str, float], seconds: dict[str, list[list[float]]],
    joules: float | None,
) -> Measured:
    every = np.concatenate(seconds[variant.name]) * 1e3
    base = [float(np.median(times)) for times in seconds["fp32"]]
    own = [float(np.median(times)) for times in seconds[variant.name]]
    ratios = [b / o for b, o in zip(base, own, strict=True)]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    p50, p90, p99 = np.percentile(every, [50, 90, 99])
    metric, best = scores[variant.name], scores["fp32"]
    return Measured(
        variant.name, metric, metric / best if best else math.nan, float(p50), float(p90),
        float(p99), float(middle), float(low), float(high),
        len(variant.model.SerializeToString()), variant.seconds, joules, variant.detail,
    )


def with_front(rows: Sequence[Measured]) -> list[Measured]:
    """The rows, those marked than which none is both faster and better."""
    def beaten(row: Measured) -> bool:
        return any(
            other.p50 <= row.p50 and other.metric >= row.metric
            and (other.p50, other.metric) != (row.p50, row.metric) for other in rows
        )

    return [Measured(**(asdict(row) | {"best": not beaten(row)})) for row in rows]


def table(found: Comparison) -> "Table":
    """The comparison for a terminal."""
    from rich.table import Table

    shown = Table(title=f"{found.model}: {found.metric_name}", box=None, header_style="bold",
                  title_justify="left")
    for title in ("variant", "metric", "of FP32", "p50 ms", "p90", "p99", "speed-up", "kB", "mJ",
                  "made in", ""):
        left = title in ("variant", "")
        shown.add_column(title, justify="left" if left else "right", no_wrap=not left,
                         overflow="fold")
    for row in found.rows:
        joules = "–" if row.joules is None else f"{row.joules * 1e3:.2f}"
        shown.add_row(
            row.name, f"{row.metric:.4f}", f"{100 * row.kept:.1f}%", f"{row.p50:.3f}",
            f"{row.p90:.3f}", f"{row.p99:.3f}",
            f"{row.speedup:.2f} ({row.speedup_low:.2f}..{row.speedup_high:.2f})",
            f"{row.bytes / 1e3:,.0f}", joules, f"{row.seconds:.1f} s", row.detail,
            style="" if row.best else "dim",
        )
    return shown


def pareto_plot(found: Comparison) -> str:
    """Metric over median latency as SVG: the front in colour, the rest grey."""
    from solutions.phase1_basics import profile_plots as plots

    figure, axes = plots.axes((9.6, 4.2), "both")
    front = sorted((row for row in found.rows if row.best), key=lambda row: row.p50)
    axes.plot([row.p50 for row in front], [row.metric for row in front], color=plots.ACCENT,
              linewidth=1.2, drawstyle="steps-post", alpha=0.6)
    for row in found.rows:
        colour = plots.ACCENT if row.best else plots.SOFT
        axes.scatter(row.p50, row.metric, s=30 + 170 * math.sqrt(row.bytes / _largest(found)),
                     color=colour, alpha=0.75, linewidths=0)
    _name_points(axes, found)
    axes.set_xscale("log")
    axes.set_xlabel("median latency, ms (log); size of a point: size of the file")
    axes.set_ylabel(found.metric_name.split(",")[0])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
    return plots.svg(figure)


def _largest(found: Comparison) -> int:
    return max(row.bytes for row in found.rows)


def _name_points(axes: Any, found: Comparison) -> None:
    """Names beside the points, those that would lie on one another only once."""
    from solutions.phase1_basics import profile_plots as plots

    metrics = [row.metric for row in found.rows]
    step = max(max(metrics) - min(metrics), 1e-9) / 22
    taken: list[tuple[float, float]] = []
    for row in sorted(found.rows, key=lambda one: (not one.best, one.p50)):
        place = (math.log(row.p50), row.metric)
        if any(abs(place[0] - x) < 0.12 and abs(place[1] - y) < step for x, y in taken):
            continue
        taken.append(place)
        axes.annotate(row.name, (row.p50, row.metric), xytext=(9, -3), fontsize=8,
                      textcoords="offset points", color=plots.INK if row.best else plots.MUTED)


def write_page(found: Comparison, folder: Path) -> Path:
    """Write ``comparison.html`` and ``comparison.json`` into a folder; the page's path.

    Raises MissingExtraError without plotting, InferenceError where nothing can be written.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "demo") from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(TEMPLATE.read_text()).render(
        found=found, plot=pareto_plot(found))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("comparison.html", text),
                              ("comparison.json", json.dumps(asdict(found), indent=2) + "\n")):
            part = folder / f".{name}.{os.getpid()}"
            part.write_text(content)
            part.replace(folder / name)
    except OSError as error:
        raise InferenceError(f"{folder} cannot be written: {error.strerror}") from error
    return folder / "comparison.html"


def run(
    model: str, data: Path | None, output: Path, rounds: int, names: Sequence[str] | None = None,
    notes: Sequence[str] = (), streets: int | None = None,
) -> Comparison:
    """Compare, print and write; what the commands do."""
    from rich.console import Console

    with progress_bar("variants") as bar:
        part = bar.add_task(f"load {model}", total=None)
        task = find_task(model, data, streets)
        maker = VariantMaker(task)
        found = compare(
            task, maker, names, rounds,
            lambda what, done, total: bar.update(part, description=what, completed=done,
                                                 total=total),
        )
    console = Console(width=None if sys.stdout.isatty() else 170)
    console.print(table(found))
    for missing in found.absent:
        console.print(f"absent: {missing.name}: {missing.reason}", style="dim", markup=False)
    for note in (*notes, *found.notes):
        console.print(f"note: {note}", style="dim", markup=False)
    console.print(f"page: {write_page(found, output)}", markup=False, soft_wrap=True)
    return found


@click.command()
@click.option("--model", default="zoo:street-middle", show_default=True,
              help="a zoo, registry or torchvision name, or an ONNX file")
@click.option("--data", type=click.Path(path_type=Path),
              help="for an ONNX file: .npy, .npz or a folder of pictures")
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/quantization"),
              show_default=True)
@click.option("--rounds", type=click.IntRange(3, 10_000), default=ROUNDS, show_default=True)
@click.option("--variant", "variants", multiple=True, help="only these, beside fp32; repeatable")
def main_command(
    model: str, data: Path | None, output: Path, rounds: int, variants: tuple[str, ...]
) -> None:
    """Compare every precision of a model: accuracy, latency, size, energy."""
    run(model, data, output, rounds, chosen(variants))


def chosen(variants: Sequence[str]) -> list[str] | None:
    """The variants asked for, ``fp32`` first; None for all. Raises InferenceError for others."""
    from solutions.phase2_optimization.variants import NAMES

    unknown = [name for name in variants if name not in NAMES]
    if unknown:
        raise InferenceError(f"no variant {unknown[0]!r}: there are {', '.join(NAMES)}")
    return ["fp32", *(name for name in NAMES[1:] if name in variants)] if variants else None


def main() -> int:
    """The command; its exit code."""
    return run_command(main_command)


if __name__ == "__main__":
    sys.exit(main())
