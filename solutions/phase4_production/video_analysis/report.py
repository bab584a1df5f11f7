"""The report page: one self-contained HTML file with plots, figures and sample frames."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.accuracy import Accuracy
from solutions.phase4_production.video_analysis.annotation import colour_of
from solutions.phase4_production.video_analysis.run_record import RunRecord
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from zoo.errors import InferenceError, MissingExtraError

SAMPLES = 4
INK, MUTED, ACCENT, GRID = "#1d2733", "#6a7785", "#2463eb", "#e3e8ee"
STAGES = ("decode", "preprocess", "detect", "postprocess", "track", "classify", "draw", "encode")


def write_report(
    record: RunRecord, metrics: dict[str, Any], accuracy: Accuracy | None, source: str, note: str,
    labels: Sequence[str], output: Path,
) -> None:
    """Write ``report.html`` into the output folder.

    Raises MissingExtraError where plotting or templates are not installed.
    """
    try:
        import jinja2
        import matplotlib
    except ImportError as error:
        raise MissingExtraError(str(error.name), "demo") from error
    matplotlib.use("Agg")
    template = (Path(__file__).parent / "report.html.j2").read_text()
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(template)
    video = output / "annotated.mp4"
    text = page.render(
        source=source, note=note, metrics=metrics, partial=record.partial,
        seconds=record.seconds, tiles=_tiles(metrics), accuracy=accuracy,
        scores=_scores(accuracy), classes=_classes(accuracy),
        latency=metrics["latency_ms"], timeline=_timeline(record), stages=_stages(metrics),
        counts=_counts(record, labels), samples=_samples(video),
        routes=_routes(record), has_video=video.is_file(),
    )
    (output / "report.html").write_text(text)


def _tiles(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Title, figure and unit of the page's headline figures."""
    latency = metrics["latency_ms"]
    tiles = [
        ("Throughput", f"{metrics['fps']:.0f}", "frames/s"),
        ("Latency, median", f"{latency['p50']:.1f}", "ms"),
        ("Latency, p99", f"{latency['p99']:.1f}", "ms"),
        ("Memory, peak", f"{metrics['peak_rss_mb']:.0f}", "MiB"),
    ]
    if "map50" in metrics:
        tiles += [
            ("Detection", _share(metrics["map50"]), "mAP@0.5"),
            ("Tracking", _share(metrics["mota"]), "MOTA"),
            ("Identities", _share(metrics["idf1"]), "IDF1"),
            ("Route numbers", _share(metrics["route_accuracy"]), "correct"),
        ]
    return tiles


def _share(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{100 * value:.1f}%"


def _scores(accuracy: Accuracy | None) -> list[tuple[str, str, str]]:
    """Score, value and what it means."""
    if accuracy is None:
        return []
    found, tracked, route = accuracy.detection, accuracy.tracking, accuracy.route
    return [
        ("mAP@0.5", _share(found.map50), "average precision at IoU 0.5, mean over classes"),
        ("mAP@0.5:0.95", _share(found.map), "the same, averaged over ten stricter overlaps"),
        ("MOTA", _share(tracked.mota), "1 − (missed + false + switched) / objects"),
        ("IDF1", _share(tracked.idf1), "how long identities are kept"),
        ("HOTA", _share(tracked.hota), "detection and association in balance"),
        ("Identity switches", str(tracked.switches), f"among {tracked.tracks} tracks"),
        ("Route numbers", _share(route.accuracy), f"whole number right, {route.buses} legible buses"),
        ("Route digits", _share(route.digit_accuracy), "single digits right"),
    ]


def _classes(accuracy: Accuracy | None) -> list[tuple[str, str]]:
    if accuracy is None:
        return []
    return [(name, _share(ap)) for name, ap in accuracy.detection.by_class.items()]


def _svg(figure: Any) -> str:
    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", transparent=True)
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _axes(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "font.family": "sans-serif", "font.size": 9, "axes.edgecolor": GRID, "text.color": INK,
        "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED, "svg.fonttype": "none",
        "svg.hashsalt": "report", "axes.spines.top": False, "axes.spines.right": False,
    })
    figure, axes = plt.subplots(figsize=(width, height))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _timeline(record: RunRecord) -> str:
    """Latency of each frame, with its percentiles."""
    figure, axes = _axes(9.4, 2.5)
    latency = np.asarray(record.latency_ms)
    axes.plot(np.arange(len(latency)), latency, color=ACCENT, linewidth=0.7, alpha=0.85)
    for percent, style in ((50, "-"), (99, "--")):
        level = float(np.percentile(latency, percent)) if len(latency) else 0.0
        axes.axhline(level, color=INK, linewidth=0.9, linestyle=style)
        axes.annotate(f"p{percent} {level:.1f} ms", (1.0, level), xycoords=("axes fraction", "data"),
                      xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xlabel("frame")
    axes.set_ylabel("latency, ms")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.005)
    return _svg(figure)


