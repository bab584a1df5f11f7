"""The plots of a profile: inline SVG in the page's own colours and letters, light or dark.

Matplotlib knows no style sheet, so the plots are drawn in placeholder colours that become the
page's CSS variables.
"""

import io
import logging
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from solutions.phase1_basics.call_tree import call_tree, icicle
from solutions.phase1_basics.latency_profile import LatencyProfile
from solutions.phase1_basics.layers import Layer, top_layers
from solutions.phase1_basics.profile_text import milliseconds
from solutions.phase1_basics.roofline import Ceilings, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, ACCENT, SOFT, WARN, PAPER = (
    "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112", "#131415",
)  # fmt: skip
VARIABLES = dict(zip((INK, MUTED, LINE, ACCENT, SOFT, WARN, PAPER),
                     ("ink", "muted", "line", "accent", "soft", "warn", "paper"), strict=True))
WIDE, HALF = (9.6, 2.6), (4.65, 3.1)  # inches
POINTS = 2000  # shown at most
STYLE: dict[Any, Any] = {
    "font.size": 9, "font.family": "DejaVu Sans", "axes.edgecolor": LINE, "text.color": INK,
    "axes.labelcolor": MUTED, "axes.spines.top": False, "axes.spines.right": False,
    "axes.spines.left": False, "axes.axisbelow": True, "xtick.color": MUTED,
    "ytick.color": MUTED, "ytick.major.size": 0, "xtick.major.size": 3, "grid.color": LINE,
    "grid.linewidth": 0.8, "legend.frameon": False, "svg.fonttype": "none",
    "svg.hashsalt": "profile", "ytick.minor.size": 0,
}  # fmt: skip


