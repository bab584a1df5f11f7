"""A comparison of variants to read: a table for the terminal, a page with the Pareto plot, JSON."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from solutions.phase2_optimization.measured_variants import Comparison
from solutions.phase2_optimization.pareto_plot import pareto_plot
from zoo.errors import InferenceError, MissingExtraError

if TYPE_CHECKING:
    from rich.table import Table

TEMPLATE = Path(__file__).with_name("comparison.html.j2")


def table(found: Comparison) -> "Table":
    """The comparison for a terminal."""
    from rich.table import Table

    shown = Table(title=f"{found.model}: {found.metric_name}", box=None, header_style="bold",
                  title_justify="left", caption="* no other variant is both faster and better",
                  caption_justify="left")
    energy = [] if found.no_energy else ["mJ"]
    for title in ("variant", "metric", "of FP32", "p50 ms", "p90", "p99", "speed-up", "kB", *energy,
                  "made in", ""):
        left = title in ("variant", "")
        shown.add_column(title, justify="left" if left else "right", no_wrap=not left,
                         overflow="fold")
    for row in found.rows:
        joules = "–" if row.joules is None else f"{row.joules * 1e3:.2f}"
        shown.add_row(
            row.name + (" *" if row.best else ""), f"{row.metric:.4f}",
            "–" if row.kept is None else f"{100 * row.kept:.1f}%", f"{row.p50:.3f}",
            f"{row.p90:.3f}", f"{row.p99:.3f}",
            f"{row.speedup:.2f} ({row.speedup_low:.2f}..{row.speedup_high:.2f})",
            f"{row.bytes / 1e3:,.0f}", *([joules] if energy else []),
            f"{row.seconds:.1f} s" if row.seconds else "–", row.detail,
            style="" if row.best else "dim",
        )
    return shown


def make_folder(folder: Path) -> None:
    """Make the page's folder, before the work is done. Raises InferenceError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InferenceError(f"{folder} cannot be written: {error.strerror}") from error


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
    figures = json.dumps(asdict(found), indent=2, allow_nan=False)
    make_folder(folder)
    try:
        for name, content in (("comparison.html", text), ("comparison.json", figures + "\n")):
            part = folder / f".{name}.{os.getpid()}"
            try:
                part.write_text(content)
                part.replace(folder / name)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise InferenceError(f"{folder} cannot be written: {error.strerror}") from error
    return folder / "comparison.html"
