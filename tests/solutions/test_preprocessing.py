"""Phase 1's pre- and postprocessing against scalar references and closed forms."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.phase1_basics.model_loader import (
    OnnxModel,
    letterbox,
    normalise,
    softmax,
    to_nchw,
    top_k,
)
from zoo.errors import InferenceError


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    position=st.sampled_from(["topleft", "center"]),
)
def test_boxes_survive_the_way_there_and_back(width, height, position) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    boxed = letterbox(image, 320, 192, position)
    assert boxed.image.shape == (192, 320, 3)
    rng = np.random.default_rng(width * 1000 + height)
    corners = np.sort(rng.uniform(0, 1, (5, 2, 2)), axis=1)
    boxes = (corners * [width, height]).reshape(5, 4).astype(np.float32)
    back = boxed.transform.to_image(boxed.transform.to_network(boxes))
    np.testing.assert_allclose(back, boxes, atol=1e-3 * max(width, height))


@pytest.mark.parametrize("position", ["topleft", "center"])
@pytest.mark.parametrize("shape", [(360, 640), (640, 360), (100, 100), (192, 320), (5, 3), (1, 1)])
def test_letterbox_equals_resize_and_border(shape, position) -> None:
    """OpenCV's own resize and border make the same picture."""
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    found = letterbox(image, 320, 192, position, pad=114).image
    scale = min(320 / shape[1], 192 / shape[0])
    columns, rows = max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))
    inner = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    left = (320 - columns) // 2 if position == "center" else 0
    top = (192 - rows) // 2 if position == "center" else 0
    expected = cv2.copyMakeBorder(
        inner,
        top,
        192 - rows - top,
        left,
        320 - columns - left,
        cv2.BORDER_CONSTANT,
        value=(114, 114, 114),
    )
    np.testing.assert_array_equal(found, expected)


def test_a_bright_square_lands_where_its_box_says() -> None:
    image = np.zeros((400, 600, 3), np.uint8)
    image[100:220, 300:420] = 255
    boxed = letterbox(image, 320, 192, "center", pad=0)
    ys, xs = np.nonzero(boxed.image[..., 0] > 127)
    box = boxed.transform.to_network(np.array([[300, 100, 420, 220]], np.float32))[0]
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], box, atol=1.0)


def test_boxes_are_clipped_to_the_image() -> None:
    transform = letterbox(np.zeros((100, 200, 3), np.uint8), 320, 192).transform
    box = transform.to_image(np.array([[-50, -5, 500, 300]], np.float32))[0]
    np.testing.assert_array_equal(box, [0, 0, 200, 100])


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(InferenceError, match="0x5"):
        letterbox(np.zeros((5, 0, 3), np.uint8), 320, 192)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_normalise_by_scalar_arithmetic(top) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, 5, 3), np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 2.0, 4.0)
    found = normalise(pixels, mean, std, top)
    assert found.dtype == np.float32
    for (y, x, c), value in np.ndenumerate(pixels):
        expected = (float(value) / 255 * top - mean[c]) / std[c]
        assert found[y, x, c] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_normalise_leaves_bytes_as_they_are_where_nothing_is_asked() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(normalise(pixels, (0.0,), (1.0,)), pixels.astype(np.float32))


def test_layout_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (4, 5, 3), np.uint8)
    batch = to_nchw(pixels)
    assert batch.shape == (1, 3, 4, 5) and batch.dtype == np.float32 and batch.flags.c_contiguous
    for (y, x, c), value in np.ndenumerate(pixels):
        assert batch[0, c, y, x] == value


def test_softmax_against_torch_and_at_the_edges() -> None:
    import torch

    logits = np.random.default_rng(4).normal(0, 5, (7, 10)).astype(np.float32)
    expected = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-5, atol=1e-7)
    huge = softmax(np.array([1e4, 1e4, -1e4], np.float32))
    np.testing.assert_allclose(huge, [0.5, 0.5, 0.0])


def test_top_k_is_ordered_and_stable() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.05, 0.05], np.float32)
    ranked = top_k(scores, list("abcde"), 3)
    assert [r.label for r in ranked] == ["b", "c", "a"]
    assert [r.label for r in top_k(scores, list("abcde"), 99)] == list("bcade")
    with pytest.raises(InferenceError, match="2 labels for 5"):
        top_k(scores, ["a", "b"])


def test_a_missing_or_broken_model_is_named(tmp_path) -> None:
    with pytest.raises(InferenceError, match=r"absent\.onnx: no such file"):
        OnnxModel(tmp_path / "absent.onnx")
    for content in (b"", b"not a model", b"\x08\x07" * 500):
        path = tmp_path / "broken.onnx"
        path.write_bytes(content)
        with pytest.raises(InferenceError, match=r"broken\.onnx is not a usable ONNX file"):
            OnnxModel(path)
