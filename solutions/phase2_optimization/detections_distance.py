"""How far a detector's raw output moved when its arithmetic changed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def detections_distance(
    expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]
) -> float:
    """How far scores and boxes moved; cells without objects hardly count. 0: not at all.

    The squared error of the class scores, relative to their squared size, and the squared error of
    the boxes in units of their own width and height, weighted with the squared scores. Outputs: the
    yolox layout, [n, cells, 5 + classes].
    """
    real, other = expected[0].astype(np.float64), found[0].astype(np.float64)
    scores, moved = real[..., 4:5] * real[..., 5:], other[..., 4:5] * other[..., 5:]
    total = max(float(np.square(scores).sum()), 1e-12)
    size = np.exp(np.clip(real[..., 2:4], -8, 8))
    centres = np.square((other[..., :2] - real[..., :2]) / size).sum(axis=-1)
    sizes = np.square(np.clip(other[..., 2:4] - real[..., 2:4], -8, 8)).sum(axis=-1)
    boxes = np.square(scores).sum(axis=-1) * (centres + sizes)
    return float((np.square(moved - scores).sum() + boxes.sum()) / total)
