"""Scores a detector on held-out streets with library parts only: OpenCV's NMS, COCO's metrics.

It shares no code with the solutions, so it is an oracle for them too.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError
from zoo.evaluate import DetectionScores, FrameBoxes, detection_scores
from zoo.registry import ModelEntry, cache_folder, fetch
from zoo.street import CLASSES, FrameTruth, StreetConfig, materialise

FIRST_SEED = 100  # streets 100, 101, ... of the test split
SCORE, OVERLAP, MOST = 0.01, 0.6, 300


Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def onnx_network(path: Path) -> Network:
    """An ONNX file in ONNX Runtime, on one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda blob: np.asarray(session.run(None, {name: blob})[0], np.float32)


class LibraryDetector:
    """A detector with the yolox layout, decoded by the book.

    ``network``: what is to be run instead of the entry's file (a quantized variant of it), from
    float32 [1, 3, h, w] to float32 [1, cells, 5 + classes].
    """

    def __init__(self, entry: ModelEntry, network: Network | None = None) -> None:
        if entry.input is None or entry.layout != "yolox":
            raise InferenceError(f"{entry.name} is no detector")
        self.entry, self.want = entry, entry.input
        self.network = network or onnx_network(fetch(entry))

    def __call__(self, image: NDArray[np.uint8]) -> FrameBoxes:
        """All boxes of a frame whose class the street knows."""
        boxes, scores, labels = self.detect(image)
        street = np.array([CLASSES.index(n) if n in CLASSES else -1 for n in self.entry.labels])
        known = street[labels] >= 0
        return FrameBoxes(boxes[known], scores[known], street[labels[known]])

    def detect(self, image: NDArray[np.uint8]) -> FrameBoxes:
        """All boxes of a frame, labels as in the entry."""
        want = self.want
        scale = min(want.width / image.shape[1], want.height / image.shape[0])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        canvas = np.full((want.height, want.width, 3), want.pad, np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(image, size)
        blob = cv2.dnn.blobFromImage(canvas, swapRB=want.color == "rgb")
        raw = self.network(np.asarray(blob, np.float32))[0]
        boxes = self._boxes(raw) / scale
        scores = raw[:, 4:5] * raw[:, 5:]
        labels, best = scores.argmax(axis=1), scores.max(axis=1)
        sizes = boxes[:, 2:] - boxes[:, :2]
        rectangles = np.concatenate([boxes[:, :2], sizes], axis=1)
        likely = np.flatnonzero(best >= SCORE)
        kept: Any = cv2.dnn.NMSBoxesBatched(
            rectangles[likely].tolist(),
            best[likely].tolist(),
            labels[likely].tolist(),
            SCORE,
            OVERLAP,
        )
        chosen = likely[np.asarray(kept, dtype=np.int64).reshape(-1)][:MOST]
        limit = np.array([image.shape[1], image.shape[0]] * 2)
        return FrameBoxes(np.clip(boxes[chosen], 0, limit), best[chosen], labels[chosen])

    def _boxes(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        parts, start = [], 0
        for stride in self.entry.strides:
            columns, rows = self.want.width // stride, self.want.height // stride
            level = (
                raw[start : start + columns * rows].reshape(rows, columns, -1).astype(np.float64)
            )
            start += columns * rows
            x = (level[..., 0] + np.arange(columns)) * stride
            y = (level[..., 1] + np.arange(rows)[:, None]) * stride
            w, h = np.exp(level[..., 2]) * stride, np.exp(level[..., 3]) * stride
            box = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1)
            parts.append(box.reshape(-1, 4))
        return np.concatenate(parts)


def held_out_frames(
    streets: int,
    frames: int,
    step: int = 15,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[NDArray[np.uint8], FrameTruth]]:
    """Every ``step``-th frame of held-out streets at default difficulty, after compression."""
    import av

    for number in range(streets):
        config = StreetConfig(seed=FIRST_SEED + number, frames=frames)
        clip = materialise(config, folder or cache_folder() / "streets")
        with av.open(str(clip.video)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index % step == step // 2:
                    image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                    yield image, clip.truth.frames[index]
        if progress is not None:
            progress(number + 1, streets)


def score_detectors(
    entries: list[ModelEntry],
    streets: int,
    frames: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, DetectionScores]:
    """Average precision of each detector on the same frames."""
    detectors = [LibraryDetector(entry) for entry in entries]
    truth: list[FrameTruth] = []
    found: list[list[FrameBoxes]] = [[] for _ in detectors]
    for image, expected in held_out_frames(streets, frames, progress=progress):
        truth.append(expected)
        for detector, boxes in zip(detectors, found, strict=True):
            boxes.append(detector(image))
    return {
        entry.name: detection_scores(truth, boxes)
        for entry, boxes in zip(entries, found, strict=True)
    }
