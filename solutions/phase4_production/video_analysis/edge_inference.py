"""Real-time video analysis on an edge device.

    python solutions/phase4_production/video_analysis/edge_inference.py --video test.mp4 \\
        --device jetson

Writes ``annotated.mp4``, ``tracks.txt`` (MOTChallenge), ``events.jsonl``, ``metrics.json`` and
``report.html`` into ``--output``. Where the video is a street of the zoo, or ``--truth`` names its
ground truth, the accuracy is measured too.
"""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

if __package__ in (None, ""):  # run as a file: the repository's root is four folders up
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from solutions.phase4_production.video_analysis.annotation import Annotator
from solutions.phase4_production.video_analysis.detector_choice import choose_detector
from solutions.phase4_production.video_analysis.detector_forms import form_for, network_loader
from solutions.phase4_production.video_analysis.device_profile import ChosenDevice, choose_device
from solutions.phase4_production.video_analysis.edge_options import EdgeOptions, edge_options
from solutions.phase4_production.video_analysis.events import EventWatch
from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame, FrameReader
from solutions.phase4_production.video_analysis.geometry import parse_line, parse_zone
from solutions.phase4_production.video_analysis.interruption import Interruption, interruption
from solutions.phase4_production.video_analysis.model_pipeline import (
    FrameResult,
    VideoPipeline,
    assemble,
    for_tracking,
)
from solutions.phase4_production.video_analysis.result_files import EventFile, TrackFile
from solutions.phase4_production.video_analysis.run_output import (
    EVENTS,
    TRACKS,
    VIDEO,
    RunSettings,
    prepare_output,
    summarise,
    write_results,
)
from solutions.phase4_production.video_analysis.run_record import RunRecord, percentiles
from solutions.phase4_production.video_analysis.video_run import run_video
from solutions.phase4_production.video_analysis.video_source import DEMO as DEMO
from solutions.phase4_production.video_analysis.video_source import open_reader, open_source
from zoo.errors import InferenceError
from zoo.terminal import progress_bar, run_command

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
        p99 = percentiles(record.latency.last(RECENT))["p99"]
        self.bar.update(self.task, completed=record.frames,
                        speed=f"{record.fps:5.0f} FPS  p99 {p99:4.1f} ms")


class Loaded(NamedTuple):
    """A pipeline, warm, and what is to be said about its detector."""

    pipeline: VideoPipeline
    notes: tuple[str, ...]
    precision: str = "fp32"  # of the detector


def warm_up(pipeline: VideoPipeline, reader: FrameReader) -> None:
    """Run the network once on a blank frame: the first inference is always slower."""
    blank = np.zeros((reader.height, reader.width, 3), np.uint8)
    pipeline.detector.infer(pipeline.detector.prepare(blank))


def load_pipeline(
    options: EdgeOptions, device: ChosenDevice, reader: FrameReader, scored: bool = False
) -> Loaded:
    """The pipeline that was asked for, warm; a model that is not here yet is downloaded.

    Where the run is ``scored`` against a truth, weak detections are kept for their accuracy.
    """
    threads = options.threads or device.profile.threads
    load = network_loader(options.runtime, threads, device)
    name = options.detector or device.profile.detector
    wanted = options.detector_options()
    form, note = form_for(options.precision, name, options.runtime, threads, device, wanted)
    with progress_bar("bytes") as bar:
        task = bar.add_task(f"get {form.name}", visible=False)
        chosen = choose_detector(
            form.name, form.load, wanted, None if scored else for_tracking(),
            progress=lambda done, total: bar.update(
                task, completed=done, total=total, visible=True
            ),
        )
    pipeline = assemble(chosen.detector, load)
    warm_up(pipeline, reader)
    return Loaded(pipeline, (*filter(None, (note,)), *chosen.notes), form.precision)


def event_watch(options: EdgeOptions, reader: FrameReader, labels: tuple[str, ...]) -> EventWatch:
    """The lines and zones that were asked for."""
    size = (reader.width, reader.height)
    lines = [parse_line(text, n, size) for n, text in enumerate(options.line, 1)]
    zones = [parse_zone(text, n, size) for n, text in enumerate(options.zone, 1)]
    return EventWatch(lines, zones, labels)


@click.command()
@edge_options
def edge(**asked: Any) -> int:
    """Detect, track and classify what is on a video; report speed and accuracy."""
    options = EdgeOptions(**asked)
    device = choose_device(options.device)
    source = open_source(options.video, options.truth)
    for note in filter(None, (*device.notes, source.note)):
        click.echo(f"note: {note}", err=True)
    with closing(open_reader(source, options.stream)) as reader:
        loaded = load_pipeline(options, device, reader, source.truth is not None)
        for note in loaded.notes:
            click.echo(f"note: {note}", err=True)
        watch = event_watch(options, reader, loaded.pipeline.labels)
        prepare_output(options.output, source.video)
        settings = RunSettings(
            source, reader.width, reader.height, reader.fps, device, options.runtime,
            options.detector or device.profile.detector, loaded.pipeline.labels,
            options.threads or device.profile.threads, options.realtime or reader.live,
            tuple(filter(None, (*device.notes, source.note, *loaded.notes))), loaded.precision,
        )
        return analyse(loaded.pipeline, reader, watch, options, settings)


def analyse(
    pipeline: VideoPipeline, reader: FrameReader, watch: EventWatch, options: EdgeOptions,
    settings: RunSettings,
) -> int:
    """Run, write and sum up; the exit code. A fault on the way leaves what was known by then."""
    record = RunRecord(keep=settings.source.truth is not None)
    fault: InferenceError | None = None
    with interruption() as stop:
        try:
            _run(pipeline, reader, watch, options, record, stop)
        except InferenceError as error:
            if not record.analysed:
                raise
            fault, record.partial = error, str(error)
    summary = watch.summary() if options.line or options.zone else None
    metrics = write_results(record, settings, options.output, summary)
    summarise(record, metrics, options.output)
    if fault is not None:
        raise fault
    return stop.exit_code


def _run(
    pipeline: VideoPipeline, reader: FrameReader, watch: EventWatch, options: EdgeOptions,
    record: RunRecord, stop: Interruption,
) -> None:
    output = options.output
    live = LiveProgress(min(filter(None, (reader.expected_frames, options.frames)), default=None))
    annotator = Annotator(pipeline.labels, [c.line for c in watch.lines],
                          [z.zone for z in watch.zones])
    with (closing(TrackFile(output / TRACKS)) as tracks,
          closing(EventFile(output / EVENTS)) as events, live.bar):
        watch.sink = events.add
        run_video(
            pipeline, reader, output / VIDEO if options.annotate else None, options.frames, live,
            stop, realtime=options.realtime, record=record, annotator=annotator,
            listener=_listener(tracks, watch),
        )
        watch.finish(record.last_time, record.frames)
        for label, count in record.census.counts().items():
            events.count(pipeline.labels[label], count)


def _listener(
    tracks: TrackFile, watch: EventWatch
) -> Callable[[DecodedFrame, FrameResult], None]:
    def listen(frame: DecodedFrame, result: FrameResult) -> None:
        tracks.add(frame.index, result)
        watch.update(frame.time, frame.index, result.tracks)

    return listen


if __name__ == "__main__":
    sys.exit(run_command(edge))
