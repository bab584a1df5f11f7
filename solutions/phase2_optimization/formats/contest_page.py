"""The outcome of a contest for a terminal, as a page with a plot, and as JSON."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from solutions.phase2_optimization.formats.contest import Contest, Missing, Row
from zoo.errors import InferenceError, MissingExtraError

if TYPE_CHECKING:
    from rich.table import Table

TEMPLATE = Path(__file__).with_name("contest.html.j2")


def milliseconds(seconds: float) -> str:
    """Three significant digits."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.{max(0, 2 - _digits(value))}f}"


def _digits(value: float) -> int:
    return max(-1, math.floor(math.log10(value))) if value > 0 else 0


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

    shown = Table(title=f"{found.model}, {found.threads} threads", box=None, header_style="bold",
                  title_justify="left")
    shown.add_column("format", no_wrap=True)
    for size in found.sizes:
        for title in (f"batch {size}: ms", "(quartiles)", "speed-up"):
            shown.add_column(title, justify="right", no_wrap=True)
    for title in ("error", "compile s", "MB"):
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("", overflow="fold")
    for row in found.rows:
        cells = [row.name]
        for number in range(len(found.sizes)):
            cells += _latency_cells(row, number)
        cells += [error_text(row.error), f"{row.compile_seconds:.1f}", megabytes(row.size_bytes)]
        shown.add_row(*cells, row.detail, style="red" if row.is_off else "")
    return shown


def _latency_cells(row: Row, number: int) -> list[str]:
    if not row.latencies:
        return ["–", "", ""]
    one = row.latencies[number]
    return [milliseconds(one.p50), f"({milliseconds(one.low)}..{milliseconds(one.high)})",
            f"{one.speedup:.2f} ({one.speedup_low:.2f}..{one.speedup_high:.2f})"]


def latency_plot(found: Contest) -> str:
    """Milliseconds per input of each format as bars, one colour per batch size, quartiles on top.

    Fastest first, by the first batch size.
    """
    from solutions.phase1_basics import profile_plots as plots

    rows = sorted((row for row in found.rows if row.latencies),
                  key=lambda row: row.latencies[0].p50 / row.latencies[0].batch)
    count = len(found.sizes)
    figure, axes = plots.axes((9.6, 0.7 + len(rows) * (0.17 + 0.13 * count)), "x")
    colours = (plots.ACCENT, plots.SOFT, plots.MUTED)
    for number, size in enumerate(found.sizes):
        places, values, spread = [], [], ([], [])  # type: ignore[var-annotated]
        for place, row in enumerate(rows):
            one = row.latencies[number]
            places.append(place + 0.8 * ((number + 0.5) / count - 0.5))
            values.append(one.p50 * 1e3 / size)
            spread[0].append(max(0.0, one.p50 - one.low) * 1e3 / size)
            spread[1].append(max(0.0, one.high - one.p50) * 1e3 / size)
        axes.barh(places, values, 0.8 / count, color=colours[number % 3], xerr=spread,
                  error_kw={"ecolor": plots.INK, "elinewidth": 0.8, "capsize": 1.5},
                  label=f"batch {size}")
        _write_values(axes, places, [v + s for v, s in zip(values, spread[1], strict=True)],
                      values)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(plots.INK if not row.is_off else plots.WARN)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.margins(x=0.09)
    axes.set_xlabel("milliseconds per input, median; lines: quartiles of the rounds")
    if count > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=count, frameon=False)
    return plots.svg(figure)


def _write_values(axes: Any, places: list[float], ends: list[float], values: list[float]) -> None:
    from solutions.phase1_basics import profile_plots as plots

    for place, end, value in zip(places, ends, values, strict=True):
        axes.annotate(milliseconds(value / 1e3), (end, place), xytext=(4, 0), va="center",
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
    environment.filters |= {"ms": milliseconds, "mb": megabytes, "error": error_text}
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
                          f"{one.speedup:.1f} × {found.reference}"))
    return shown


def by_reason(missing: Sequence[Missing]) -> dict[str, list[str]]:
    """The names of those that are absent for the same reason, in order."""
    found: dict[str, list[str]] = {}
    for each in missing:
        found.setdefault(each.reason, []).append(each.name)
    return found
