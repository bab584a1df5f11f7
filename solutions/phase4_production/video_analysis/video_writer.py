"""H.264 video that plays even when the run was cut short."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from zoo.errors import InferenceError


class VideoWriter:
    """Encodes BGR frames into an MP4; ``close`` makes the file whole.

    Raises InferenceError where the file cannot be made or the disk is full.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self.path = path
        self._container = av.open(str(path), "w")
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height = width, height
        even = width % 2 == 0 and height % 2 == 0
        self._stream.pix_fmt = "yuv420p" if even else "yuv444p"
        self._stream.options = {"crf": "23", "preset": "ultrafast", "tune": "fastdecode"}
        self._stream.codec_context.thread_count = 1
        try:
            self._container.start_encoding()  # opens the file
        except (FFmpegError, OSError) as error:
            raise self._fault(error) from error

    def write(self, image: NDArray[np.uint8]) -> None:
        """Encode one frame uint8 [H, W, 3] BGR of the size given at the start."""
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        try:
            self._container.mux(self._stream.encode(frame))
        except (FFmpegError, OSError) as error:
            raise self._fault(error) from error

    def close(self) -> None:
        """Flush the encoder and write the index."""
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
        except (FFmpegError, OSError) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> InferenceError:
        reason = getattr(error, "strerror", None) or str(error)
        return InferenceError(f"annotated video {self.path}: cannot be written ({reason})")
