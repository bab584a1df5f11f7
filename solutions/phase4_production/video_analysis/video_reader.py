"""Frames from a video file or stream, with their times, and a clear word where there are none."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import av
from av.error import FFmpegError

from solutions.phase4_production.video_analysis.frame_clock import FrameClock
from solutions.phase4_production.video_analysis.frame_pixels import PixelConverter, too_large
from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame as DecodedFrame
from solutions.phase4_production.video_analysis.stream_url import StreamUrl
from solutions.phase4_production.video_analysis.video_container import (
    TIMEOUT,
    choose_stream,
    open_file,
    open_url,
    reason_of,
)
from zoo.errors import InferenceError

USUAL_FPS = 30.0  # where a video names no believable rate
MAX_FPS = 1000.0
JUMPING = {"mpegts", "mpeg", "rtsp", "hls"}  # formats whose timestamps may leap
LEAP = 10.0  # seconds
MANY_PIXELS = 1 << 20  # of a frame, from which on decoding it gets more than one thread
BLIND_PACKETS = 1000  # in a row without a frame, after which it is given up


class VideoReader:
    """Decodes a video from its first to its last readable frame.

    Raises InferenceError on opening where the file is missing, empty, no video, or where not a
    single frame can be decoded. What breaks off is read as far as it goes, and what is damaged in
    the middle is left out: ``broken`` then says why. Reading from an address blocks until a frame
    comes or the timeout passes; ``StreamReader`` wraps it for streams that come and go.
    """

    def __init__(
        self, video: Path | StreamUrl, stream: int | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.name = str(video)
        from_network = isinstance(video, StreamUrl)
        self._container = (
            open_url(video, timeout) if isinstance(video, StreamUrl) else open_file(video)
        )
        self._lock, self._closed = threading.Lock(), False
        self.broken: str | None = None
        self._damaged = 0  # packets that could not be decoded
        try:
            self._stream = choose_stream(self._container, self.name, stream)
            self.live = from_network and not self._container.duration
            self._set_threads()
            self.fps = _believable(self._stream.average_rate or self._stream.guessed_rate)
            self.expected_frames = self._stream.frames or None
            self._pixels = PixelConverter()
            self._decoded = self._decode()
            self._first = self._require_first()
        except BaseException:
            self._container.close()
            raise

    def _set_threads(self) -> None:
        """Small frames: one thread, which costs the least CPU. Live: none that waits for more."""
        context = self._stream.codec_context
        if context.width * context.height < MANY_PIXELS:
            context.thread_count = 1
        else:
            context.thread_type = "SLICE" if self.live else "AUTO"

    def _require_first(self) -> DecodedFrame:
        frame = next(self._decoded, None)
        if frame is None:
            why = f" ({self.broken})" if self.broken else ""
            raise InferenceError(f"video {self.name}: no frame can be decoded{why}")
        if reason := too_large(frame.width, frame.height):
            raise InferenceError(f"video {self.name}: {reason}")
        leap = LEAP if self._container.format.name in JUMPING else math.inf
        self._clock = FrameClock(1 / self.fps, leap)
        image = self._pixels.convert(frame)
        self.height, self.width = image.shape[:2]
        return DecodedFrame(0, self._clock.time(_stamp(frame)), image)

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Frames of the stream; packets that cannot be decoded are counted and left out."""
        blind, reason = 0, ""
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except FFmpegError as error:
                    frames, reason = [], reason_of(error)
                    self._damaged += 1
                blind = 0 if frames else blind + 1
                yield from frames
                if blind == BLIND_PACKETS:
                    break
        except (FFmpegError, OSError) as error:
            reason = f"reading stopped: {reason_of(error)}"
        self.broken = reason or None

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        """The frames in order; at most ``limit``."""
        yield self._first
        count, last = 1, 0.0
        while count != limit:
            frame = self._next()
            if frame is None:
                if not self._closed:
                    self._judge(count, last)
                return
            last = self._clock.time(_stamp(frame))
            yield DecodedFrame(count, last, self._pixels.convert(frame))
            count += 1

    def _next(self) -> av.VideoFrame | None:
        with self._lock:
            return None if self._closed else next(self._decoded, None)

    def _judge(self, count: int, last: float) -> None:
        """Say what is missing, now that the end is reached."""
        if self._ended_early(count, last):
            self.broken = f"{count} of {self.expected_frames} frames could be decoded"
        elif self._damaged:
            packets = "packet" if self._damaged == 1 else "packets"
            self.broken = f"{self._damaged} damaged {packets} left out ({self.broken})"

    def _ended_early(self, count: int, last: float) -> bool:
        """Whether frames are missing at the end. Fewer frames than the container counts are no
        proof: an edit list may hide some; then the last one still stands at the end."""
        if self.expected_frames is None or count >= self.expected_frames:
            return False
        if self._stream.duration is None or self._stream.time_base is None:
            return True
        return last + 2.5 / self.fps < float(self._stream.duration * self._stream.time_base)

    def close(self) -> None:
        """Release the file; from another thread it waits for the frame at hand."""
        with self._lock:
            self._closed = True
            self._container.close()


def _stamp(frame: av.VideoFrame) -> float | None:
    """The frame's timestamp, seconds; None where it has none."""
    stamp = frame.pts if frame.pts is not None else frame.dts
    if stamp is None or frame.time_base is None:
        return None
    return float(stamp * frame.time_base)


def _believable(rate: object) -> float:
    fps = float(rate) if rate else USUAL_FPS  # type: ignore[arg-type]
    return fps if 0 < fps <= MAX_FPS else USUAL_FPS
