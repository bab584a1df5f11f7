"""Frames from a video file, with their times, and a clear word where there are none."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame
from zoo.errors import InferenceError

TEXT_FORMATS = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg would draw the characters


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
            raise InferenceError(f"video {path}: {_why_unreadable(path, error)}") from error
        if self._container.format.name in TEXT_FORMATS:
            self._container.close()
            raise InferenceError(f"video {path}: a text file, no video")
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
        self.live = False

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        """The frames in order; at most ``limit``.

        Raises InferenceError where not a single frame can be decoded.
        """
        count, first, last = 0, None, 0.0
        try:
            for frame in self._container.decode(self._stream):
                time = frame.time if frame.time is not None else count / self.fps
                first = time if first is None else first
                last = time - first
                yield DecodedFrame(count, last, self._pixels(frame))
                count += 1
                if count == limit:
                    return
        except FFmpegError as error:
            self.broken = f"decoding stopped after {count} frames: {error.strerror or error}"
        if count == 0:
            raise InferenceError(f"video {self.path}: no frame can be decoded")
        if self.broken is None and self._ended_early(count, last):
            self.broken = f"{count} of {self.expected_frames} frames could be decoded"

    def _pixels(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Pixels [H, W, 3] BGR in the size of the stream, should it change on the way."""
        same = frame.reformat(self.width, self.height, "bgr24")
        return np.asarray(same.to_ndarray(), np.uint8)

    def _ended_early(self, count: int, last: float) -> bool:
        """Whether frames are missing at the end. Fewer frames than the container counts are no
        proof: an edit list may hide some; then the last one still stands at the end."""
        if self.expected_frames is None or count >= self.expected_frames:
            return False
        if self._stream.duration is None or self._stream.time_base is None:
            return True
        return last + 2.5 / self.fps < float(self._stream.duration * self._stream.time_base)

    def close(self) -> None:
        """Release the file."""
        self._container.close()


def _why_unreadable(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        is_mp4 = file.read(8)[4:] == b"ftyp"
    if is_mp4 and isinstance(error, InvalidDataError):
        return "an MP4 without its index: it was cut off, copy or record it again"
    reason = getattr(error, "strerror", None) or str(error)
    return f"not a readable video ({reason})"
