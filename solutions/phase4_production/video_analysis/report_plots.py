"""The plots of the report: inline SVG in the page's own colours and letters, light or dark.

Matplotlib knows no style sheet, so the plots are drawn in placeholder colours that become the
page's CSS variables.
"""

import io
import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.annotation import colour_of
from solutions.phase4_production.video_analysis.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
INK, MUTED, LINE, ACCENT, SOFT, WARN = (
    "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112",
)
VARIABLES = dict(zip((INK, MUTED, LINE, ACCENT, SOFT, WARN),
                     ("ink", "muted", "line", "accent", "soft", "warn"), strict=True))
IN_LATENCY = ("preprocess", "detect", "postprocess", "track", "classify")
STAGES = ("decode", *IN_LATENCY, "draw", "encode")
WIDE, HALF = (9.6, 2.6), (4.65, 2.9)  # inches
COLUMNS = 800  # points along a plot's x axis at most
STRONG = 0.5  # score
CLASSES_SHOWN = 6

STYLE: dict[Any, Any] = {
    "font.size": 9, "font.family": "DejaVu Sans", "axes.edgecolor": LINE, "text.color": INK,
    "axes.labelcolor": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.spines.left": False, "axes.axisbelow": True, "xtick.color": MUTED,
    "ytick.color": MUTED, "ytick.major.size": 0, "xtick.major.size": 3, "grid.color": LINE,
    "grid.linewidth": 0.8, "legend.frameon": False, "svg.fonttype": "none",
    "svg.hashsalt": "report",
}


def axes(size: tuple[float, float], grid: Literal["x", "y"] = "y") -> "tuple[Figure, Axes]":
    """A figure of that size in inches with one pair of axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=size, layout="constrained")
    made = figure.add_subplot()
    made.grid(axis=grid)
    return figure, made


def svg(figure: "Figure") -> str:
    """The figure as an SVG element for a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib|xtick|ytick)[^"]*"', "", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r' width="[^"]*pt" height="[^"]*pt"|height="[^"]*pt" ', " ", text, count=1)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text


