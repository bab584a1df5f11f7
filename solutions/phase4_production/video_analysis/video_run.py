"""Runs the pipeline over a video: decode, analyse and encode at the same time.

Three threads, joined by short queues, so that decoding and encoding (which release the
interpreter's lock) overlap with the analysis, and memory stays bounded::

    reader --[2 frames]--> this thread: analyse --[8 frames]--> writer: draw, encode
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from solutions.phase4_production.video_analysis.annotation import Annotator
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult, VideoPipeline
from solutions.phase4_production.video_analysis.run_record import RunRecord
from solutions.phase4_production.video_analysis.video_reader import DecodedFrame, VideoReader
from solutions.phase4_production.video_analysis.video_writer import VideoWriter

READ_AHEAD, WRITE_BEHIND = 2, 8  # frames
MEMORY_EVERY = 30  # frames between looks at the process's memory


class TimedFrame(NamedTuple):
    """A decoded frame, how long decoding took, and when it was ready."""

    frame: DecodedFrame
    decode_ms: float
    ready: float  # perf_counter seconds


class FrameSource:
    """Decodes in a thread of its own; iterating gives frames in order.

    A fault while decoding is raised in the iterating thread.
    """

    def __init__(self, reader: VideoReader, limit: int | None) -> None:
        self._queue: queue.Queue[TimedFrame | BaseException | None] = queue.Queue(READ_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._decode, args=(reader, limit), name="decode", daemon=True
        )
        self._thread.start()

    def _decode(self, reader: VideoReader, limit: int | None) -> None:
        try:
            last = time.perf_counter()
            for frame in reader.frames(limit):
                ready = time.perf_counter()
                if not self._put(TimedFrame(frame, (ready - last) * 1e3, ready)):
                    return
                last = time.perf_counter()
            self._put(None)
        except BaseException as error:  # handed over to the thread that iterates
            self._put(error)

    def _put(self, item: TimedFrame | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[TimedFrame]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        """End the thread, whatever it is doing."""
        self._stopped.set()
        self._thread.join()


class DrawnVideo:
    """Draws and encodes in a thread of its own."""

    def __init__(self, path: Path, reader: VideoReader, labels: tuple[str, ...],
                 record: RunRecord) -> None:
        self._writer = VideoWriter(path, reader.width, reader.height, reader.fps)
        self._annotator = Annotator(labels)
        self._record = record
        self._queue: queue.Queue[tuple[DecodedFrame, FrameResult, str] | None] = queue.Queue(
            WRITE_BEHIND
        )
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._encode, name="encode", daemon=True)
        self._thread.start()

    def add(self, frame: DecodedFrame, result: FrameResult, caption: str) -> None:
        """Queue one frame; raises what went wrong with an earlier one."""
        if self._fault is not None:
            raise self._fault
        self._queue.put((frame, result, caption))

    def _encode(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._fault is not None:
                continue  # keep emptying the queue, so that nobody waits for ever
            try:
                frame, result, caption = item
                start = time.perf_counter()
                image = self._annotator.draw(frame.image, result.tracks, caption)
                drawn = time.perf_counter()
                self._writer.write(image)
                self._record.add_stage("draw", (drawn - start) * 1e3)
                self._record.add_stage("encode", (time.perf_counter() - drawn) * 1e3)
            except BaseException as error:  # handed over to the thread that adds
                self._fault = error

    def close(self) -> None:
        """Finish the queue and make the file playable."""
        self._queue.put(None)
        self._thread.join()
        self._writer.close()
        if self._fault is not None:
            raise self._fault


@contextmanager
def _video(path: Path | None, reader: VideoReader, labels: tuple[str, ...],
           record: RunRecord) -> Iterator[DrawnVideo | None]:
    if path is None:
        yield None
        return
    video = DrawnVideo(path, reader, labels, record)
    try:
        yield video
    finally:
        video.close()


def run_video(
    pipeline: VideoPipeline,
    reader: VideoReader,
    annotated: Path | None = None,
    limit: int | None = None,
    progress: Callable[[RunRecord], None] | None = None,
) -> RunRecord:
    """Analyse the frames of a video, writing the annotated one where asked.

    Ctrl-C ends the run early: the video stays playable and the record says ``interrupted``.
    """
    record = RunRecord()
    start = time.perf_counter()
    source = FrameSource(reader, limit)
    try:
        with _video(annotated, reader, pipeline.labels, record) as video:
            _analyse(pipeline, source, video, record, start, progress)
    except KeyboardInterrupt:
        record.partial = "interrupted"
    finally:
        source.stop()
        record.seconds = time.perf_counter() - start
        record.note_memory()
    if reader.broken:
        record.partial = record.partial or reader.broken
    return record


def _analyse(
    pipeline: VideoPipeline, source: FrameSource, video: DrawnVideo | None, record: RunRecord,
    start: float, progress: Callable[[RunRecord], None] | None,
) -> None:
    last_time = 0.0
    for frame, decode_ms, ready in source:
        record.frames += 1
        result = pipeline.analyse(frame.image, max(frame.time - last_time, 1e-3))
        last_time = frame.time
        done = time.perf_counter()
        record.add_stage("decode", decode_ms)
        record.add(result, (done - ready) * 1e3)
        record.seconds = done - start
        if video is not None:
            video.add(frame, result, f"{record.fps:.0f} FPS  {len(result.tracks)} tracks")
        if record.frames % MEMORY_EVERY == 1:
            record.note_memory()
        if progress is not None:
            progress(record)
