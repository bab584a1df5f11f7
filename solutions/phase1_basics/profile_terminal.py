"""A profile and a comparison on the terminal."""

from rich.console import Console
from rich.table import Table

from solutions.phase1_basics.latency_profile import LatencyProfile
from solutions.phase1_basics.profile_comparison import Comparison
from solutions.phase1_basics.profile_record import Profile
from solutions.phase1_basics.profile_report import layer_rows, loops
from solutions.phase1_basics.profile_text import (
    Fact,
    facts,
    interval,
    milliseconds,
    quantity,
)

LAYERS_SHOWN = 10
COLOURS = {"faster": "green", "slower": "red", "cannot tell": "yellow"}


def print_profile(profile: Profile, console: Console) -> None:
    """The profile as tables."""
    shape = "×".join(map(str, profile.batch_shape))
    console.print(f"[bold]{profile.model}[/]  {shape}, {profile.runtime}, {profile.device}, "
                  f"{profile.threads} threads", highlight=False)
    if profile.partial:
        console.print(f"[yellow]partial: {profile.partial}[/]", highlight=False)
    for loop in loops(profile):
        console.print(_latency_table(loop))
        for flag in loop.flags:
            console.print(f"  [yellow]![/] {flag}", highlight=False)
    if profile.layers:
        console.print(_layer_table(profile))
    tables = facts(profile)
    for title, name in (("Roofline", "roofline"), ("Memory", "memory")):
        if tables[name]:
            console.print(_fact_table(title, tables[name]))
    rest = [*tables["energy"], *tables["devices"], *tables["run"][4:]]
    console.print(_fact_table("Further", rest))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None,
                 header_style="dim", padding=(0, 2, 0, 0))


def _latency_table(loop: LatencyProfile) -> Table:
    how = f", {loop.rate:g} requests/s (Poisson)" if loop.rate is not None else ""
    table = _table(f"\n{loop.mode.capitalize()} loop{how}: {loop.count} requests, "
                   f"{loop.throughput:.4g} per second")
    for column in ("", "ms", "95% interval", ""):
        table.add_column(column, justify="left" if column in ("", "95% interval") else "right")
    for estimate in loop.percentiles:
        colour = "green" if estimate.supported else "yellow"
        table.add_row(estimate.name, milliseconds(estimate.value), interval(estimate),
                      f"[{colour}]{estimate.verdict}[/]")
    parts = {"queue": loop.queue, "overhead": loop.overhead, "compute": loop.compute}
    means = [f"{name} {milliseconds(sum(part) / len(part))}" for name, part in parts.items()]
    table.add_row("max", milliseconds(max(loop.latency)), "", f"mean: {', '.join(means)}")
    return table


def _layer_table(profile: Profile) -> Table:
    table = _table(f"\nSlowest of {len(profile.layers)} layers")
    for column in ("layer", "kind"):
        table.add_column(column, overflow="fold")
    for column in ("ms", "share", "FLOP", "bytes", "FLOP/B", "of roof"):
        table.add_column(column, justify="right")
    table.add_column("bound")
    for layer, share, point in layer_rows(profile, LAYERS_SHOWN):
        place = ("", "", "") if point is None else (
            f"{point.intensity:.3g}", f"{100 * point.efficiency:.0f}%", point.bound)
        table.add_row(layer.name, layer.kind, milliseconds(layer.seconds), f"{100 * share:.1f}%",
                      quantity(layer.flops), quantity(layer.bytes_moved), *place)
    return table


def _fact_table(title: str, found: list[Fact]) -> Table:
    table = _table(f"\n{title}")
    table.show_header = False
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in found:
        table.add_row(name, value)
    return table


def print_comparison(
    found: list[Comparison], notes: list[str], names: tuple[str, str], console: Console
) -> None:
    """The verdicts of a comparison."""
    table = _table(f"{names[1]} against {names[0]}")
    for column in ("loop", "", "before, ms", "after, ms", "ratio", "95% interval", "verdict", ""):
        right = column.endswith("ms") or column == "ratio"
        table.add_column(column, justify="right" if right else "left")
    for item in found:
        ends = "? .. ?" if item.low is None or item.high is None else (
            f"{item.low:.3f} .. {item.high:.3f}")
        table.add_row(item.mode, f"p{100 * item.quantile:g}", milliseconds(item.before),
                      milliseconds(item.after), f"{item.ratio:.3f}", ends,
                      f"[{COLOURS[item.verdict]}]{item.verdict}[/]", item.reason)
    console.print(table)
    for note in notes:
        console.print(f"[yellow]![/] {note}", highlight=False)
