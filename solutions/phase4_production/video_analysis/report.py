"""The report page: one self-contained HTML file with figures, plots and sample frames."""

import base64
import platform
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from solutions.phase4_production.video_analysis.device_profile import describe_machine
from solutions.phase4_production.video_analysis.frame_samples import Sample
from solutions.phase4_production.video_analysis.run_output import VIDEO, RunSettings
from solutions.phase4_production.video_analysis.run_record import RunRecord
from zoo.errors import MissingExtraError

if TYPE_CHECKING:
    from solutions.phase4_production.video_analysis.accuracy import Accuracy

TEMPLATE = Path(__file__).with_name("report.html.j2")
JPEG_QUALITY = 84


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


class Route(NamedTuple):
    """A bus whose number was read."""

    identity: int
    number: str
    confidence: float
    seconds: float  # seen


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
        verdict=verdict(metrics, settings.fps), tiles=tiles(metrics, record),
        plots=_plots(record, accuracy, metrics, settings), scores=scores(accuracy),
        seen=seen(record, settings.labels), routes=routes(record),
        samples=_shown(record.samples.chosen()), facts=_facts(settings),
        has_video=path.with_name(VIDEO).is_file(), video=VIDEO,
    )
    path.write_text(text)


def verdict(metrics: dict[str, Any], video_fps: float) -> str:
    """The run in half a sentence, the more exact half stands in the headline itself."""
    if not metrics["analysed"]:
        return "Nothing was analysed"
    pace = metrics["fps"] / video_fps
    if pace >= 2:
        return f"{pace:.1f} times real time"
    return "Keeps up with real time" if pace >= 1 else "Slower than real time"


def tiles(metrics: dict[str, Any], record: RunRecord) -> list[Tile]:
    """The page's headline figures."""
    latency = metrics["latency_ms"]
    found = [
        Tile("Throughput", f"{metrics['fps']:.0f}", "frames per second"),
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
        "timeline": plots.latency_timeline(record.times, record.latency_ms, 1e3 / settings.fps),
        "distribution": plots.latency_distribution(record.latency_ms),
        "stages": plots.stage_breakdown(metrics["stages_ms"]),
        "objects": plots.objects_over_time(record.times, record.results, settings.labels),
    }
    if accuracy is not None:
        made["classes"] = plots.precision_by_class(accuracy.detection.by_class)
    return made


def seen(record: RunRecord, labels: tuple[str, ...]) -> list[Seen]:
    """Tracks by class, most first; a track has the class that it ended with."""
    from solutions.phase4_production.video_analysis.report_plots import hex_colour

    last, first_time, last_time = _lives(record)
    counts = Counter(last.values())
    return [
        Seen(labels[label], hex_colour(label), count,
             max(last_time[k] - first_time[k] for k, own in last.items() if own == label))
        for label, count in counts.most_common()
    ]


def _lives(record: RunRecord) -> tuple[dict[int, int], dict[int, float], dict[int, float]]:
    """Of each identity: its last label, when it was first seen, when it was last seen."""
    label: dict[int, int] = {}
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    for time, result in zip(record.times, record.results, strict=True):
        for track in result.tracks:
            first.setdefault(track.identity, time)
            label[track.identity], last[track.identity] = track.label, time
    return label, first, last


def routes(record: RunRecord) -> list[Route]:
    """The buses that were read, by identity."""
    _, first, last = _lives(record)
    read: dict[int, tuple[str, float]] = {}
    for result in record.results:
        for track in result.tracks:
            if track.route:
                read[track.identity] = (track.route, track.route_confidence)
    return [
        Route(k, number, sure, last[k] - first[k]) for k, (number, sure) in sorted(read.items())
    ]


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
    import onnxruntime

    threads = settings.device.profile.threads
    return [
        ("Video", f"{settings.source.name}, {settings.width}×{settings.height}, "
                  f"{settings.fps:g} frames per second"),
        ("Detector", settings.detector),
        ("Device", settings.device_label),
        ("Machine", describe_machine()),
        ("Runtime", f"{settings.runtime} {onnxruntime.__version__}, "
                    f"{threads} thread{'' if threads == 1 else 's'}, "
                    f"Python {platform.python_version()}"),
    ]
