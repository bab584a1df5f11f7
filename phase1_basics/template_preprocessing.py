"""From a camera's pixels to a network's input.

The problem: a network wants one fixed size, layout, colour order and range; a camera delivers
another. Each function here is one step of that translation.

Your part, to be checked by ``course check``:

    1.3 Letterbox: letterbox, LetterboxTransform.to_network, LetterboxTransform.to_image
    1.4 Normalisation and layout: normalise, to_nchw

The idea, an example and the usual mistakes: guidelines.md#13-letterbox
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LetterboxTransform:
    """How an image was placed in a network's input: scaled, then moved by the padding."""

    scale_x: float  # network pixels per image pixel
    scale_y: float
    left: float  # padding before the image, network pixels
    top: float
    width: int  # of the source image, pixels
    height: int

    def to_network(self, boxes: Floats) -> Floats:
        """Boxes xyxy [n, 4] in image pixels, in network pixels."""
        # TODO 1.3 Letterbox
        # 1. Scale, then shift by the padding.
        raise NotImplementedError("exercise 1.3: LetterboxTransform.to_network")

    def to_image(self, boxes: Floats) -> Floats:
        """Boxes xyxy [n, 4] in network pixels, in image pixels, clipped to the image."""
        # TODO 1.3 Letterbox
        # 1. The way back, in the opposite order; then cut the boxes at the image's edges.
        raise NotImplementedError("exercise 1.3: LetterboxTransform.to_image")


class Letterboxed(NamedTuple):
    """An image in a network's input size, and the way back."""

    image: Image  # uint8 [h, w, C]
    transform: LetterboxTransform


def letterbox(
    image: Image,
    width: int,
    height: int,
    position: Literal["topleft", "center"] = "topleft",
    pad: int = 114,
) -> Letterboxed:
    """Scale an image uint8 [H, W, C] to fit into ``height`` x ``width``, keeping its shape.

    The rest is filled with ``pad``: after the image (``topleft``) or equally around it
    (``center``). Bilinear interpolation, as detectors are trained with.

    Raises InferenceError for an empty image.
    """
    # TODO 1.3 Letterbox
    # 1. Find the scale at which the whole image fits: one number for both directions.
    # 2. Round the scaled size to whole pixels, at least 1. Resize with cv2.INTER_LINEAR.
    # 3. Fill a canvas of the network's size with `pad`, and place the image: at the top left, or
    #    with the free pixels halved (rounded down) before it.
    # 4. The transform's scales are those of the rounded size, one for each direction.
    raise NotImplementedError("exercise 1.3: letterbox")


def stretch(image: Image, width: int, height: int) -> Letterboxed:
    """Scale an image uint8 [H, W, C] to exactly ``height`` x ``width``, whatever its shape was.

    Raises InferenceError for an empty image.
    """
    rows, columns = _size(image)
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    transform = LetterboxTransform(width / columns, height / rows, 0.0, 0.0, columns, rows)
    return Letterboxed(np.asarray(resized, np.uint8).reshape(height, width, *image.shape[2:]),
                       transform)


def _size(image: Image) -> tuple[int, int]:
    rows, columns = image.shape[:2]
    if rows == 0 or columns == 0:
        raise InferenceError(f"image of {columns}x{rows} pixels: nothing to analyse")
    return rows, columns


def normalise(
    pixels: NDArray[Any], mean: Sequence[float], std: Sequence[float], top: float = 255.0
) -> Floats:
    """``(pixels / 255 * top - mean) / std`` by channel: [..., C] in 0..255 -> float32 [..., C].

    ``top`` is what a white pixel becomes before the mean is taken off: 1.0 for networks that
    were trained on 0..1, 255.0 for those that take bytes as they are.
    """
    # TODO 1.4 Normalisation and layout
    # 1. Take the pixels to the range 0..top, take the mean of each channel off, divide by its
    #    standard deviation. The result is float32, whatever came in.
    raise NotImplementedError("exercise 1.4: normalise")


