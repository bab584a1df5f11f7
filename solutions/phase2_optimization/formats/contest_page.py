"""The outcome of a contest for a terminal, as a page with a plot, and as JSON."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solutions.phase2_optimization.formats.contest import Contest, Missing, Row
from solutions.phase2_optimization.formats.rounds import Latency
from zoo.errors import InferenceError, MissingExtraError

if TYPE_CHECKING:
    from rich.table import Table

TEMPLATE = Path(__file__).with_name("contest.html.j2")


def three_digits(value: float) -> str:
    """Three significant digits, never as a power of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    digits = math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{min(6, 2 - digits)}f}"


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds."""
    return three_digits(seconds * 1e3)


def megabytes(count: int) -> str:
    """Megabytes, small ones with a digit more."""
    value = count / 1e6
    return f"{value:,.1f}" if value >= 1 else f"{value:.3f}"


def error_text(error: float | None) -> str:
    """A relative error in two digits, in percent where there is at least a tenth of one."""
    if error is None or error == 0:
        return "–" if error is None else "0"
    if not 1e-3 <= error < 100:
        return f"{error:.1e}"
    return f"{error:.2g}" if error >= 1 else f"{100 * error:.2g}%"


def table(found: Contest) -> "Table":
    """The contest for a terminal."""
    from rich.table import Table

    threads = f"{found.threads} thread{'' if found.threads == 1 else 's'}"
    shown = Table(title=f"{found.model}, {threads}", box=None, header_style="bold",
                  title_justify="left")
    shown.add_column("format", no_wrap=True)
    for size in found.sizes:
        for title in (f"batch {size}: ms", "(quartiles)", "speed-up"):
            shown.add_column(title, justify="right", no_wrap=True)
    for title in ("error", "typical", "compile s", "MB"):
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("", overflow="fold")
    for row in found.rows:
        cells = [row.name]
        for number in range(len(found.sizes)):
            cells += _latency_cells(row, number)
        cells += [error_text(row.error), error_text(row.typical), f"{row.compile_seconds:.1f}",
                  megabytes(row.size_bytes)]
        shown.add_row(*cells, row.detail, style="red" if row.is_off else "")
    return shown


def _latency_cells(row: Row, number: int) -> list[str]:
    if not row.latencies:
        return ["–", "", ""]
    one = row.latencies[number]
    return [milliseconds(one.p50), f"({milliseconds(one.low)}..{milliseconds(one.high)})",
            f"{three_digits(one.speedup)} ({three_digits(one.speedup_low)}.."
            f"{three_digits(one.speedup_high)})"]


def latency_plot(found: Contest) -> str:
    """Milliseconds per input as points on a logarithmic axis, one colour per batch size, with the
    quartiles as lines; the fastest at the first batch size on top."""
    from solutions.phase1_basics import profile_plots as plots

    rows = sorted((row for row in found.rows if row.latencies),
                  key=lambda row: row.latencies[0].p50)
    count = len(found.sizes)
    figure, axes = plots.axes((9.6, 1.0 + len(rows) * (0.12 + 0.13 * count)), "x")
    colours = (plots.ACCENT, plots.MUTED, plots.SOFT)
    for number, size in enumerate(found.sizes):
        shift = 0.64 * ((number + 0.5) / count - 0.5)
        for place, row in enumerate(rows):
            one, colour = row.latencies[number], colours[number % len(colours)]
            label = f"batch {size}" if place == 0 else None
            _point(axes, place + shift, one, colour, label)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    shown = "125" if high > 12 * low else "123456789"  # the digits that a label begins with
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}" if f"{value:e}"[0] in shown else "")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(plots.INK if not row.is_off else plots.WARN)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.08)
    axes.set_xlabel("milliseconds per input (log), median; lines: quartiles of the rounds")
    if count > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=count, frameon=False,
                    labelcolor=plots.INK)
    return plots.svg(figure)


def _point(axes: Any, place: float, one: Latency, colour: str, label: str | None) -> None:
    from solutions.phase1_basics import profile_plots as plots

    low, middle, high = (each * 1e3 / one.batch for each in (one.low, one.p50, one.high))
    axes.plot([low, high], [place, place], color=colour, linewidth=1.6, alpha=0.6,
              solid_capstyle="round")
    axes.plot([middle], [place], "o", color=colour, markersize=5.5, label=label,
              markeredgewidth=0)
    axes.annotate(three_digits(middle), (max(high, middle), place), xytext=(6, 0), va="center",
                  textcoords="offset points", fontsize=7.5, color=plots.MUTED)


def write_page(found: Contest, folder: Path, about: dict[str, Any]) -> Path:
    """Write ``formats.html`` and ``formats.json`` into a folder; the page's path.

    Raises MissingExtraError without plotting, InferenceError where nothing can be written.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "demo") from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"ms": milliseconds, "three": three_digits, "mb": megabytes,
                            "error": error_text}
    text = environment.from_string(TEMPLATE.read_text("utf-8")).render(
        found=found, plot=latency_plot(found), about=about, tiles=tiles(found),
        absent=by_reason(found.missing))
    record = json.dumps(about | finite(asdict(found)), indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("formats.html", text), ("formats.json", record)):
            part = folder / f".{name}.{os.getpid()}"
            part.write_text(content, "utf-8")
            part.replace(folder / name)
    except OSError as error:
        raise InferenceError(f"{folder} cannot be written: {error.strerror}") from error
    return folder / "formats.html"


def finite(value: Any) -> Any:
    """The same with null where a number is not finite: JSON knows no infinity."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tiles(found: Contest) -> list[tuple[str, str, str]]:
    """The fastest faithful format of each batch size: milliseconds, name, speed-up."""
    good = [row for row in found.rows if row.latencies and not row.is_off]
    shown = []
    for number, size in enumerate(found.sizes):
        if good:
            best = min(good, key=lambda row: row.latencies[number].p50)
            one = best.latencies[number]
            shown.append((f"{milliseconds(one.p50)} ms", f"batch {size}: {best.name}",
                          f"{three_digits(one.speedup)} × {found.reference}"))
    return shown


def by_reason(missing: Sequence[Missing]) -> dict[str, list[str]]:
    """The names of those that are absent for the same reason, in order."""
    found: dict[str, list[str]] = {}
    for each in missing:
        found.setdefault(each.reason, []).append(each.name)
    return found