def binned(values: Floats, reduce: str) -> Floats:
    """At most COLUMNS values along the last axis: the ``max`` or ``mean`` of neighbours."""
    step = -(-values.shape[-1] // COLUMNS)
    if step <= 1:
        return values
    starts = np.arange(0, values.shape[-1], step)
    if reduce == "max":
        return np.asarray(np.maximum.reduceat(values, starts, axis=-1))
    sizes = np.diff(np.append(starts, values.shape[-1]))
    return np.asarray(np.add.reduceat(values, starts, axis=-1) / sizes)


def latency_timeline(timeline: Timeline, latency: Floats, budget: float) -> str:
    """Latency of each frame over the video's time; ``budget`` is the time between frames, ms."""
    figure, plot = axes(WIDE)
    if len(latency):
        x, y = binned(timeline.times, "mean"), binned(timeline.latency, "max")
        plot.fill_between(x, y, color=ACCENT, alpha=0.14, linewidth=0)
        plot.plot(x, y, color=ACCENT, linewidth=0.9)
        marks = [(float(np.percentile(latency, p)), f"p{p}") for p in (50, 99)]
        if budget < 3 * latency.max():
            marks.append((budget, "next frame"))
        values = {name: value for value, name in marks}
        for level, name in _spread(marks, latency.max() * 0.09):
            value = values[name]
            colour = WARN if name == "next frame" else INK
            plot.axhline(value, color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
            plot.annotate(f"{name}  {value:.1f} ms", (1.0, level), color=colour, va="center",
                          xycoords=("axes fraction", "data"), xytext=(6, 0),
                          textcoords="offset points")
    plot.set(xlabel="time in the video, s", ylabel="latency, ms")
    plot.set_ylim(bottom=0)
    plot.margins(x=0)
    return svg(figure)


def _spread(marks: Sequence[tuple[float, str]], gap: float) -> list[tuple[float, str]]:
    """Heights for labels, moved up where they would lie on each other."""
    placed: list[tuple[float, str]] = []
    for level, name in sorted(marks):
        low = placed[-1][0] + gap if placed else level
        placed.append((max(level, low), name))
    return placed


def latency_distribution(latency_ms: Floats) -> str:
    """Share of frames that were done within a latency."""
    figure, plot = axes(HALF)
    latency = np.sort(np.asarray(latency_ms, dtype=np.float64))
    if len(latency):
        share = np.arange(1, len(latency) + 1) / len(latency) * 100
        step = max(1, len(latency) // COLUMNS)
        plot.plot(latency[::step], share[::step], color=ACCENT, linewidth=1.6)
        plot.fill_between(latency[::step], share[::step], color=ACCENT, alpha=0.14, linewidth=0)
        for percent, drop in ((50, 0), (95, -8), (99, 7)):
            level = float(np.percentile(latency, percent))
            plot.plot([level], [percent], "o", color=ACCENT, markersize=4.5)
            plot.annotate(f"p{percent}  {level:.1f} ms", (level, percent), xytext=(8, drop),
                          textcoords="offset points", va="center")
        top = float(np.percentile(latency, 99.5))
        plot.set_xlim(0, max(top, float(np.percentile(latency, 99))) * 1.3)
    plot.set(xlabel="latency, ms", ylabel="frames done, %")
    plot.set_ylim(0, 108)
    return svg(figure)


def stage_breakdown(stages_ms: Mapping[str, float]) -> str:
    """Mean time of each stage."""
    names = [name for name in STAGES if name in stages_ms]
    times = [stages_ms[name] for name in names]
    figure, plot = axes(HALF, "x")
    colours = [ACCENT if name in IN_LATENCY else SOFT for name in names]
    bars = plot.barh(names, times, color=colours, height=0.62)
    plot.bar_label(bars, [f"{t:.2f}" for t in times], padding=4)
    plot.invert_yaxis()
    plot.set_xlabel("mean time per frame, ms")
    plot.margins(x=0.16)
    return svg(figure)


def objects_over_time(timeline: Timeline, labels: Sequence[str]) -> str:
    """Tracked objects by class, stacked, and the strong detections as a line."""
    figure, plot = axes(HALF)
    if len(timeline):
        tracked = timeline.tracked(len(labels))
        x = binned(timeline.times, "mean")
        shown, rest = _most_seen(tracked)
        stack = [*(tracked[i] for i in shown), *([tracked[rest].sum(axis=0)] if rest else [])]
        names = [*(labels[i] for i in shown), *(["others"] if rest else [])]
        colours: list[str] = [*(hex_colour(i) for i in shown), *([SOFT] if rest else [])]
        if stack:
            plot.stackplot(x, binned(np.array(stack), "mean"), colors=colours, labels=names,
                           linewidth=0)
        plot.plot(x, binned(timeline.strong, "mean"), color=INK, linewidth=0.7, alpha=0.8,
                  label="detections")
        figure.legend(loc="outside upper center", ncols=4, fontsize=8, handlelength=1.1,
                      columnspacing=1.2)
    plot.set(xlabel="time in the video, s", ylabel="objects")
    plot.set_ylim(bottom=0)
    plot.margins(x=0)
    plot.locator_params(axis="y", integer=True)
    return svg(figure)


def _most_seen(tracked: Floats) -> tuple[list[int], list[int]]:
    """Classes with a colour of their own, and the others that occur."""
    counts = tracked.sum(axis=1)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] > 0]
    return sorted(order[:CLASSES_SHOWN]), order[CLASSES_SHOWN:]


def hex_colour(label: int) -> str:
    """The colour of a class as the page writes it."""
    blue, green, red = colour_of(label)
    return f"#{red:02x}{green:02x}{blue:02x}"


def precision_by_class(by_class: Mapping[str, Any]) -> str:
    """Average precision at IoU 0.5 of each class that occurs."""
    figure, plot = axes(HALF, "x")
    known = [(k, name, ap) for k, (name, ap) in enumerate(by_class.items()) if not np.isnan(ap)]
    bars = plot.barh([name for _, name, _ in known], [100 * ap for *_, ap in known],
                     color=[hex_colour(k) for k, *_ in known], height=0.62)
    plot.bar_label(bars, [f"{100 * ap:.1f}" for *_, ap in known], padding=4)
    plot.invert_yaxis()
    plot.set_xlim(0, 112)
    plot.set_xticks(range(0, 101, 20))
    plot.set_xlabel("average precision at IoU 0.5, %")
    return svg(figure)
