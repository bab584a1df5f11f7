"""The report page of a profile: one self-contained HTML file."""

from pathlib import Path
from typing import NamedTuple

from solutions.phase1_basics import profile_plots as plots
from solutions.phase1_basics.latency_profile import LatencyProfile
from solutions.phase1_basics.layers import Layer, top_layers
from solutions.phase1_basics.profile_record import Profile
from solutions.phase1_basics.profile_text import facts, milliseconds, quantity
from solutions.phase1_basics.roofline import RooflinePoint, place
from zoo.errors import InferenceError, MissingExtraError

TEMPLATE = Path(__file__).with_name("profile_report.html.j2")
LAYERS_SHOWN = 15


class Tile(NamedTuple):
    """One headline figure."""

    title: str
    figure: str
    unit: str


class LayerRow(NamedTuple):
    """One line of the table of layers."""

    layer: Layer
    share: float  # of all layers' time
    point: RooflinePoint | None


def write_report(profile: Profile, path: Path) -> None:
    """Write the page; it needs no network and no other file to be read.

    Raises MissingExtraError where plotting or templates are not installed, InferenceError where
    the file cannot be written.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "demo") from error
    page = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(TEMPLATE.read_text())
    text = page.render(
        profile=profile, loops=loops(profile), tiles=tiles(profile), rows=layer_rows(profile),
        plots=_plots(profile), facts=facts(profile), ms=milliseconds, quantity=quantity,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise InferenceError(f"{path} cannot be written: {error.strerror}") from error


def loops(profile: Profile) -> list[LatencyProfile]:
    """The loops that were run."""
    return [loop for loop in (profile.closed, profile.open) if loop is not None]


def tiles(profile: Profile) -> list[Tile]:
    """The page's headline figures."""
    closed = profile.closed
    assert closed is not None, "a profile without a latency is not reported"
    p50, _, p99 = closed.percentiles
    joules = profile.joules_per_request
    memory = profile.process.peak if profile.process else None
    return [
        Tile("Latency, median", milliseconds(p50.value), "ms"),
        Tile("Latency, p99", milliseconds(p99.value), f"ms, {p99.verdict}"),
        Tile("Memory, peak", "n/a" if memory is None else f"{memory / 2**20:.0f}", "MiB resident"),
        Tile("Energy", "n/a" if joules is None else f"{1e3 * joules:.3g}",
             "unavailable" if joules is None else "mJ per request"),
    ]


def layer_rows(profile: Profile, k: int = LAYERS_SHOWN) -> list[LayerRow]:
    """The slowest layers with their share and their place under the roof."""
    total = sum(layer.seconds for layer in profile.layers) or 1.0
    return [
        LayerRow(layer, layer.seconds / total,
                 place(layer, profile.ceilings) if profile.ceilings else None)
        for layer in top_layers(profile.layers, k)
    ]


def _plots(profile: Profile) -> dict[str, str]:
    found = loops(profile)
    made = {
        f"timeline_{loop.mode}": plots.latency_timeline(loop) for loop in found
    } | {
        "distribution": plots.latency_distribution(found),
        "parts": plots.latency_parts(found),
    }
    if profile.layers:
        made["layers"] = plots.slowest_layers(profile.layers)
        made["flame"] = plots.flame(profile.layers)
        if profile.ceilings is not None:
            made["roofline"] = plots.roofline_plot(profile.layers, profile.ceilings)
    return made
