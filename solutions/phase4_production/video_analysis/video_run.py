"""Runs the pipeline over a video: decode, analyse and encode at the same time.

Three threads, so that decoding and encoding (which release the interpreter's lock) overlap with
the analysis. Memory stays bounded, and so does the age of a result::

    reader: decode, preprocess --[2]--> this thread: analyse --[8]--> writer: draw, encode

As fast as possible, the reader is at most two frames ahead; in real time (``realtime``), it goes on
and the latest frame wins.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

from solutions.phase4_production.video_analysis.annotation import Annotator
from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame, FrameReader
from solutions.phase4_production.video_analysis.frame_samples import FrameSamples
from solutions.phase4_production.video_analysis.interruption import Interruption
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult, VideoPipeline
from solutions.phase4_production.video_analysis.realtime import (
    PATIENCE,
    PacedSource,
    Prepare,
    TimedFrame,
    next_frame,
)
from solutions.phase4_production.video_analysis.run_record import RunRecord
from solutions.phase4_production.video_analysis.video_writer import VideoWriter

AHEAD = 2  # frames, waiting or being decoded
WRITE_BEHIND = 8  # frames
MEMORY_EVERY = 30  # frames between looks at the process's memory
ResultListener = Callable[[DecodedFrame, FrameResult], None]


class FrameSource:
    """Decodes in a thread of its own; iterating gives frames in order.

    A fault while decoding is raised in the iterating thread.
    """

    def __init__(
        self, reader: FrameReader, limit: int | None, stop: Interruption, prepare: Prepare
    ) -> None:
        self._reader, self._stop, self._ended = reader, stop, False
        self._prepare = prepare
        self._taken = threading.Semaphore(AHEAD)  # held while a frame waits or is being decoded
        self._queue: queue.SimpleQueue[TimedFrame | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._decode, args=(reader, limit), name="decode", daemon=True
        )
        self._thread.start()

    def _decode(self, reader: FrameReader, limit: int | None) -> None:
        try:
            frames = reader.frames(limit)
            while self._may_go_on():
                item = next_frame(frames, self._prepare)
                if item is None:
                    break
                self._queue.put(item)
            self._queue.put(None)
        except BaseException as error:  # raised again in the iterating thread
            self._queue.put(error)

    def _may_go_on(self) -> bool:
        while not self._taken.acquire(timeout=PATIENCE):
            if self._ended:
                return False
        return not self._ended

    def __iter__(self) -> Iterator[TimedFrame]:
        while not self._stop:
            try:
                item = self._queue.get(timeout=PATIENCE)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._taken.release()
            yield item

    def close(self) -> None:
        """End the thread, whatever it is doing."""
        self._ended = True
        self._reader.close()  # a live one may wait for a frame that never comes
        self._thread.join()


class FrameSink(Protocol):
    """Where analysed frames go."""

    def add(self, frame: DecodedFrame, result: FrameResult, caption: str) -> None:
        """Take one frame; its image may be drawn on."""

    def close(self) -> None:
        """Finish what was taken; raises what went wrong with it."""


class DrawnSamples:
    """Draws only the frames that the report will show."""

    def __init__(self, annotator: Annotator, samples: FrameSamples) -> None:
        self._annotator, self._samples = annotator, samples

    def add(self, frame: DecodedFrame, result: FrameResult, caption: str) -> None:
        """Keep the frame where it is a telling one."""
        if self._samples.wants(frame.index, len(result.tracks)):
            image = self._annotator.draw(frame.image, result.tracks, caption)
            self._samples.offer(frame.index, frame.time, len(result.tracks), image)

    def close(self) -> None:
        """Nothing to finish."""


class DrawnVideo:
    """Draws and encodes in a thread of its own.

    When that falls behind, adding waits; where the analysis ``may_not_wait``, the frame is left
    out of the video instead.
    """

    def __init__(
        self, writer: VideoWriter, annotator: Annotator, record: RunRecord, may_not_wait: bool
    ) -> None:
        self._writer, self._annotator, self._record = writer, annotator, record
        self._may_not_wait = may_not_wait
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
        try:
            self._queue.put((frame, result, caption), block=not self._may_not_wait)
        except queue.Full:
            self._record.undrawn += 1

    def _encode(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._fault is not None:
                continue  # keep emptying the queue, so that nobody waits for ever
            try:
                self._draw(*item)
            except BaseException as error:  # raised again in the adding thread
                self._fault = error

    def _draw(self, frame: DecodedFrame, result: FrameResult, caption: str) -> None:
        start = time.perf_counter()
        image = self._annotator.draw(frame.image, result.tracks, caption)
        drawn = time.perf_counter()
        self._writer.write(image, frame.time)
        self._record.add_stage("draw", (drawn - start) * 1e3)
        self._record.add_stage("encode", (time.perf_counter() - drawn) * 1e3)
        self._record.samples.offer(frame.index, frame.time, len(result.tracks), image)

    def close(self) -> None:
        """Finish the queue and make the file playable; raises what went wrong."""
        self._queue.put(None)
        self._thread.join()
        try:
            self._writer.close()
        finally:
            if self._fault is not None:
                raise self._fault


def run_video(
    pipeline: VideoPipeline,
    reader: FrameReader,
    annotated: Path | None = None,
    limit: int | None = None,
    progress: Callable[[RunRecord], None] = lambda record: None,
    stop: Interruption | None = None,
    *,
    realtime: bool = False,
    record: RunRecord | None = None,
    listener: ResultListener = lambda frame, result: None,
    annotator: Annotator | None = None,
) -> RunRecord:
    """Analyse the frames of a video, writing the annotated one where asked.

    Once ``stop`` is true, the run ends after the frame at hand: the video is playable and the
    record says ``interrupted``. ``listener`` gets every result. A live source always runs in real
    time. Where the run fails, a ``record`` given has what was measured until then.
    """
    stop = Interruption() if stop is None else stop
    record = RunRecord() if record is None else record
    realtime = realtime or reader.live
    annotator = annotator or Annotator(pipeline.labels)
    sink = _sink(annotated, reader, annotator, record, realtime)
    start = time.perf_counter()
    try:
        prepare = pipeline.detector.prepare
        with (closing(_source(reader, limit, stop, record, realtime, prepare)) as source,
              closing(sink)):
            _analyse(pipeline, source, sink, record, start, progress, listener)
    finally:
        record.seconds = time.perf_counter() - start
        record.frames = record.analysed + record.dropped
        record.note_memory()
    record.partial = "interrupted" if stop else reader.broken or ""
    return record


def _source(
    reader: FrameReader, limit: int | None, stop: Interruption, record: RunRecord, realtime: bool,
    prepare: Prepare,
) -> FrameSource | PacedSource:
    if realtime:
        return PacedSource(reader, limit, stop, record.drops, prepare)
    return FrameSource(reader, limit, stop, prepare)


def _sink(
    annotated: Path | None, reader: FrameReader, annotator: Annotator, record: RunRecord,
    realtime: bool,
) -> FrameSink:
    if annotated is None:
        return DrawnSamples(annotator, record.samples)
    writer = VideoWriter(annotated, reader.width, reader.height, reader.fps)
    return DrawnVideo(writer, annotator, record, realtime)


def _analyse(
    pipeline: VideoPipeline, source: FrameSource | PacedSource, sink: FrameSink,
    record: RunRecord, start: float, progress: Callable[[RunRecord], None],
    listener: ResultListener,
) -> None:
    last_time = 0.0
    for frame, prepared, decode_ms, prepare_ms, ready in source:
        result = pipeline.analyse(frame.image, max(frame.time - last_time, 1e-3), prepared)
        last_time = frame.time
        done = time.perf_counter()
        record.add_stage("decode", decode_ms)
        record.add_stage("preprocess", prepare_ms)
        record.add(result, (done - ready) * 1e3, frame.index, frame.time)
        record.frames = record.analysed + record.dropped
        record.seconds = done - start
        listener(frame, result)
        tracks = len(result.tracks)
        caption = f"{record.fps:.0f} FPS | {tracks} track{'' if tracks == 1 else 's'}"
        sink.add(frame, result, caption)
        if record.analysed % MEMORY_EVERY == 1:
            record.note_memory()
        progress(record)
