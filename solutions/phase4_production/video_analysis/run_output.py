"""The files of a run: made ready before it, written after it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from solutions.phase4_production.video_analysis.device_profile import ChosenDevice
from solutions.phase4_production.video_analysis.run_record import (
    RunRecord,
    metrics_of,
    write_metrics,
)
from solutions.phase4_production.video_analysis.video_source import Source
from zoo.errors import InferenceError

if TYPE_CHECKING:  # the scorers are in another extra than the edge program
    from solutions.phase4_production.video_analysis.accuracy import Accuracy

VIDEO, TRACKS, EVENTS = "annotated.mp4", "tracks.txt", "events.jsonl"
METRICS, REPORT = "metrics.json", "report.html"
FILES = (VIDEO, TRACKS, EVENTS, METRICS, REPORT)
SCORES = {"map50": "mAP@0.5", "mota": "MOTA", "idf1": "IDF1", "hota": "HOTA",
          "route_accuracy": "route numbers"}


@dataclass(frozen=True)
class RunSettings:
    """What was run on what."""

    source: Source
    width: int  # of the video, pixels
    height: int
    fps: float  # of the video
    device: ChosenDevice
    runtime: str
    detector: str
    labels: tuple[str, ...]
    threads: int = 1  # of the network
    realtime: bool = False
    notes: tuple[str, ...] = ()  # what is to be said about the run
    precision: str = "fp32"  # of the detector


def prepare_output(folder: Path, video: object) -> None:
    """Make the folder and clear an earlier run's files from it.

    Raises InferenceError where it cannot be written to, or where that would delete the video.
    """
    if isinstance(video, Path) and (folder / VIDEO).resolve() == video.resolve():
        raise InferenceError(f"output {folder}: would overwrite the video {video}: choose another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        probe = folder / METRICS
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InferenceError(f"output {folder}: cannot write there ({error.strerror})") from error


def write_results(
    record: RunRecord, settings: RunSettings, output: Path, events: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write metrics and the report; returns the metrics. ``events`` sums up lines and zones.

    What needs an extra that is not installed is left out with a note.
    """
    accuracy = _score(record, settings)
    metrics = metrics_of(record, settings.device.label, settings.runtime, settings.detector,
                         accuracy.metrics() if accuracy else None, events,
                         settings.precision)
    try:
        write_metrics(metrics, output / METRICS)
        _report(record, metrics, accuracy, settings, output)
    except OSError as error:
        raise InferenceError(f"output {output}: cannot write there ({error.strerror})") from error
    return metrics


def _score(record: RunRecord, settings: RunSettings) -> "Accuracy | None":
    if settings.source.truth is None or not record.analysed:
        return None
    from solutions.phase4_production.video_analysis.accuracy import score_run

    try:
        return score_run(record, settings.source.truth.frames, settings.labels)
    except InferenceError as error:
        click.echo(f"note: no accuracy: {error}", err=True)
        return None


def _report(
    record: RunRecord, metrics: dict[str, Any], accuracy: "Accuracy | None", settings: RunSettings,
    output: Path,
) -> None:
    from solutions.phase4_production.video_analysis.report import write_report

    try:
        write_report(record, metrics, accuracy, settings, output / REPORT)
    except InferenceError as error:
        click.echo(f"note: no report: {error}", err=True)


def summarise(record: RunRecord, metrics: dict[str, Any], output: Path) -> None:
    """Print the run's figures and files."""
    latency = metrics["latency_ms"]
    click.echo(
        f"{record.analysed} frames at {record.fps:.0f} FPS{_dropped(metrics)}, latency p50 "
        f"{latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms, detector {metrics['detector']}"
    )
    shown = [f"{title} {metrics[key]:.3f}" for key, title in SCORES.items()
             if not np.isnan(metrics.get(key, np.nan))]
    if shown:
        click.echo("accuracy: " + ", ".join(shown))
    for name, ways in metrics.get("events", {}).get("lines", {}).items():
        counts = ", ".join(f"{sum(c.values())} to the {way}" for way, c in ways.items())
        click.echo(f"{name}: crossed by {counts}")
    for name, zone in metrics.get("events", {}).get("zones", {}).items():
        mean = zone["mean_dwell_s"]
        stay = "" if mean is None else f", staying {mean:.1f} s on average"
        click.echo(f"{name}: entered by {sum(zone['entered'].values())}{stay}")
    if record.undrawn:
        click.echo(f"annotated video: {record.undrawn} frames left out, encoding fell behind")
    if record.partial:
        click.echo(f"partial: {record.partial}")
    for name in FILES:
        if (output / name).is_file():
            click.echo(f"  {output / name}")


def _dropped(metrics: dict[str, Any]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in metrics["drops"].items())
    return f", {metrics['dropped']} dropped ({reasons})" if reasons else ""
