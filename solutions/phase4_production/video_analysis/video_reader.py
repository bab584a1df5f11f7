"""Frames from a video file, with their times, and a clear word where there are none."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from zoo.errors import InferenceError


class DecodedFrame(NamedTuple):
    """One frame of a video."""

    index: int  # from 0
    time: float  # seconds since the first frame
    image: NDArray[np.uint8]  # [H, W, 3] BGR


class VideoReader:
    """Decodes a video file from its first to its last readable frame.

    Raises InferenceError on opening where the file is missing, empty, no video, or without a
    picture stream. A file that breaks off is read as far as it goes: ``broken`` then says why.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise InferenceError(f"video {path}: no such file")
        if not path.is_file():
            raise InferenceError(f"video {path}: not a file")
        if path.stat().st_size == 0:
            raise InferenceError(f"video {path}: the file is empty")
        self.path = path
        try:
            self._container = av.open(str(path))
        except (FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InferenceError(f"video {path}: not a readable video ({reason})") from error
        if not self._container.streams.video:
            self._container.close()
            raise InferenceError(f"video {path}: has no picture stream")
        self._stream = max(
            self._container.streams.video, key=lambda s: (s.width or 0) * (s.height or 0)
        )
        self._stream.thread_type = "AUTO"
        self.width, self.height = self._stream.width, self._stream.height
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 30)
        self.expected_frames = self._stream.frames or None  # None: the container does not say
        self.broken: str | None = None

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        """The frames in order; at most ``limit``.

        Raises InferenceError where not a single frame can be decoded.
        """
        count, first = 0, None
        try:
            for frame in self._container.decode(self._stream):
                time = frame.time if frame.time is not None else count / self.fps
                first = time if first is None else first
                yield DecodedFrame(count, time - first, frame.to_ndarray(format="bgr24"))
                count += 1
                if count == limit:
                    return
        except FFmpegError as error:
            self.broken = f"decoding stopped after {count} frames: {error.strerror or error}"
        if count == 0:
            raise InferenceError(f"video {self.path}: no frame can be decoded")
        expected = self.expected_frames
        if self.broken is None and expected is not None and count < expected:
            self.broken = f"{count} of {expected} frames could be decoded"

    def close(self) -> None:
        """Release the file."""
        self._container.close()