def _stages(metrics: dict[str, Any]) -> str:
    """Mean time of each stage."""
    names = [name for name in STAGES if name in metrics["stages_ms"]]
    times = [metrics["stages_ms"][name] for name in names]
    figure, axes = _axes(4.5, 2.7)
    axes.grid(visible=False)
    inside = {"preprocess", "detect", "postprocess", "track", "classify"}
    colours = [ACCENT if name in inside else "#a9b7c6" for name in names]
    bars = axes.barh(names, times, color=colours, height=0.66)
    axes.bar_label(bars, [f"{t:.2f}" for t in times], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("mean ms per frame (blue: in the latency; grey: in threads beside it)")
    axes.margins(x=0.14)
    axes.tick_params(axis="y", length=0)
    return _svg(figure)


def _counts(record: RunRecord, labels: Sequence[str]) -> str:
    """Tracked objects over time, by class."""
    figure, axes = _axes(4.5, 2.7)
    table = np.zeros((len(labels), len(record.results)))
    for column, result in enumerate(record.results):
        for track in result.tracks:
            table[track.label, column] += 1
    seen = np.flatnonzero(table.any(axis=1))
    colours = ["#" + "".join(f"{c:02x}" for c in colour_of(int(i))[::-1]) for i in seen]
    if len(seen):
        axes.stackplot(np.arange(table.shape[1]), table[seen], colors=colours, linewidth=0,
                       labels=[labels[i] for i in seen])
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=min(5, len(seen)),
                    frameon=False, fontsize=8, handlelength=1.0, columnspacing=1.1)
    axes.set_xlabel("frame")
    axes.set_ylabel("tracked objects")
    axes.margins(x=0)
    return _svg(figure)


def _samples(video: Path) -> list[str]:
    """Frames of the annotated video, spread over its length, as data URIs."""
    if not video.is_file():
        return []
    try:
        reader = VideoReader(video)
        total = reader.expected_frames or 0
        wanted = {int(i) for i in np.linspace(0.1, 0.92, SAMPLES) * total}
        images = [f.image for f in reader.frames() if f.index in wanted]
        reader.close()
    except InferenceError:  # nothing was written: the report is made all the same
        return []
    return [_data_uri(image) for image in images]


def _data_uri(image: NDArray[np.uint8]) -> str:
    scale = min(1.0, 800 / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    done, coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done, image.shape
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode()


def _routes(record: RunRecord) -> list[tuple[int, str, float, int]]:
    """Track, route number, confidence and frames seen, of every bus that was read."""
    last: dict[int, tuple[str, float]] = {}
    seen: dict[int, int] = {}
    for result in record.results:
        for track in result.tracks:
            seen[track.identity] = seen.get(track.identity, 0) + 1
            if track.route:
                last[track.identity] = (track.route, track.route_confidence)
    return [(k, number, sure, seen[k]) for k, (number, sure) in sorted(last.items())]
