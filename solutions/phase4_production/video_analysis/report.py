"""The report page: one self-contained HTML file with figures, plots and sample frames."""

import base64
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from solutions.phase4_production.video_analysis.device_profile import (
    describe_machine,
    runtime_version,
)
from solutions.phase4_production.video_analysis.frame_samples import Sample
from solutions.phase4_production.video_analysis.run_output import VIDEO, RunSettings
from solutions.phase4_production.video_analysis.run_record import RunRecord
from zoo.errors import MissingExtraError

if TYPE_CHECKING:
    from solutions.phase4_production.video_analysis.accuracy import Accuracy

TEMPLATE = Path(__file__).with_name("report.html.j2")
JPEG_QUALITY = 84
ROUTES_SHOWN = 40


class Tile(NamedTuple):
    """One headline figure."""

    title: str
    figure: str
    unit: str


class Score(NamedTuple):
    """One line of the accuracy table."""

    name: str
    value: str
    meaning: str


class Seen(NamedTuple):
    """How many objects of a class were tracked."""

    label: str
    colour: str
    tracks: int
    longest: float  # seconds


class Crossed(NamedTuple):
    """What crossed a line in one direction."""

    line: str
    direction: str
    total: int
    by_class: str


class Stayed(NamedTuple):
    """Who was in a zone and for how long."""

    zone: str
    total: int
    by_class: str
    mean: str  # seconds
    longest: str


def write_report(
    record: RunRecord, metrics: dict[str, Any], accuracy: "Accuracy | None", settings: RunSettings,
    path: Path,
) -> None:
    """Write the page; it needs no network and no other file to be read.

    Raises MissingExtraError where plotting or templates are not installed.
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
        settings=settings, metrics=metrics, record=record, accuracy=accuracy,
        verdict=verdict(metrics, settings), tiles=tiles(metrics, settings),
        plots=_plots(record, accuracy, metrics, settings), scores=scores(accuracy),
        seen=seen(record, settings.labels), routes=record.census.routes()[-ROUTES_SHOWN:],
        crossed=crossed(metrics), stayed=stayed(metrics), drops=drops(metrics),
        samples=_shown(record.samples.chosen()), facts=_facts(settings),
        has_video=path.with_name(VIDEO).is_file(), video=VIDEO,
    )
    path.write_text(text)


def verdict(metrics: dict[str, Any], settings: RunSettings) -> str:
    """The run in half a sentence, the more exact half stands in the headline itself."""
    if not metrics["analysed"]:
        return "Nothing was analysed"
    if settings.realtime:
        return "In real time, some frames dropped" if metrics["dropped"] else "In real time"
    pace = metrics["fps"] / settings.fps
    if pace >= 2:
        return f"{pace:.1f} times real time"
    return "Keeps up with real time" if pace >= 1 else "Slower than real time"


def tiles(metrics: dict[str, Any], settings: RunSettings) -> list[Tile]:
    """The page's headline figures."""
    latency = metrics["latency_ms"]
    throughput = Tile("Throughput", f"{metrics['fps']:.0f}", "frames per second")
    if settings.realtime:
        share = metrics["dropped"] / max(metrics["frames"], 1)
        throughput = Tile("Dropped", f"{100 * share:.1f}%", f"of {metrics['frames']} frames")
    found = [
        throughput,
        Tile("Latency, median", f"{latency['p50']:.1f}", "ms"),
        Tile("Latency, p99", f"{latency['p99']:.1f}", "ms"),
        Tile("Memory, peak", f"{metrics['peak_rss_mb']:.0f}", "MiB"),
    ]
    if "map50" not in metrics:
        return found
    return [
        *found,
        Tile("Detection", _share(metrics["map50"]), "mAP at IoU 0.5"),
        Tile("Tracking", _share(metrics["mota"]), "MOTA"),
        Tile("Identities", _share(metrics["idf1"]), "IDF1"),
        Tile("Route numbers", _share(metrics["route_accuracy"]), "read correctly"),
    ]


