"""Frames from a webcam, through OpenCV: it knows the cameras of Linux, macOS and Windows."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame
from zoo.errors import InferenceError

USUAL_FPS = 30.0


class CameraReader:
    """Reads a webcam until it is unplugged; times are those at which frames arrive.

    Reading blocks; ``StreamReader`` wraps it. Raises InferenceError where there is no such camera
    or it gives no picture.
    """

    def __init__(self, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self._clock = f"webcam {number}", clock
        self.broken: str | None = None
        self.live = True
        self.expected_frames: int | None = None
        device = Path(f"/dev/video{number}")
        if sys.platform == "linux" and not device.exists():
            raise InferenceError(f"{self.name}: there is no camera {device}")
        self._capture = _open_quietly(number)
        seen, image = self._capture.read()
        if not seen:
            self._capture.release()
            raise InferenceError(f"{self.name}: cannot be opened or gives no picture")
        self._image = np.asarray(image, np.uint8)
        self._start = clock()
        self.height, self.width = self._image.shape[:2]
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps <= 1000 else USUAL_FPS

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        """Frames as they come; at most ``limit``."""
        yield DecodedFrame(0, 0.0, self._image)
        count, last = 1, 0.0
        while count != limit:
            seen, image = self._capture.read()
            if not seen:
                self.broken = "the camera stopped"
                return
            last = max(self._clock() - self._start, last + 1e-3)
            yield DecodedFrame(count, last, np.asarray(image, np.uint8))
            count += 1

    def close(self) -> None:
        """Let the camera go."""
        self._capture.release()


def _open_quietly(number: int) -> cv2.VideoCapture:
    """OpenCV would print warnings of its own."""
    log = cv2.utils.logging
    before = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(number)
    finally:
        log.setLogLevel(before)