def resize(image: Image, width: int, height: int) -> Image:
    """An image uint8 [H, W, C] in another size, as classifiers are trained with.

    Bilinear with antialiasing: where the image shrinks, the triangle that weighs the neighbours
    grows with the step, so that every pixel counts; OpenCV's ``INTER_LINEAR`` always looks at two.
    Pillow and torchvision compute the same, up to one level of rounding in a few pixels.

    Raises InferenceError for an empty image.
    """
    rows, columns = image.shape[:2]
    if rows == 0 or columns == 0:
        raise InferenceError(f"image of {columns}x{rows} pixels: nothing to analyse")
    pixels = image.reshape(rows, columns, -1)
    pixels = _resize_rows(pixels.transpose(1, 0, 2), width).transpose(1, 0, 2)
    return _resize_rows(pixels, height).reshape(height, width, *image.shape[2:])


def _resize_rows(pixels: Image, rows: int) -> Image:
    """uint8 [H, W, C] -> uint8 [rows, W, C], rounded as Pillow does after each direction."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    mixed = np.clip(np.rint(triangle_weights(len(pixels), rows) @ flat), 0, 255)
    result: Image = mixed.astype(np.uint8).reshape(rows, *pixels.shape[1:])
    return result


def triangle_weights(old: int, new: int) -> Any:
    """Sparse [new, old]: how much each old pixel counts for each new one; rows add up to 1.

    New pixel i looks at the old position (i + 0.5) * old / new with a triangle whose half width
    is one pixel, or the step where that is larger.
    """
    from scipy.sparse import csr_array

    step = old / new
    reach = max(step, 1.0)
    centre = (np.arange(new) + 0.5) * step  # [new], in old pixels
    first = np.floor(centre - reach).astype(np.int64)
    at = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)  # [new, neighbours]
    weight = np.maximum(0.0, 1 - np.abs(at + 0.5 - centre[:, None]) / reach)
    weight[(at < 0) | (at >= old)] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(new), at.shape[1])
    kept = weight.ravel() > 0
    entries = (weight.ravel()[kept].astype(np.float32), (rows[kept], at.ravel()[kept]))
    return csr_array(entries, shape=(new, old))


def resize_short_side(image: Image, size: int) -> Image:
    """An image whose shorter side has ``size`` pixels, in its own proportions."""
    rows, columns = image.shape[:2]
    if rows == 0 or columns == 0:
        raise InferenceError(f"image of {columns}x{rows} pixels: nothing to analyse")
    if columns < rows:
        return resize(image, size, int(size * rows / columns))
    return resize(image, int(size * columns / rows), size)


def centre_crop(image: Image, width: int, height: int) -> Image:
    """The middle of an image [H, W, C]; zeros where it is too small."""
    rows, columns = image.shape[:2]
    if rows < height or columns < width:
        above, left = max(0, (height - rows) // 2), max(0, (width - columns) // 2)
        canvas = np.zeros((max(rows, height), max(columns, width), *image.shape[2:]), image.dtype)
        canvas[above : above + rows, left : left + columns] = image
        image, (rows, columns) = canvas, canvas.shape[:2]
    top, left = round((rows - height) / 2), round((columns - width) / 2)
    return image[top : top + height, left : left + width]


def to_nhwc(pixels: NDArray[Any]) -> Floats:
    """One image [H, W, C] as a contiguous float32 batch [1, H, W, C]."""
    return np.ascontiguousarray(pixels[None], dtype=np.float32)


def to_nchw(pixels: NDArray[Any]) -> Floats:
    """One image [H, W, C] as a contiguous float32 batch [1, C, H, W]."""
    # TODO 1.4 Normalisation and layout
    # 1. Bring the channels to the front, add the batch axis. The memory must be contiguous: a
    #    runtime reads it as it lies.
    raise NotImplementedError("exercise 1.4: to_nchw")