def _share(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{100 * value:.1f}%"


def scores(accuracy: "Accuracy | None") -> list[Score]:
    """The accuracy table."""
    if accuracy is None:
        return []
    found, tracked, route = accuracy.detection, accuracy.tracking, accuracy.route
    return [
        Score("mAP@0.5", _share(found.map50), "average precision at IoU 0.5, mean over classes"),
        Score("mAP@0.5:0.95", _share(found.map), "the same over ten stricter overlaps"),
        Score("MOTA", _share(tracked.mota), "1 − (missed + false + switched) / all"),
        Score("IDF1", _share(tracked.idf1), "how long identities are kept"),
        Score("HOTA", _share(tracked.hota), "detection and association in balance"),
        Score("Identity switches", str(tracked.switches), f"among {tracked.tracks} tracks"),
        Score("Route numbers", _share(route.accuracy), f"of {route.buses} legible buses"),
        Score("Route digits", _share(route.digit_accuracy), "single digits"),
    ]


def _plots(
    record: RunRecord, accuracy: "Accuracy | None", metrics: dict[str, Any], settings: RunSettings
) -> dict[str, str]:
    from solutions.phase4_production.video_analysis import report_plots as plots

    made = {
        "timeline": plots.latency_timeline(record.timeline, record.latency_ms,
                                           1e3 / settings.fps),
        "distribution": plots.latency_distribution(record.latency_ms),
        "stages": plots.stage_breakdown(metrics["stages_ms"]),
        "objects": plots.objects_over_time(record.timeline, settings.labels),
    }
    if accuracy is not None:
        made["classes"] = plots.precision_by_class(accuracy.detection.by_class)
    return made


def seen(record: RunRecord, labels: tuple[str, ...]) -> list[Seen]:
    """Tracks by class, most first; a track has the class that it ended with."""
    from solutions.phase4_production.video_analysis.report_plots import hex_colour

    census = record.census
    return [
        Seen(labels[label], hex_colour(label), count, census.longest(label))
        for label, count in census.counts().items()
    ]


def crossed(metrics: dict[str, Any]) -> list[Crossed]:
    """The table of the lines: a row for each line and direction."""
    lines = metrics.get("events", {}).get("lines", {})
    return [
        Crossed(name, f"to the {way}", sum(counts.values()), _listed(counts))
        for name, ways in lines.items() for way, counts in ways.items()
    ]


def stayed(metrics: dict[str, Any]) -> list[Stayed]:
    """The table of the zones."""
    zones = metrics.get("events", {}).get("zones", {})
    return [
        Stayed(name, sum(zone["entered"].values()), _listed(zone["entered"]),
               "" if zone["mean_dwell_s"] is None else f"{zone['mean_dwell_s']:.1f} s",
               f"{zone['longest_s']:.1f} s" if zone["left"] else "")
        for name, zone in zones.items()
    ]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {label}" for label, count in counts.items())


def drops(metrics: dict[str, Any]) -> str:
    """The frames that were not analysed, by reason; "" where there were none."""
    return ", ".join(f"{count} {reason}" for reason, count in metrics["drops"].items())


def _shown(samples: list[Sample]) -> list[tuple[Sample, str]]:
    """The fullest frame first, which the page shows large, then the others in order."""
    if not samples:
        return []
    largest = max(samples, key=lambda s: s.tracks)
    order = [largest, *(s for s in samples if s is not largest)]
    return [(sample, _data_uri(sample)) for sample in order]


def _data_uri(sample: Sample) -> str:
    done, coded = cv2.imencode(".jpg", sample.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, sample.image.shape
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()


def _facts(settings: RunSettings) -> list[tuple[str, str]]:
    threads = settings.threads
    return [
        ("Video", f"{settings.source.name}, {settings.width}×{settings.height}, "
                  f"{settings.fps:g} frames per second"),
        ("Detector", f"{settings.detector}, {settings.precision}"),
        ("Device", settings.device.label),
        ("Machine", describe_machine()),
        ("Runtime", f"{settings.runtime} {runtime_version(settings.runtime)}, "
                    f"{threads} thread{'' if threads == 1 else 's'}, "
                    f"Python {platform.python_version()}"),
    ]
