"""A TFLite file in LiteRT: floats in, floats out, whatever integers the network computes with.

A quantized input or output holds integers q that stand for real values
``real = (q - zero_point) * scale`` (Jacob et al., arXiv:1712.05877, equation 1). The caller need
not know: this model quantizes what goes in and dequantizes what comes out.
"""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.image_input import ImageInput
from solutions.phase1_basics.model import ModelAbout
from solutions.phase1_basics.tensor_spec import TensorSpec, check_batch
from zoo.errors import InferenceError, MissingExtraError


@dataclass(frozen=True)
class TensorQuantization:
    """How a tensor's integers stand for real values; a scale for all, or one for each slice."""

    scale: NDArray[np.float32]  # [1] or [n]
    zero_point: NDArray[np.int64]  # likewise
    axis: int  # of the slices
    dtype: str  # of the integers


def quantize_array(values: NDArray[Any], how: TensorQuantization) -> NDArray[Any]:
    """Real values as integers: ``round(real / scale) + zero_point``, saturated."""
    limits = np.iinfo(how.dtype)
    scale, zero_point = _broadcast(how, values.ndim)
    real = np.rint(values / scale) + zero_point
    result: NDArray[Any] = np.clip(real, limits.min, limits.max).astype(how.dtype)
    return result


def dequantize_array(integers: NDArray[Any], how: TensorQuantization) -> NDArray[np.float32]:
    """Integers as real values: ``(q - zero_point) * scale``."""
    scale, zero_point = _broadcast(how, integers.ndim)
    result: NDArray[np.float32] = ((integers.astype(np.int64) - zero_point) * scale).astype(
        np.float32
    )
    return result


def _broadcast(how: TensorQuantization, dimensions: int) -> tuple[Any, Any]:
    shape = [1] * dimensions
    if how.scale.size > 1:
        shape[how.axis] = how.scale.size
    elif not dimensions:
        shape = [1]
    return how.scale.reshape(shape), how.zero_point.reshape(shape)


class TfliteModel:
    """A TFLite file in LiteRT.

    ``quantization`` holds, for each input, how it is quantized, or None. A batch of another size
    than the file's (mostly 1) makes the interpreter plan its memory anew: ``predict`` runs such
    a batch image by image where the file cannot be resized.

    One call at a time: others wait, since the interpreter holds one set of tensors.

    Raises InferenceError where the file is not a model that the interpreter accepts,
    MissingExtraError without ai-edge-litert.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        try:
            import ai_edge_litert
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingExtraError("ai-edge-litert", "learn") from error
        try:
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InferenceError(f"model {path} is not a usable TFLite file: {error}") from error
        self._turn = threading.Lock()
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.quantization = [_quantization(detail) for detail in self._inputs]
        self._dequantization = [_quantization(detail) for detail in self._outputs]
        self.input_spec = tuple(map(_spec, self._inputs))
        self.output_spec = tuple(map(_spec, self._outputs))
        version = getattr(ai_edge_litert, "__version__", "")
        self.about = ModelAbout(f"LiteRT {version}".strip(), "cpu")

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs, as float32 where they are quantized."""
        if len(inputs) != len(self._inputs):
            raise InferenceError(f"{len(inputs)} inputs given, the model has {len(self._inputs)}")
        with self._turn:
            for number, detail in enumerate(self._inputs):
                batch = check_batch(inputs[number], self.input_spec[number])
                how = self.quantization[number]
                self._interpreter.set_tensor(
                    detail["index"], batch if how is None else quantize_array(batch, how)
                )
            self._interpreter.invoke()
            found = [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs]
        return [
            raw if how is None else dequantize_array(raw, how)
            for raw, how in zip(found, self._dequantization, strict=True)
        ]

    def predict(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The first output for one batch of the first input."""
        fixed = self.input_spec[0].shape[:1]
        if fixed == (1,) and batch.ndim == len(self.input_spec[0].shape) and len(batch) != 1:
            return np.concatenate([self.run(image[None])[0] for image in batch])
        return self.run(batch)[0]

    def image_input(self, guess: ImageInput) -> ImageInput:
        """What a quantized input says of its images: the real values that bytes stand for."""
        how = self.quantization[0]
        if how is None or how.scale.size != 1:
            return guess
        low = float(np.iinfo(how.dtype).min)
        # Pixel p becomes the integer p + low, which stands for (p + low - zero_point) * scale.
        mean = float(how.zero_point[0]) - low
        return replace(guess, top=255.0, mean=(mean,), std=(1 / float(how.scale[0]),))

    def close(self) -> None:
        """Nothing to give back before the model is forgotten."""


def _quantization(detail: dict[str, Any]) -> TensorQuantization | None:
    """None for tensors that are not quantized: scale-less integers are plain integers."""
    found = detail["quantization_parameters"]
    if len(found["scales"]) == 0:
        return None
    return TensorQuantization(
        np.asarray(found["scales"], np.float32),
        np.asarray(found["zero_points"], np.int64),
        int(found["quantized_dimension"]),
        np.dtype(detail["dtype"]).name,
    )


def _spec(detail: dict[str, Any]) -> TensorSpec:
    """As the caller sees it: float32 for a quantized tensor."""
    signature = detail.get("shape_signature")
    sizes = detail["shape"] if signature is None or not len(signature) else signature
    shape = tuple(None if size < 0 else int(size) for size in sizes)
    quantized = _quantization(detail) is not None
    return TensorSpec(detail["name"], shape, "float32" if quantized else _name(detail["dtype"]))


def _name(dtype: Any) -> str:
    return str(np.dtype(dtype).name)