def axes(
    size: tuple[float, float], grid: Literal["x", "y", "both"] = "y"
) -> "tuple[Figure, Axes]":
    """A figure of that size in inches with one pair of axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        made = figure.add_subplot()
        made.grid(axis=grid)
    return figure, made


def svg(figure: "Figure") -> str:
    """The figure as an SVG element for a page."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="(?:figure|axes|patch|line2d|text|matplotlib|xtick|ytick)[^"]*"', "", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r' width="[^"]*pt" height="[^"]*pt"', " ", text, count=1)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text


def latency_timeline(profile: LatencyProfile) -> str:
    """The latency of each request, in order, with the percentiles that the sample supports."""
    figure, plot = axes(WIDE)
    latency = np.array(profile.latency) * 1e3
    step = -(-len(latency) // POINTS)
    starts = np.arange(0, len(latency), step)
    highest = np.maximum.reduceat(latency, starts)
    plot.fill_between(starts + 1, highest, color=ACCENT, alpha=0.14, linewidth=0)
    plot.plot(starts + 1, highest, color=ACCENT, linewidth=0.9)
    last = -np.inf
    for estimate in profile.percentiles:
        value = estimate.value * 1e3
        style = (0, (4, 3)) if estimate.supported else (0, (1, 3))
        plot.axhline(value, color=INK, linewidth=0.9, linestyle=style)
        last = max(value, last + latency.max() * 0.09)
        plot.annotate(f"{estimate.name}  {milliseconds(estimate.value)} ms", (1.0, last),
                      xycoords=("axes fraction", "data"), xytext=(6, 0), va="center",
                      textcoords="offset points")
    plot.set(xlabel="request", ylabel="latency, ms")
    plot.set_ylim(bottom=0)
    plot.set_xlim(1, max(len(latency), 2))
    return svg(figure)


def latency_distribution(profiles: Sequence[LatencyProfile]) -> str:
    """Share of requests that were slower than a latency, on a scale that shows the tail."""
    figure, plot = axes(HALF, "both")
    colours = {"closed": ACCENT, "open": WARN}
    for profile in profiles:
        latency = np.sort(np.array(profile.latency)) * 1e3
        slower = 1 - np.arange(len(latency)) / len(latency)
        plot.step(latency, slower * 100, where="post", color=colours[profile.mode],
                  linewidth=1.5, label=f"{profile.mode} loop")
    plot.set_yscale("log")
    plot.set_yticks([100, 50, 10, 5, 1], ["100", "50", "10", "5", "1"], minor=False)
    plot.yaxis.set_minor_locator(_no_ticks())
    if len(profiles) > 1:
        plot.legend(loc="upper right", frameon=False, labelcolor=INK)
    plot.set(xlabel="latency, ms", ylabel="requests at least as slow, %")
    plot.set_xlim(left=0)
    return svg(figure)


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def latency_parts(profiles: Sequence[LatencyProfile]) -> str:
    """Mean queue, overhead and compute time of a request."""
    figure, plot = axes((HALF[0], 2.3 if len(profiles) > 1 else 1.9), "x")
    names = [f"{profile.mode} loop" for profile in profiles]
    left = np.zeros(len(profiles))
    for part, colour in (("queue", WARN), ("overhead", SOFT), ("compute", ACCENT)):
        width = np.array([np.mean(getattr(profile, part)) for profile in profiles]) * 1e3
        plot.barh(names, width, left=left, color=colour, height=0.5, label=part)
        left += width
    plot.invert_yaxis()
    plot.set_xlabel("mean per request, ms")
    figure.legend(loc="outside upper center", ncols=3, handlelength=1.1, frameon=False,
                  labelcolor=INK)
    return svg(figure)


def slowest_layers(layers: list[Layer], k: int = 12) -> str:
    """The slowest layers as bars."""
    shown = top_layers(layers, k)
    figure, plot = axes((HALF[0], 3.6), "x")
    names = [_short(layer.name) for layer in shown]
    places = np.arange(len(shown))
    bars = plot.barh(places, [layer.seconds * 1e3 for layer in shown], color=ACCENT, height=0.66)
    plot.set_yticks(places, names)
    plot.bar_label(bars, [f"{layer.seconds * 1e3:.3g}" for layer in shown], padding=4)
    plot.invert_yaxis()
    plot.margins(x=0.14)
    plot.set_xlabel("own time, ms")
    return svg(figure)


def _short(name: str, most: int = 30) -> str:
    return name if len(name) <= most else "…" + name[-most + 1 :]


def flame(layers: list[Layer]) -> str:
    """The network as nested boxes, as wide as they take time."""
    from matplotlib.patches import Rectangle

    tree = call_tree(layers)
    boxes = icicle(tree, tree.seconds / 400)
    depth = max((box.depth for box in boxes), default=0) + 1
    figure, plot = axes((WIDE[0], 0.5 + 0.36 * depth))
    shares = [0.85, 0.55, 0.4, 0.28, 0.2, 0.14]
    for box in boxes:
        x, width = box.x * 1e3, box.width * 1e3
        share = shares[min(box.depth, len(shares) - 1)]
        plot.add_patch(Rectangle((x, box.depth), width, 0.94, facecolor=ACCENT, alpha=share,
                                 linewidth=0))
        room = int(width / max(tree.seconds * 1e3, 1e-12) * 150)
        if room >= 4:
            name = box.name if len(box.name) <= room else box.name[: room - 1] + "…"
            plot.text(x + width / 2, box.depth + 0.47, name, ha="center", va="center",
                      fontsize=8, color=PAPER if box.depth == 0 else INK)
    plot.set(xlim=(0, max(tree.seconds * 1e3, 1e-9)), ylim=(depth, 0), xlabel="ms")
    plot.set_yticks([])
    plot.grid(False)
    return svg(figure)


def roofline_plot(layers: list[Layer], ceilings: Ceilings) -> str:
    """The layers under the machine's roof, as large as they take time."""
    figure, plot = axes((HALF[0], 3.6), "both")
    placed = [(layer, point) for layer in layers if (point := place(layer, ceilings))]
    intensities = [point.intensity for _, point in placed] or [ceilings.ridge]
    low = min(min(intensities), ceilings.ridge) / 3
    high = max(*intensities, ceilings.ridge) * 3
    roof = np.geomspace(low, high, 200)
    plot.plot(roof, [ceilings.attainable(i) / 1e9 for i in roof], color=INK, linewidth=1.3)
    most = max((layer.seconds for layer, _ in placed), default=1.0)
    for bound, colour in (("memory", WARN), ("compute", ACCENT)):
        own = [(layer, point) for layer, point in placed if point.bound == bound]
        plot.scatter([p.intensity for _, p in own], [p.achieved / 1e9 for _, p in own],
                     s=[8 + 90 * layer.seconds / most for layer, _ in own], color=colour,
                     alpha=0.55, linewidth=0, label=f"{bound} bound")
    plot.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="GFLOP/s")
    plot.set_ylim(top=ceilings.peak_flops / 1e9 * 5)
    plot.annotate(f"{ceilings.peak_flops / 1e9:.3g} GFLOP/s", (high, ceilings.peak_flops / 1e9),
                  ha="right", va="bottom", xytext=(0, 3), textcoords="offset points")
    middle = math.sqrt(low * ceilings.ridge)
    plot.annotate(f"{ceilings.bandwidth / 1e9:.3g} GB/s",
                  (middle, ceilings.attainable(middle) / 1e9), ha="right", va="bottom",
                  xytext=(-4, 4), textcoords="offset points")
    for axis in (plot.xaxis, plot.yaxis):
        axis.set_minor_locator(_no_ticks())
    plot.legend(loc="lower right", handletextpad=0.2, frameon=False, labelcolor=INK)
    return svg(figure)
