"""The smallest video with something to see: a white square that moves over a dark ground."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.preprocessing import LetterboxTransform
from solutions.phase4_production.video_analysis.detections import Detections
from solutions.phase4_production.video_analysis.detector import PreparedFrame
from solutions.phase4_production.video_analysis.model_pipeline import VideoPipeline
from solutions.phase4_production.video_analysis.tracker import ByteTracker

WIDTH, HEIGHT, SIDE, FPS = 160, 96, 24, 30


def square_box(index: int) -> tuple[int, int, int, int]:
    """Where the square is in that frame."""
    left = 8 + index % 60 * 2
    return left, 40, left + SIDE, 40 + SIDE


def square_frame(index: int) -> NDArray[np.uint8]:
    """That frame, uint8 [HEIGHT, WIDTH, 3] BGR."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    x1, y1, x2, y2 = square_box(index)
    image[y1:y2, x1:x2] = 235
    return image


def write_square(path: Path, frames: int, index_first: bool = False) -> Path:
    """An MP4 of so many frames; ``index_first`` puts the table of frames before them."""
    options = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "10"}
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(square_frame(index), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class BrightSpot:
    """A detector that finds the bright square by its pixels."""

    labels = ("square", "circle")

    def prepare(self, frame: NDArray[np.uint8]) -> PreparedFrame:
        """The frame itself."""
        height, width = frame.shape[:2]
        same = LetterboxTransform(1.0, 1.0, 0.0, 0.0, width, height)
        return PreparedFrame(frame[None].astype(np.float32), same)

    def infer(self, prepared: PreparedFrame) -> NDArray[np.float32]:
        """Which pixels are bright."""
        return (prepared.batch[0].mean(axis=2) > 128).astype(np.float32)

    def decode(self, raw: NDArray[np.float32], transform: LetterboxTransform) -> Detections:
        """The box around them."""
        rows, columns = np.nonzero(raw)
        if not len(rows):
            return Detections.empty()
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return Detections(
            np.array([box], np.float32), np.array([0.9], np.float32), np.array([0])
        )


def square_pipeline() -> VideoPipeline:
    """A real pipeline around it."""
    return VideoPipeline(BrightSpot(), ByteTracker(2))
