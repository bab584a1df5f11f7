"""Real-time video analysis on an edge device.

    python solutions/phase4_production/video_analysis/edge_inference.py --video test.mp4 \\
        --device jetson

Writes ``annotated.mp4``, ``tracks.txt`` (MOTChallenge), ``metrics.json`` and ``report.html`` into
``--output``. Where the video is a street of the zoo, or ``--truth`` names its ground truth, the
accuracy is measured too.
"""

import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository's root is four folders up
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from solutions.phase4_production.video_analysis.device_profile import (
    PROFILES,
    ChosenDevice,
    choose_device,
)
from solutions.phase4_production.video_analysis.model_pipeline import VideoPipeline, build_pipeline
from solutions.phase4_production.video_analysis.run_record import (
    RunRecord,
    metrics_of,
    percentiles,
    write_metrics,
    write_tracks,
)
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_run import run_video
from zoo import registry
from zoo.errors import InferenceError
from zoo.street import StreetConfig, StreetTruth, materialise
from zoo.street.truth_files import read_coco
from zoo.terminal import INTERRUPTED, progress_bar, run_command

STREET = "zoo:street"
DEMO = StreetConfig(seed=4, frames=450)  # 15 seconds of a held-out street
RUNTIME = "onnxruntime"


@dataclass(frozen=True)
class Source:
    """The video to analyse and, where it is known, the truth about it."""

    name: str
    video: Path
    truth: StreetTruth | None


def open_source(video: str, truth: Path | None) -> Source:
    """The video named on the command line: a file, a registry name or ``zoo:street``.

    A street is rendered on first use. A file's truth is the one given, or a street's
    ``coco.json`` beside it.
    """
    if video == STREET:
        with progress_bar("frames") as bar:
            task = bar.add_task("rendering the street", total=DEMO.frames)
            clip = materialise(
                DEMO, registry.cache_folder() / "streets",
                lambda done, total: bar.update(task, completed=done),
            )
        return Source(STREET, clip.video, clip.truth)
    if video in registry.entries():
        path = registry.fetch(registry.find(video))
    else:
        path = Path(video)
    beside = path.with_name("coco.json")
    if truth is None and beside.is_file():
        truth = beside
    return Source(video, path, read_coco(truth) if truth is not None else None)


class LiveProgress:
    """A progress bar that shows frames, FPS and the 99th percentile of the latency."""

    def __init__(self, total: int | None) -> None:
        self.bar = Progress(
            TextColumn("analysing"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )
        self.task = self.bar.add_task("analysing", total=total, speed="")
        self.shown = 0.0

    def __call__(self, record: RunRecord) -> None:
        """Show the run's state, at most ten times a second."""
        now = time.monotonic()
        if now - self.shown < 0.1:
            return
        self.shown = now
        p99 = percentiles(record.latency_ms[-300:])["p99"]
        self.bar.update(self.task, completed=record.frames,
                        speed=f"{record.fps:5.0f} FPS  p99 {p99:4.1f} ms")

    def context(self) -> AbstractContextManager[object]:
        """The bar is on screen within this."""
        return self.bar


def prepare_output(folder: Path) -> None:
    """Make the folder; raises InferenceError where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InferenceError(f"output {folder}: cannot write there ({error.strerror})") from error


def warm_up(pipeline: VideoPipeline, reader: VideoReader) -> None:
    """Run the network once on a blank frame: the first inference is always slower."""
    import numpy as np

    blank = np.zeros((reader.height, reader.width, 3), np.uint8)
    pipeline.detector.infer(pipeline.detector.prepare(blank))


@click.command()
@click.option("--video", required=True, help="a file, zoo:street, or a name from python -m zoo list")
@click.option("--detector", help="a zoo or registry name; default: the device's")
@click.option("--device", type=click.Choice(list(PROFILES)), default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/edge"),
              show_default=True, help="folder of the results")
@click.option("--truth", type=click.Path(path_type=Path), help="ground truth (a street's coco.json)")
@click.option("--frames", type=click.IntRange(min=1), help="stop after so many frames")
@click.option("--annotate/--no-annotate", default=True, show_default=True,
              help="write annotated.mp4")
def edge(
    video: str, detector: str | None, device: str, output: Path, truth: Path | None,
    frames: int | None, annotate: bool,
) -> int:
    """Detect, track and classify what is on a video; report speed and accuracy."""
    chosen = choose_device(device)
    if chosen.note:
        click.echo(f"note: {chosen.note}", err=True)
    prepare_output(output)
    source = open_source(video, truth)
    reader = VideoReader(source.video)
    name = detector or chosen.profile.detector
    pipeline = build_pipeline(name, chosen.profile.threads)
    warm_up(pipeline, reader)
    expected = min(filter(None, (reader.expected_frames, frames)), default=None)
    live = LiveProgress(expected)
    with live.context():
        record = run_video(
            pipeline, reader, output / "annotated.mp4" if annotate else None, frames, live
        )
    reader.close()
    finish(record, source, chosen, name, pipeline.labels, output)
    return INTERRUPTED if record.partial == "interrupted" else 0


def finish(
    record: RunRecord, source: Source, device: ChosenDevice, detector: str,
    labels: tuple[str, ...], output: Path,
) -> None:
    """Write tracks, metrics and the report, and print where they are."""
    write_tracks(record.results, output / "tracks.txt")
    accuracy = None
    missing: list[str] = []
    if source.truth is not None and record.analysed:
        from solutions.phase4_production.video_analysis.accuracy import score_run

        try:
            accuracy = score_run(record, source.truth.frames, labels)
        except InferenceError as error:
            missing.append(f"no accuracy: {error}")
    shown = device.profile.name if device.native else f"{device.profile.name} (on a CPU)"
    metrics = metrics_of(record, shown, RUNTIME, detector, accuracy.metrics() if accuracy else None)
    write_metrics(metrics, output / "metrics.json")
    try:
        from solutions.phase4_production.video_analysis.report import write_report

        write_report(record, metrics, accuracy, source.name, device.note, labels, output)
    except InferenceError as error:
        missing.append(f"no report: {error}")
    for line in missing:
        click.echo(f"note: {line}", err=True)
    summarise(metrics, record, output)


def summarise(metrics: dict[str, object], record: RunRecord, output: Path) -> None:
    """Print the run's figures and files."""
    latency = percentiles(record.latency_ms)
    click.echo(
        f"{record.analysed} frames at {record.fps:.0f} FPS, latency p50 {latency['p50']:.1f} ms, "
        f"p99 {latency['p99']:.1f} ms, detector {metrics['detector']}"
    )
    if "map50" in metrics:
        names = {"map50": "mAP@0.5", "mota": "MOTA", "idf1": "IDF1", "hota": "HOTA",
                 "route_accuracy": "route numbers"}
        click.echo("accuracy: " + ", ".join(f"{title} {metrics[k]:.3f}" for k, title in names.items()))
    if record.partial:
        click.echo(f"partial: {record.partial}")
    for name in ("annotated.mp4", "tracks.txt", "metrics.json", "report.html"):
        if (output / name).is_file():
            click.echo(f"  {output / name}")


if __name__ == "__main__":
    sys.exit(run_command(edge))
