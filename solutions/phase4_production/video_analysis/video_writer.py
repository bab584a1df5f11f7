"""H.264 video that plays even when the run was cut short.

A plain MP4 keeps its index in memory until the end: without the end it is lost. Here the file is
written in fragments of a second, each with an index of its own, and becomes a plain MP4 when it
is closed (FFmpeg's ``hybrid_fragmented``). If the disk fills or the process is killed, all but the
last second plays.
"""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from zoo.errors import InferenceError

FRAGMENT = 1_000_000  # microseconds
BUFFER = 1 << 20  # bytes: a second of video leaves in one piece
TICKS = 90_000  # per second: the usual clock of video, finer than any frame rate needs


class VideoWriter:
    """Encodes BGR frames into an MP4; ``close`` makes the file whole.

    Raises InferenceError where the file cannot be made or the disk is full; what was written
    until then stays playable.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self.path, self.width, self.height = path, width, height
        self._rate = Fraction(fps).limit_denominator(1001)
        self._count, self._last_tick, self._closed = 0, -1, False
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise self._fault(error) from error
        self._container: OutputContainer | None = None

    def _start(self) -> tuple[OutputContainer, VideoStream]:
        options = {"movflags": "hybrid_fragmented", "frag_duration": str(FRAGMENT)}
        container = av.open(self._file, "w", format="mp4", options=options, buffer_size=BUFFER)
        stream = container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height = self.width, self.height
        even = self.width % 2 == 0 and self.height % 2 == 0
        stream.pix_fmt = "yuv420p" if even else "yuv444p"
        stream.options = {"crf": "23", "preset": "ultrafast", "tune": "fastdecode"}
        context = stream.codec_context
        context.thread_count, context.time_base = 1, Fraction(1, TICKS)
        context.colorspace, context.color_range = Colorspace.SMPTE170M, ColorRange.MPEG
        return container, stream

    def write(self, image: NDArray[np.uint8], time: float | None = None) -> None:
        """Encode one frame uint8 [H, W, 3] BGR of the size given at the start.

        ``time`` is when it is shown, seconds since the first; by default the next beat of the
        rate. A frame that does not come after the one before it is shown a tick later.
        """
        if self._closed:
            raise InferenceError(f"annotated video {self.path}: closed already")
        seconds = self._count / self._rate if time is None else time
        self._last_tick = max(round(seconds * TICKS), self._last_tick + 1)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = self._last_tick, Fraction(1, TICKS)
        try:
            if self._container is None:
                self._container, self._stream = self._start()
            self._container.mux(self._stream.encode(frame))
        except (FFmpegError, OSError) as error:
            self._abandon()
            raise self._fault(error) from error
        self._count += 1

    def close(self) -> None:
        """Flush the encoder and write the index; without a frame there will be no file."""
        if self._closed:
            return
        if self._container is None:
            self._abandon()
            self.path.unlink(missing_ok=True)
            return
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._file.close()
        except (FFmpegError, OSError) as error:
            raise self._fault(error) from error
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Leave the file as it is. It is closed first: then FFmpeg does not try to finish it,
        which would spoil the fragments that are there."""
        self._closed = True
        with suppress(OSError):
            self._file.close()
        if self._container is not None:
            with suppress(FFmpegError, OSError):
                self._container.close()

    def _fault(self, error: Exception) -> InferenceError:
        reason = getattr(error, "strerror", None) or str(error)
        return InferenceError(f"annotated video {self.path}: cannot be written ({reason})")
