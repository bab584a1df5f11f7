"""What a network wants its images to look like, and how an image becomes that."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.preprocessing import (
    Floats,
    Image,
    centre_crop,
    letterbox,
    normalise,
    resize,
    resize_short_side,
    to_nchw,
    to_nhwc,
)
from solutions.phase1_basics.tensor_spec import TensorSpec
from zoo.errors import InferenceError
from zoo.registry import InputConvention

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class ImageInput:
    """The steps from a picture to a network's input."""

    width: int
    height: int
    fit: Literal["crop", "stretch", "topleft", "center"] = "crop"  # the last two: letterbox
    short_side: int = 0  # pixels before the crop; 0: the crop's own size
    color: Literal["bgr", "rgb", "grey"] = "rgb"
    top: float = 1.0  # what white becomes before the mean is taken off
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["nchw", "nhwc"] = "nchw"
    pad: int = 114

    @classmethod
    def of_convention(
        cls, want: InputConvention, layout: Literal["nchw", "nhwc"]
    ) -> "ImageInput":
        """As the registry says."""
        fit: Any = "stretch" if want.letterbox == "none" else want.letterbox
        return cls(want.width, want.height, fit, 0, want.color,
                   255.0 if want.range == "0-255" else 1.0, want.mean, want.std, layout, want.pad)

    def __str__(self) -> str:
        return (f"{self.width}x{self.height} {self.color}, {self.fit}, 0..{self.top:g}, mean "
                f"{_figures(self.mean)}, std {_figures(self.std)}, {self.layout}")


def guess_image_input(spec: TensorSpec, size: int = 224) -> ImageInput:
    """By the shape of an input alone: which axis is the channels, grey or colour.

    Colour images are normalised as ImageNet's are, grey ones scaled to 0..1; sizes that are not
    fixed become ``size``. Raises InferenceError where the input is no image.
    """
    if len(spec.shape) != 4:
        raise InferenceError(f"input {spec} is no image: --image cannot be used")
    last = spec.shape[3] in (1, 3) and spec.shape[1] not in (1, 3)
    channels, rows, columns = spec.shape[3 if last else 1], *spec.shape[1:3]
    if not last:
        rows, columns = spec.shape[2:]
    if channels not in (1, 3):
        raise InferenceError(f"input {spec} has {channels} channels: --image gives 1 or 3")
    grey = channels == 1
    return ImageInput(
        columns or size, rows or size, "stretch" if grey else "crop",
        round((rows or size) * 256 / 224), "grey" if grey else "rgb", 1.0,
        (0.0,) if grey else IMAGENET_MEAN, (1.0,) if grey else IMAGENET_STD,
        "nhwc" if last else "nchw",
    )


def read_image(path: Path) -> Image:
    """A picture file as uint8 [H, W, 3] BGR.

    Raises InferenceError, with the file's name, where it is missing, unreadable or no picture.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InferenceError(f"image {path}: {error.strerror}") from error
    if not content.size:
        raise InferenceError(f"image {path} is empty (0 bytes)")
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error as error:  # too many pixels, among others
        raise InferenceError(f"image {path} cannot be decoded: {error.err}") from error
    if image is None:
        raise InferenceError(f"image {path} cannot be decoded: damaged, or no picture")
    return image.astype(np.uint8, copy=False)


def prepare_image(image: Image, want: ImageInput) -> Floats:
    """An image uint8 [H, W, 3] BGR as a batch of one: colour, size, range, layout."""
    if want.color == "grey":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None].astype(np.uint8, copy=False)
    elif want.color == "rgb":
        image = image[..., ::-1]
    sized = _fitted(image, want)
    pixels = normalise(sized, want.mean, want.std, want.top)
    return to_nchw(pixels) if want.layout == "nchw" else to_nhwc(pixels)


def _fitted(image: Image, want: ImageInput) -> Image:
    if want.fit == "stretch":
        return resize(image, want.width, want.height)
    if want.fit == "crop":
        side = want.short_side or min(want.width, want.height)
        return centre_crop(resize_short_side(image, side), want.width, want.height)
    boxed = letterbox(np.ascontiguousarray(image), want.width, want.height, want.fit, want.pad)
    return boxed.image


def image_files(folder: Path) -> list[Path]:
    """The picture files in a folder, by name. Raises InferenceError where there is none."""
    if not folder.is_dir():
        raise InferenceError(f"{folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InferenceError(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
    return found


def blank_input(spec: TensorSpec, rng: np.random.Generator) -> NDArray[Any]:
    """A batch of one of random values: 0..1 for floats, 0 or 1 for integers."""
    sizes = [size or (1 if axis == 0 else 224) for axis, size in enumerate(spec.shape)]
    if spec.numpy_dtype.kind == "f":
        return rng.random(sizes).astype(spec.dtype)
    return rng.integers(0, 2, sizes).astype(spec.dtype)


def _figures(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)
