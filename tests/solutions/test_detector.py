"""The yolox decoder against a scalar reference, the detector against library parts."""

import math

import cv2
import numpy as np
import pytest

from solutions.phase4_production.video_analysis.box_decoders import decode_yolox, grid_cells
from solutions.phase4_production.video_analysis.detector import DetectorConfig
from solutions.phase4_production.video_analysis.model_pipeline import build_detector, build_pipeline
from zoo import registry
from zoo.errors import InferenceError
from zoo.score_detector import OVERLAP, LibraryDetector
from zoo.street import Street, StreetConfig


def scalar_decode(raw, strides, width, height, threshold):
    """The definition, one cell at a time."""
    found, cell = [], 0
    for stride in strides:
        for row in range(height // stride):
            for column in range(width // stride):
                x, y, w, h, objectness, *classes = (float(v) for v in raw[cell])
                label = max(range(len(classes)), key=lambda k: classes[k])
                score = objectness * classes[label]
                if score >= threshold:
                    cx, cy = (x + column) * stride, (y + row) * stride
                    half_w, half_h = math.exp(w) * stride / 2, math.exp(h) * stride / 2
                    found.append((cx - half_w, cy - half_h, cx + half_w, cy + half_h, score, label))
                cell += 1
    assert cell == len(raw)
    return np.array(found).reshape(-1, 6)


@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 8, 16, 32)])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.99])
def test_decoding_equals_the_definition(strides, threshold) -> None:
    rng = np.random.default_rng(5)
    cells = grid_cells(strides, 64, 96)
    raw = rng.normal(0, 1, (len(cells), 9)).astype(np.float32)
    raw[:, 4:] = 1 / (1 + np.exp(-raw[:, 4:]))
    expected = scalar_decode(raw, strides, 64, 96, threshold)
    found = decode_yolox(raw, cells, threshold)
    np.testing.assert_allclose(found.boxes, expected[:, :4], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected[:, 4], rtol=1e-5)
    np.testing.assert_array_equal(found.labels, expected[:, 5])


@pytest.mark.parametrize("name", ["zoo:street-small", "zoo:street-middle", "zoo:street-large"])
def test_the_same_boxes_as_library_parts_find(name) -> None:
    ours = build_detector(name, config=DetectorConfig(0.3, iou_threshold=OVERLAP))
    library = LibraryDetector(registry.find(name))
    total = 0
    for seed in (1, 2, 3):
        image, _ = Street(StreetConfig(seed=seed, frames=1)).frame(0)
        expected = library(image)
        strong = expected.scores >= 0.3
        prepared = ours.prepare(image)
        found = ours.decode(ours.infer(prepared), prepared.transform)
        order, wanted = np.argsort(-found.scores), np.argsort(-expected.scores[strong])
        np.testing.assert_allclose(found.scores[order], expected.scores[strong][wanted], atol=1e-4)
        np.testing.assert_allclose(found.boxes[order], expected.boxes[strong][wanted], atol=0.2)
        total += len(found)
    assert total > 10


def test_detections_move_with_the_image() -> None:
    """A picture pasted elsewhere, or larger, gives the same objects there."""
    detector = build_detector("zoo:street-large", config=DetectorConfig(score_threshold=0.5))
    image, _ = Street(StreetConfig(seed=1, frames=1)).frame(0)

    def boxes(picture):
        prepared = detector.prepare(picture)
        return detector.decode(detector.infer(prepared), prepared.transform).boxes

    plain = boxes(image)
    large = boxes(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)) / 2
    assert len(plain) >= 4
    for box in plain:
        assert np.abs(large - box).max(axis=1).min() < 6.0, (box, large)


@pytest.mark.parametrize("name", ["zoo:digits", "people-video", "nothing"])
def test_what_is_no_detector_is_refused(name) -> None:
    with pytest.raises(InferenceError):
        build_pipeline(name)
