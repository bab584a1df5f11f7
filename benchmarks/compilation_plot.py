"""The plot of the suite ``compilation``: a line of dots for every graph."""

from collections.abc import Mapping
from typing import Any

from benchmarks.graph_latency import OWN
from benchmarks.graph_variants import OURS, PORTABLE
from benchmarks.measure import Spread
from benchmarks.peers.optimizers import OPTIMIZER, SIM, SLIM

STYLE = {  # variant: colour, marker
    OURS: ("#c1121f", "o"), PORTABLE: ("#f4a261", "o"), SLIM: ("#457b9d", "s"),
    SIM: ("#2a9d8f", "^"), OPTIMIZER: ("#8d99ae", "D"),
}


def draw(figure: Any, speeds: Mapping[str, Mapping[str, Spread]]) -> None:
    """Speed-up by graph; the grey bar behind the dots is ONNX Runtime's own optimization."""
    axes = figure.subplots()
    places = range(len(speeds))
    own = [found[OWN].median for found in speeds.values()]
    axes.barh(places, [value - 1 for value in own], left=1, height=0.8, color="#e5e5e5",
              label="ONNX Runtime's own, on", zorder=1)
    for step, (name, (colour, marker)) in enumerate(STYLE.items()):
        shown = [(place, found[name]) for place, found in zip(places, speeds.values(), strict=True)
                 if name in found]
        if not shown:
            continue
        middle = [spread.median for _, spread in shown]
        wide = [[spread.median - spread.low for _, spread in shown],
                [spread.high - spread.median for _, spread in shown]]
        height = [place + 0.14 * (step - 2) for place, _ in shown]
        axes.errorbar(middle, height, xerr=wide, fmt=marker, color=colour, markersize=4.5,
                      elinewidth=1, label=name, zorder=3 if name == OURS else 2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    _ticks(axes, speeds)
    axes.set_yticks(list(places), list(speeds), fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the untouched graph, ONNX Runtime's optimizer off")
    axes.legend(frameon=False, ncols=6, fontsize=7, loc="lower center", bbox_to_anchor=(0.42, 1))
    axes.spines[["top", "right"]].set_visible(False)


def _ticks(axes: Any, speeds: Mapping[str, Mapping[str, Spread]]) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

    top = max(spread.high for found in speeds.values() for spread in found.values())
    marks = [mark for mark in (0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12) if mark < 1.1 * top]
    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
