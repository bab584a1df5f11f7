"""IoU and suppression against torchvision."""

import numpy as np
import pytest
import torch
import torchvision.ops as ops
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.phase4_production.video_analysis.boxes import iou_matrix, non_maximum_suppression


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    low = rng.uniform(0, 60, (count, 2))
    return np.concatenate([low, low + rng.uniform(1, 40, (count, 2))], axis=1).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**31))
def test_iou_equals_torchvision(n, m, seed) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, n), random_boxes(rng, m)
    expected = ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(iou_matrix(a, b), expected, atol=1e-6)


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.array([[5, 5, 5, 5]], np.float32)
    assert iou_matrix(point, point) == 0
    assert iou_matrix(point, np.array([[0, 0, 10, 10]], np.float32)) == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 80), st.integers(1, 4), st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_suppression_equals_torchvision(count, classes, threshold, seed) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count)
    scores = rng.permutation(count).astype(np.float32) / max(count, 1)
    labels = rng.integers(0, classes, count)
    expected = ops.batched_nms(
        torch.from_numpy(boxes),
        torch.from_numpy(scores),
        torch.from_numpy(labels),
        threshold,
    )
    found = non_maximum_suppression(boxes, scores, labels, threshold)
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_a_suppressed_box_suppresses_nobody(threshold) -> None:
    """A chain: the first removes the second, so the third, which only the second covers, stays."""
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    kept = non_maximum_suppression(
        boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, int), threshold
    )
    assert kept.tolist() == ([0, 2] if threshold < 0.4 else [0, 1, 2])
