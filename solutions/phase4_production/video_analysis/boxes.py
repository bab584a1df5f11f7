"""Boxes against boxes: intersection over union and non-maximum suppression."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """IoU of every box of a [n, 4] with every box of b [m, 4] (xyxy) -> float32 [n, m].

    A box without area has IoU 0 with everything.
    """
    width = np.minimum(a[:, None, 2], b[:, 2]) - np.maximum(a[:, None, 0], b[:, 0])
    height = np.minimum(a[:, None, 3], b[:, 3]) - np.maximum(a[:, None, 1], b[:, 1])
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b - overlap
    result: Floats = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return result


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
    # In place and without divisions: iou > t where the overlap is > t / (1 + t) of both areas' sum.
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[order].T)
    overlap = np.minimum(x2[:, None], x2)
    overlap -= np.maximum(x1[:, None], x1)
    np.maximum(overlap, 0, out=overlap)
    height = np.minimum(y2[:, None], y2)
    height -= np.maximum(y1[:, None], y1)
    overlap *= height
    share = (x2 - x1) * (y2 - y1) * np.float32(iou_threshold / (1 + iou_threshold))
    suppresses = overlap > share[:, None] + share
    sorted_labels = labels[order]
    suppresses &= sorted_labels[:, None] == sorted_labels
    alive = np.ones(len(order), bool)
    for i in np.flatnonzero(suppresses.sum(axis=1) > 1).tolist():  # more than itself
        if alive[i]:
            alive[i + 1 :] &= ~suppresses[i, i + 1 :]
    return order[alive]
