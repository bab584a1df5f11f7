"""Boxes against boxes: intersection over union and non-maximum suppression."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """IoU of every box of a [n, 4] with every box of b [m, 4] (xyxy) -> float32 [n, m].

    A box without area has IoU 0 with everything.
    """
    overlap = overlaps(np.ascontiguousarray(a.T), np.ascontiguousarray(b.T))
    union = areas(a)[:, None] + areas(b)
    union -= overlap
    np.maximum(union, np.finfo(np.float32).tiny, out=union)
    overlap /= union
    return overlap


def overlaps(a: Floats, b: Floats) -> Floats:
    """The areas [n, m] that boxes a [4, n] and b [4, m] have in common."""
    width: Floats = np.minimum(a[2, :, None], b[2])
    width -= np.maximum(a[0, :, None], b[0])
    np.maximum(width, 0, out=width)
    height = np.minimum(a[3, :, None], b[3])
    height -= np.maximum(a[1, :, None], b[1])
    np.maximum(height, 0, out=height)
    width *= height
    return width


def areas(boxes: Floats) -> Floats:
    """Width times height [n] of boxes [n, 4]."""
    size = boxes[:, 2:] - boxes[:, :2]
    product: Floats = size[:, 0] * size[:, 1]
    return product


def non_maximum_suppression(
    boxes: Floats, scores: Floats, labels: NDArray[np.int64], iou_threshold: float
) -> NDArray[np.int64]:
    """Indices of the boxes to keep, best score first; classes do not suppress each other.

    Greedy: the best box stays and removes every box of its class that overlaps it by more than
    ``iou_threshold``, then the best of the rest, and so on. Equal scores: the earlier box wins.
    """
    order = np.argsort(-scores, kind="stable")
    if len(order) < 2:
        return order
    sorted_boxes = boxes[order]
    columns = np.ascontiguousarray(sorted_boxes.T)
    # Without divisions: IoU > t where the overlap is more than t / (1 + t) of both areas' sum.
    share = areas(sorted_boxes) * np.float32(iou_threshold / (1 + iou_threshold))
    suppresses = overlaps(columns, columns) > share[:, None] + share
    sorted_labels = labels[order]
    suppresses &= sorted_labels[:, None] == sorted_labels
    alive = np.ones(len(order), bool)
    for i in np.flatnonzero(suppresses.sum(axis=1) > 1).tolist():  # more than itself
        if alive[i]:
            alive[i + 1 :] &= ~suppresses[i, i + 1 :]
    return order[alive]
