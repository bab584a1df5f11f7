"""Phase 1's pre- and postprocessing against scalar references and closed forms."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.phase1_basics.image_input import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageInput,
    guess_image_input,
    image_files,
    prepare_image,
    read_image,
)
from solutions.phase1_basics.model_loader import (
    OnnxModel,
    as_probabilities,
    centre_crop,
    letterbox,
    normalise,
    resize,
    softmax,
    to_nchw,
    to_nhwc,
    top_k,
)
from solutions.phase1_basics.preprocessing import resize_short_side, triangle_weights
from solutions.phase1_basics.tensor_spec import TensorSpec
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


@pytest.mark.parametrize(
    "shape", [(37, 61), (224, 224), (500, 333), (10, 10), (1, 7), (480, 20)], ids=str
)
@pytest.mark.parametrize("size", [(16, 24), (224, 224), (61, 37), (1, 1)], ids=str)
def test_resize_equals_pillow_up_to_rounding(shape, size) -> None:
    from PIL import Image

    pixels = np.random.default_rng(5).integers(0, 256, (*shape, 3), np.uint8)
    expected = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    found = resize(pixels, *size)
    assert found.shape == (size[1], size[0], 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_resize_keeps_grey_images_and_refuses_empty_ones() -> None:
    grey = np.random.default_rng(6).integers(0, 256, (9, 13), np.uint8)
    np.testing.assert_array_equal(resize(grey, 13, 9), grey)
    np.testing.assert_array_equal(resize(grey[..., None], 20, 5)[..., 0], resize(grey, 20, 5))
    with pytest.raises(InferenceError, match="0x5"):
        resize(np.zeros((5, 0, 3), np.uint8), 3, 3)


@settings(max_examples=40, deadline=None)
@given(old=st.integers(1, 300), new=st.integers(1, 300))
def test_every_new_pixel_is_a_mean_of_old_ones(old, new) -> None:
    weights = triangle_weights(old, new).toarray()
    assert weights.shape == (new, old) and weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(300, 400), (401, 300), (100, 90), (33, 500)], ids=str)
def test_preparation_equals_torchvisions(shape) -> None:
    """Resize, centre crop, scale, normalise, layout: torchvision's preset does the same."""
    import torch
    from PIL import Image
    from torchvision.transforms._presets import ImageClassification

    rgb = np.random.default_rng(7).integers(0, 256, (*shape, 3), np.uint8)
    rgb = cv2.GaussianBlur(rgb, (5, 5), 0)
    preset = ImageClassification(crop_size=112, resize_size=128)
    expected = preset(Image.fromarray(rgb))[None].numpy()
    want = ImageInput(112, 112, "crop", 128, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    found = prepare_image(rgb[..., ::-1], want)
    level = 1 / 255 / min(IMAGENET_STD)  # one step of a pixel
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1.01 * level)
    assert np.abs(found - expected).mean() < 0.01 * level
    assert torch.from_numpy(found).is_contiguous()


@pytest.mark.parametrize("shape", [(30, 40), (11, 40), (7, 7), (13, 8)], ids=str)
@pytest.mark.parametrize("size", [(10, 10), (9, 12), (14, 5)], ids=str)
def test_centre_crop_equals_torchvisions(shape, size) -> None:
    import torch
    from torchvision.transforms.functional import center_crop

    pixels = np.random.default_rng(8).integers(0, 256, (*shape, 3), np.uint8)
    expected = center_crop(torch.from_numpy(pixels.transpose(2, 0, 1)), [size[1], size[0]])
    np.testing.assert_array_equal(
        centre_crop(pixels, *size), expected.numpy().transpose(1, 2, 0)
    )


def test_the_short_side_decides() -> None:
    image = np.zeros((300, 200, 3), np.uint8)
    assert resize_short_side(image, 50).shape == (75, 50, 3)
    assert resize_short_side(image.transpose(1, 0, 2), 50).shape == (50, 75, 3)


def test_channels_last_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (4, 5, 3), np.uint8)
    batch = to_nhwc(pixels)
    assert batch.dtype == np.float32 and batch.flags.c_contiguous
    np.testing.assert_array_equal(batch, pixels[None])
    np.testing.assert_array_equal(batch.transpose(0, 3, 1, 2), to_nchw(pixels))


def test_colours_and_ranges_of_a_prepared_image() -> None:
    blue = np.zeros((8, 8, 3), np.uint8)
    blue[..., 0] = 255
    found = {
        color: prepare_image(blue, ImageInput(8, 8, "stretch", color=color))[0].mean(axis=(1, 2))
        for color in ("bgr", "rgb", "grey")
    }
    np.testing.assert_allclose(found["bgr"], [1, 0, 0])
    np.testing.assert_allclose(found["rgb"], [0, 0, 1])
    np.testing.assert_allclose(found["grey"], [29 / 255], atol=1e-6)  # ITU-R BT.601: 0.114
    boxed = prepare_image(blue[:4], ImageInput(8, 8, "topleft", color="bgr", top=255.0))
    assert boxed[0, 0, 0, 0] == 255 and (boxed[0, :, 7] == 114).all()


def test_the_shape_of_an_input_tells_its_layout() -> None:
    def guess(*shape):
        return guess_image_input(TensorSpec("x", shape, "float32"))

    assert guess(None, 3, 224, 160).layout == "nchw"
    assert (guess(None, 3, 224, 160).height, guess(None, 3, 224, 160).width) == (224, 160)
    assert guess(1, 96, 96, 3).layout == "nhwc"
    assert guess(1, 1, 28, 28).color == "grey" and guess(1, 28, 28, 1).color == "grey"
    assert guess(None, 3, None, None).width == 224
    for shape in ((1, 10), (1, 4, 8, 8)):
        with pytest.raises(InferenceError, match="input x"):
            guess(*shape)


def test_bad_pictures_are_named(tmp_path) -> None:
    for name, content in {"empty.png": b"", "text.jpg": b"no picture"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InferenceError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(InferenceError, match=r"gone\.jpg: No such file"):
        read_image(tmp_path / "gone.jpg")
    assert [path.name for path in image_files(tmp_path)] == ["empty.png", "text.jpg"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InferenceError, match="holds no picture"):
        image_files(tmp_path / "none")
    with pytest.raises(InferenceError, match="no such folder"):
        image_files(tmp_path / "absent")


def test_softmax_against_scipy_along_any_axis() -> None:
    from scipy.special import softmax as expected

    logits = np.random.default_rng(10).normal(0, 20, (3, 4, 5)).astype(np.float32)
    for axis in (0, 1, -1):
        np.testing.assert_allclose(
            softmax(logits, axis), expected(logits, axis), rtol=1e-4, atol=1e-7
        )


def test_probabilities_whatever_the_network_gives() -> None:
    from scipy.special import log_softmax
    from scipy.special import softmax as expected

    logits = np.random.default_rng(11).normal(0, 3, (4, 10)).astype(np.float32)
    wanted = expected(logits, -1)
    for scores in (logits, wanted, log_softmax(logits, -1)):
        np.testing.assert_allclose(as_probabilities(scores), wanted, rtol=1e-4, atol=1e-6)
    bytes_of = np.rint(wanted * 256) / 256
    np.testing.assert_array_equal(as_probabilities(bytes_of), bytes_of.astype(np.float32))
