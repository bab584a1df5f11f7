"""One-stage detectors: a frame in, boxes out.

Steps: letterbox and lay out the pixels (phase 1), run the network, decode its raw output, suppress
duplicates, map the boxes back to the frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.onnx_model import TensorSpec
from solutions.phase1_basics.preprocessing import LetterboxTransform, letterbox, stretch
from solutions.phase4_production.video_analysis.box_decoders import Candidates
from solutions.phase4_production.video_analysis.boxes import non_maximum_suppression
from solutions.phase4_production.video_analysis.detections import Detections
from solutions.phase4_production.video_analysis.detector_layout import Layout, NetworkOutputs
from solutions.phase4_production.video_analysis.network_input import NetworkInput
from zoo.errors import InferenceError

Outputs = Sequence[NDArray[Any]]


class DetectionStage(Protocol):
    """What the pipeline asks of a detector."""

    labels: tuple[str, ...]

    def prepare(self, frame: NDArray[np.uint8]) -> "PreparedFrame":
        """The network's input for a frame uint8 [H, W, 3] BGR."""

    def infer(self, prepared: "PreparedFrame") -> Outputs:
        """The network's raw outputs."""

    def decode(self, raw: Outputs, transform: LetterboxTransform) -> Detections:
        """The objects in the frame."""


class Network(Protocol):
    """What a detector asks of a runtime."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs for one batch."""


class PreparedFrame(NamedTuple):
    """A network's input and the way back to the frame."""

    batch: NDArray[Any]  # [1, 3, h, w] or [1, h, w, 3]
    transform: LetterboxTransform


@dataclass(frozen=True)
class DetectorConfig:
    """Thresholds of a detector."""

    score_threshold: float = 0.1  # weak boxes still help the tracker (ByteTrack)
    iou_threshold: float = 0.5
    max_candidates: int = 500  # before suppression, the best ones


class Detector:
    """A network with what it wants for input and how its outputs are laid out."""

    def __init__(
        self,
        network: Network,
        entry: NetworkInput,
        layout: Layout,
        labels: tuple[str, ...],
        config: DetectorConfig | None = None,
    ) -> None:
        self.network, self.entry, self.layout, self.labels = network, entry, layout, labels
        self.config = config or DetectorConfig()

    def prepare(self, frame: NDArray[np.uint8]) -> PreparedFrame:
        """Letterbox, colour order, range, layout."""
        want = self.entry.convention
        if want.letterbox == "none":
            boxed = stretch(frame, want.width, want.height)
        else:
            boxed = letterbox(frame, want.width, want.height, want.letterbox, want.pad)
        return PreparedFrame(self.entry.batch(boxed.image), boxed.transform)

    def infer(self, prepared: PreparedFrame) -> Outputs:
        """The raw outputs."""
        return self.network.run(prepared.batch)

    def decode(self, raw: Outputs, transform: LetterboxTransform) -> Detections:
        """Boxes in the frame's pixels, best first.

        Raises InferenceError where the network names a class that has no label.
        """
        found = best_candidates(
            self.layout.decode(raw, self.config.score_threshold), self.config.max_candidates
        )
        if len(found.labels) and found.labels.max() >= len(self.labels):
            raise InferenceError(
                f"the detector found class {found.labels.max()}, but there are only "
                f"{len(self.labels)} labels: complete --labels"
            )
        if self.layout.suppress:
            kept = non_maximum_suppression(*found, self.config.iou_threshold)
        else:
            kept = np.argsort(-found.scores, kind="stable")
        boxes = transform.to_image(found.boxes[kept])
        real = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if not real.all():
            boxes, kept = boxes[real], kept[real]
        return Detections(boxes, found.scores[kept], found.labels[kept])


def best_candidates(found: Candidates, count: int) -> Candidates:
    """The ``count`` candidates with the highest scores, in no order; all where there are fewer."""
    if len(found.scores) <= count:
        return found
    best = np.argpartition(-found.scores, count)[:count]
    return Candidates(found.boxes[best], found.scores[best], found.labels[best])


def probe(network: Network, entry: NetworkInput) -> NetworkOutputs:
    """The network's outputs for a blank picture."""
    want = entry.convention
    blank = np.full((want.height, want.width, 3), want.pad, np.uint8)
    values = network.run(entry.batch(blank))
    names = tuple(spec.name for spec in network.outputs)
    return NetworkOutputs(names, tuple(values), want.width, want.height)
