"""One-stage detectors: a frame in, boxes out.

Steps: letterbox and lay out the pixels (phase 1), run the network, decode its raw grid, suppress
duplicates, map the boxes back to the frame.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.onnx_model import OnnxModel
from solutions.phase1_basics.preprocessing import (
    LetterboxTransform,
    letterbox,
    normalise,
    to_nchw,
)
from solutions.phase4_production.video_analysis.boxes import non_maximum_suppression
from solutions.phase4_production.video_analysis.detections import Detections
from zoo.errors import InferenceError
from zoo.registry import InputConvention

Floats = NDArray[np.float32]


class DetectionStage(Protocol):
    """What the pipeline asks of a detector."""

    labels: tuple[str, ...]

    def prepare(self, frame: NDArray[np.uint8]) -> "PreparedFrame":
        """The network's input for a frame uint8 [H, W, 3] BGR."""

    def infer(self, prepared: "PreparedFrame") -> Floats:
        """The network's raw output."""

    def decode(self, raw: Floats, transform: LetterboxTransform) -> Detections:
        """The objects in the frame."""


class PreparedFrame(NamedTuple):
    """A network's input and the way back to the frame."""

    batch: Floats  # [1, 3, h, w]
    transform: LetterboxTransform


class Candidates(NamedTuple):
    """Boxes above the score threshold, before suppression."""

    boxes: Floats  # [k, 4] xyxy, network pixels
    scores: Floats  # [k]
    labels: NDArray[np.int64]  # [k]


def grid_cells(strides: tuple[int, ...], width: int, height: int) -> Floats:
    """Column, row and stride of each cell [N, 3]: levels in the order given, row by row."""
    levels = []
    for stride in strides:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        size = np.full(rows.size, stride)
        levels.append(np.stack([columns.ravel(), rows.ravel(), size], axis=1))
    return np.concatenate(levels).astype(np.float32)


def decode_yolox(raw: Floats, cells: Floats, threshold: float) -> Candidates:
    """Decode the raw YOLOX grid [N, 5 + C] of one image.

    Per cell: offset of the centre from the cell's corner and log of the size, both in strides,
    objectness, class probabilities (Ge et al., arXiv:2107.08430, section 2.1). The score is
    objectness times the best class. Cells are dropped by score before anything is decoded.
    """
    likely = np.flatnonzero(raw[:, 4] >= threshold)
    rows = raw[likely]
    labels = rows[:, 5:].argmax(axis=1)
    scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + labels]
    kept = scores >= threshold
    rows, labels, scores = rows[kept], labels[kept], scores[kept]
    cell = cells[likely[kept]]
    stride = cell[:, 2:]
    centre = (rows[:, :2] + cell[:, :2]) * stride
    half = np.exp(np.minimum(rows[:, 2:4], 10.0)) * stride / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return Candidates(boxes, scores, labels.astype(np.int64))


@dataclass(frozen=True)
class DetectorConfig:
    """Thresholds of a detector."""

    score_threshold: float = 0.1  # weak boxes still help the tracker (ByteTrack)
    iou_threshold: float = 0.5
    max_candidates: int = 500  # before suppression, the best ones


class YoloxDetector:
    """A detector with the YOLOX output grid.

    Raises InferenceError where the model's output does not fit its strides and labels.
    """

    def __init__(
        self,
        model: OnnxModel,
        convention: InputConvention,
        strides: tuple[int, ...],
        labels: tuple[str, ...],
        config: DetectorConfig | None = None,
    ) -> None:
        self.model, self.convention, self.labels = model, convention, labels
        self.config = config or DetectorConfig()
        self.cells = grid_cells(strides, convention.width, convention.height)
        blank = np.zeros((1, 3, convention.height, convention.width), np.float32)
        shape = model.run(blank)[0].shape
        expected = (1, len(self.cells), 5 + len(labels))
        if shape != expected:
            raise InferenceError(
                f"detector output {shape} does not fit the yolox layout: {len(labels)} labels and "
                f"strides {strides} at {convention.width}x{convention.height} ask for {expected}"
            )

    def prepare(self, frame: NDArray[np.uint8]) -> PreparedFrame:
        """Letterbox, colour order, range, layout."""
        want = self.convention
        position: Literal["topleft", "center"] = (
            "center" if want.letterbox == "center" else "topleft"
        )
        boxed = letterbox(frame, want.width, want.height, position, want.pad)
        pixels = boxed.image if want.color == "bgr" else boxed.image[..., ::-1]
        top = 255.0 if want.range == "0-255" else 1.0
        batch = to_nchw(normalise(pixels, want.mean, want.std, top))
        return PreparedFrame(batch, boxed.transform)

    def infer(self, prepared: PreparedFrame) -> Floats:
        """The raw grid [N, 5 + C]."""
        grid: Floats = self.model.run(prepared.batch)[0][0]
        return grid

    def decode(self, raw: Floats, transform: LetterboxTransform) -> Detections:
        """Boxes in the frame's pixels, best first."""
        config = self.config
        found = decode_yolox(raw, self.cells, config.score_threshold)
        if len(found.scores) > config.max_candidates:
            best = np.argpartition(-found.scores, config.max_candidates)[: config.max_candidates]
            found = Candidates(found.boxes[best], found.scores[best], found.labels[best])
        kept = non_maximum_suppression(*found, config.iou_threshold)
        boxes = transform.to_image(found.boxes[kept])
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return Detections(boxes[real], found.scores[kept][real], found.labels[kept][real])
