"""From a detector's raw output to boxes: one function for each output layout in use.

Every family of detectors writes its answer down in another way::

    yolox    [N, 5 + C]   offsets in a grid cell, log sizes, objectness, classes
    yolov5   [N, 5 + C]   centre and size in pixels, objectness, classes     (also v7)
    yolov8   [4 + C, N]   centre and size in pixels, classes; transposed     (also v9, v11)
    ssd      [N, 4], [N], [N]        corners, class, score; suppressed in the network
    detr     [Q, C + 1], [Q, 4]      logits and centre, size as shares of the picture

All of them come out as :class:`Candidates`. Rows are dropped by score before anything else is
computed, since nearly all of them are background.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


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
    objectness times the best class.
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
    size = np.exp(np.minimum(rows[:, 2:4], 10.0)) * stride
    return Candidates(corners(centre, size), scores, labels.astype(np.int64))


def decode_yolov5(raw: Floats, threshold: float) -> Candidates:
    """Decode YOLOv5's and YOLOv7's output [N, 5 + C] of one image.

    Per row: centre and size in network pixels, objectness, class probabilities (the network's
    last layer applies the anchors itself). The score is objectness times the best class.
    """
    rows = raw[raw[:, 4] >= threshold]
    labels = rows[:, 5:].argmax(axis=1)
    scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + labels]
    kept = scores >= threshold
    rows = rows[kept]
    return Candidates(corners(rows[:, :2], rows[:, 2:4]), scores[kept],
                      labels[kept].astype(np.int64))


def decode_yolov8(raw: Floats, threshold: float) -> Candidates:
    """Decode YOLOv8's output [4 + C, N] of one image: a column per candidate, no objectness.

    Per column: centre and size in network pixels, class probabilities; the best class is the
    score.
    """
    best = raw[4:].max(axis=0)
    likely = np.flatnonzero(best >= threshold)
    columns = raw[:, likely]
    labels = columns[4:].argmax(axis=0)
    return Candidates(corners(columns[:2].T, columns[2:4].T), best[likely],
                      labels.astype(np.int64))


def decode_ssd(boxes: Floats, labels: NDArray[np.int64], scores: Floats,
               threshold: float) -> Candidates:
    """Take the sure ones of boxes xyxy [N, 4] in network pixels, labels [N] and scores [N].

    An SSD (Liu et al., arXiv:1512.02325) that was exported with its anchors and suppression.
    Labels below zero are background and padding.
    """
    kept = (scores >= threshold) & (labels >= 0)
    return Candidates(boxes[kept], scores[kept], labels[kept])


def decode_detr(probabilities: Floats, boxes: Floats, size: tuple[int, int],
                threshold: float) -> Candidates:
    """Decode DETR's queries: class probabilities [Q, C] and boxes [Q, 4] as shares of the input.

    ``size`` is the network's input (width, height). Each query is one object or none, so nothing
    needs suppression (Carion et al., arXiv:2005.12872, section 3).
    """
    best = probabilities.max(axis=1)
    kept = best >= threshold
    scaled = boxes[kept] * np.array(size * 2, np.float32)
    labels = probabilities[kept].argmax(axis=1)
    return Candidates(corners(scaled[:, :2], scaled[:, 2:]), best[kept], labels.astype(np.int64))


def corners(centre: Floats, size: Floats) -> Floats:
    """Centres [k, 2] and sizes [k, 2] as boxes xyxy [k, 4]."""
    half = size * np.float32(0.5)
    return np.concatenate([centre - half, centre + half], axis=1)
