"""What a network wants for input: from a letterboxed picture to its batch."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.onnx_model import TensorSpec
from zoo.errors import InferenceError
from zoo.registry import InputConvention

DTYPES = {"float": np.float32, "float16": np.float16, "uint8": np.uint8, "double": np.float64}


@dataclass(frozen=True)
class NetworkInput:
    """The convention of the pixels and the layout of the tensor."""

    convention: InputConvention
    channels_last: bool  # [1, h, w, 3] instead of [1, 3, h, w]
    dtype: Any  # of the tensor

    def batch(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """The batch of one picture uint8 [h, w, 3] BGR of the convention's size."""
        want = self.convention
        pixels = image if want.color == "bgr" else image[..., ::-1]
        if self.dtype == np.uint8:
            return np.ascontiguousarray(self._laid_out(pixels))
        if self.channels_last:
            tensor: NDArray[Any] = np.ascontiguousarray(pixels, dtype=np.float32)[None]
        else:
            tensor = np.empty((1, 3, want.height, want.width), np.float32)
            planes = cv2.split(image)
            for channel, plane in enumerate(planes if want.color == "bgr" else planes[::-1]):
                tensor[0, channel] = plane  # converts while it copies
        self._normalise(tensor)
        return tensor if self.dtype == np.float32 else tensor.astype(self.dtype)

    def _laid_out(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return pixels[None] if self.channels_last else pixels.transpose(2, 0, 1)[None]

    def _normalise(self, tensor: NDArray[Any]) -> None:
        """Range, mean and standard deviation by channel, in place."""
        want = self.convention
        top = 255.0 if want.range == "0-255" else 1.0
        scale = np.float32(top / 255.0) / np.asarray(want.std, np.float32)
        offset = np.asarray(want.mean, np.float32) / np.asarray(want.std, np.float32)
        if not self.channels_last:
            scale, offset = scale.reshape(-1, 1, 1), offset.reshape(-1, 1, 1)
        if np.any(scale != 1):
            tensor *= scale
        if np.any(offset != 0):
            tensor -= offset


def input_size(
    spec: TensorSpec, wanted: tuple[int, int] | None, default: tuple[int, int]
) -> tuple[int, int]:
    """Width and height of the picture for an input [1, 3, h, w] or [1, h, w, 3].

    Where the network leaves them open, those wanted or else the default are taken. Raises
    InferenceError where it is no picture's input or its size is another than the wanted.
    """
    shape = spec.shape
    if len(shape) != 4 or shape[0] not in (1, None) or 3 not in (shape[1], shape[3]):
        raise InferenceError(
            f"detector input {spec.name} {shown_shape(spec)}: a picture [1, 3, height, width] or "
            "[1, height, width, 3] is needed"
        )
    height, width = (shape[1], shape[2]) if is_channels_last(spec) else (shape[2], shape[3])
    own = (width or (wanted or default)[0], height or (wanted or default)[1])
    if wanted is not None and own != wanted:
        raise InferenceError(
            f"detector input {spec.name} {shown_shape(spec)} is {own[0]}x{own[1]}, not "
            f"{wanted[0]}x{wanted[1]}: leave --input-size out"
        )
    return own


def is_channels_last(spec: TensorSpec) -> bool:
    """Whether the colours are the last axis."""
    return spec.shape[1] != 3


def tensor_dtype(spec: TensorSpec) -> Any:
    """The NumPy dtype of an input. Raises InferenceError for one that holds no pixels."""
    if spec.dtype not in DTYPES:
        raise InferenceError(f"detector input {spec.name} is {spec.dtype}: pixels need "
                             f"{', '.join(DTYPES)}")
    return DTYPES[spec.dtype]


def shown_shape(spec: TensorSpec) -> str:
    """A shape as people write it: [1, 3, ?, ?]."""
    return f"[{', '.join('?' if size is None else str(size) for size in spec.shape)}]"
