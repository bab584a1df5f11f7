"""Accuracy over latency as a picture: the variants that none beats in colour, the rest grey."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from solutions.phase2_optimization.measured_variants import Comparison, Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (9.6, 4.2)  # inches
LETTER, LINE = 0.0085, 0.045  # of a name, as shares of the axes
MARGIN = 0.06
MANY, FAR = 8, 0.6  # with so many points, a gap of that share of the axis is cut


class View(NamedTuple):
    """The part of an axis that is shown; what lies outside is drawn at the edge."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Where a value lies, 0..1; outside of that it is at the edge."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def view(values: Sequence[float]) -> View:
    """The range of an axis without the few values that lie so far off that they would fill it."""
    kept = sorted(values)
    span = kept[-1] - kept[0]
    if len(kept) >= MANY:
        gap, place = max((b - a, i) for i, (a, b) in enumerate(pairwise(kept)))
        few = len(kept) // 4
        if gap > FAR * span and place + 1 <= few:
            kept = kept[place + 1 :]
        elif gap > FAR * span and len(kept) - place - 1 <= few:
            kept = kept[: place + 1]
    margin = max(MARGIN * (kept[-1] - kept[0]), 1e-3 * abs(kept[-1]), 1e-9)
    return View(kept[0] - margin, kept[-1] + margin)


def pareto_plot(found: Comparison) -> str:
    """Metric over median latency as SVG."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    from solutions.phase1_basics import profile_plots as plots

    figure, axes = plots.axes(SIZE, "both")
    across = view([math.log(row.p50) for row in found.rows])
    upward = view([row.metric for row in found.rows])
    axes.set_xscale("log")
    axes.set_xlim(math.exp(across.low), math.exp(across.high))
    axes.set_ylim(*upward)
    front = sorted((row for row in found.rows if row.best), key=lambda row: row.p50)
    axes.plot([row.p50 for row in front], [row.metric for row in front], color=plots.ACCENT,
              linewidth=1.2, drawstyle="steps-post", alpha=0.6)
    largest = max(row.bytes for row in found.rows)
    for row in found.rows:
        x, y = across.share(math.log(row.p50)), upward.share(row.metric)
        axes.scatter(x, y, s=30 + 170 * math.sqrt(row.bytes / largest), alpha=0.75, linewidths=0,
                     color=plots.ACCENT if row.best else plots.SOFT, clip_on=False,
                     transform=axes.transAxes)
    _name_points(axes, found.rows, across, upward)
    axes.set_xlabel("median latency, ms (log); size of a point: size of the file")
    axes.set_ylabel(found.metric_name.split(",")[0].split(" on ")[0])
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return plots.svg(figure)


def _name_points(
    axes: "Axes", rows: Sequence[Measured], across: View, upward: View
) -> None:
    """Names beside the points: the front's and FP32's first, and only where there is room."""
    from solutions.phase1_basics import profile_plots as plots

    taken: list[tuple[float, float, float]] = []  # left, right, middle
    for row in sorted(rows, key=lambda one: (not one.best, one.name != "fp32", one.p50)):
        x, y = across.share(math.log(row.p50)), upward.share(row.metric)
        name = row.name + _beyond(row, across, upward)
        width = LETTER * len(name)
        for left, up in ((x + 0.012, 0.0), (x - 0.012 - width, 0.0), (x + 0.012, LINE),
                         (x + 0.012, -LINE)):
            middle = y + up
            free = left >= 0 and left + width <= 1 and not any(
                left < r and l < left + width and abs(m - middle) < LINE for l, r, m in taken)
            if free:
                taken.append((left, left + width, middle))
                axes.text(left, middle, name, fontsize=8, transform=axes.transAxes, va="center",
                          color=plots.INK if row.best else plots.MUTED)
                break


def _beyond(row: Measured, across: View, upward: View) -> str:
    """The figures of a point that lies outside of the axes."""
    outside = []
    if not across.low <= math.log(row.p50) <= across.high:
        outside.append(f"{row.p50:.3g} ms")
    if not upward.low <= row.metric <= upward.high:
        outside.append(f"{row.metric:.3g}")
    return f" ({', '.join(outside)})" if outside else ""
