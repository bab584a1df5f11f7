"""Real-time video analysis on an edge device.

    python solutions/phase4_production/video_analysis/edge_inference.py --video test.mp4 \\
        --device jetson

Writes ``annotated.mp4``, ``tracks.txt`` (MOTChallenge), ``metrics.json`` and ``report.html`` into
``--output``. Where the video is a street of the zoo, or ``--truth`` names its ground truth, the
accuracy is measured too.
"""

import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository's root is four folders up
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from solutions.phase4_production.video_analysis.device_profile import PROFILES, choose_device
from solutions.phase4_production.video_analysis.frame_reader import FrameReader
from solutions.phase4_production.video_analysis.interruption import interruption
from solutions.phase4_production.video_analysis.model_pipeline import VideoPipeline, build_pipeline
from solutions.phase4_production.video_analysis.run_output import (
    VIDEO,
    RunSettings,
    prepare_output,
    summarise,
    write_results,
)
from solutions.phase4_production.video_analysis.run_record import RunRecord, percentiles
from solutions.phase4_production.video_analysis.video_run import run_video
from solutions.phase4_production.video_analysis.video_source import DEMO as DEMO
from solutions.phase4_production.video_analysis.video_source import STREET, open_reader, open_source
from zoo.terminal import progress_bar, run_command

RUNTIME = "onnxruntime"
SHOWN_EVERY = 0.1  # seconds
RECENT = 300  # frames that the progress bar's p99 covers


class LiveProgress:
    """A progress bar that shows frames, FPS and the 99th percentile of the latency."""

    def __init__(self, total: int | None) -> None:
        screen = Console(stderr=True)
        self.bar = Progress(
            TextColumn("analysing"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"), TimeRemainingColumn(),
            console=screen, transient=True, disable=not screen.is_terminal,
        )
        self.task = self.bar.add_task("analysing", total=total, speed="")
        self.shown = 0.0

    def __call__(self, record: RunRecord) -> None:
        """Show the run's state, now and then."""
        now = time.monotonic()
        if now - self.shown < SHOWN_EVERY:
            return
        self.shown = now
        p99 = percentiles(record.latency_ms[-RECENT:])["p99"]
        self.bar.update(self.task, completed=record.frames,
                        speed=f"{record.fps:5.0f} FPS  p99 {p99:4.1f} ms")


def warm_up(pipeline: VideoPipeline, reader: FrameReader) -> None:
    """Run the network once on a blank frame: the first inference is always slower."""
    blank = np.zeros((reader.height, reader.width, 3), np.uint8)
    pipeline.detector.infer(pipeline.detector.prepare(blank))


def load_pipeline(detector: str, threads: int, reader: FrameReader) -> VideoPipeline:
    """The pipeline of that detector, warm; a model that is not here yet is downloaded."""
    with progress_bar("bytes") as bar:
        task = bar.add_task(f"get {detector}", visible=False)
        pipeline = build_pipeline(
            detector, threads,
            lambda done, total: bar.update(task, completed=done, total=total, visible=True),
        )
    warm_up(pipeline, reader)
    return pipeline


@click.command()
@click.option("--video", default=STREET, show_default=True,
              help="a file, a folder of images, a webcam's number, an rtsp:// or http:// address, "
                   "zoo:street?seed=3&frames=300, or a name from python -m zoo list")
@click.option("--stream", type=click.IntRange(min=0),
              help="which picture stream, from 0; default: the largest")
@click.option("--detector", help="a zoo or registry name; default: the device's")
@click.option("--device", type=click.Choice(list(PROFILES)), default="cpu", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("out/edge"),
              show_default=True, help="folder of the results")
@click.option("--truth", type=click.Path(path_type=Path),
              help="ground truth: a street's coco.json; found by itself beside the video")
@click.option("--frames", type=click.IntRange(min=1), help="stop after so many frames")
@click.option("--annotate/--no-annotate", default=True, show_default=True,
              help="write annotated.mp4")
def edge(
    video: str, stream: int | None, detector: str | None, device: str, output: Path,
    truth: Path | None, frames: int | None, annotate: bool,
) -> int:
    """Detect, track and classify what is on a video; report speed and accuracy."""
    chosen = choose_device(device)
    source = open_source(video, truth)
    for note in filter(None, (chosen.note, source.note)):
        click.echo(f"note: {note}", err=True)
    reader = open_reader(source, stream)
    name = detector or chosen.profile.detector
    pipeline = load_pipeline(name, chosen.profile.threads, reader)
    prepare_output(output, source.video)
    settings = RunSettings(source, reader.width, reader.height, reader.fps, chosen, RUNTIME, name,
                           pipeline.labels)
    live = LiveProgress(min(filter(None, (reader.expected_frames, frames)), default=None))
    with interruption() as stop:
        with live.bar:
            record = run_video(pipeline, reader, output / VIDEO if annotate else None, frames, live,
                               stop)
        reader.close()
    summarise(record, write_results(record, settings, output), output)
    return stop.exit_code


if __name__ == "__main__":
    sys.exit(run_command(edge))
