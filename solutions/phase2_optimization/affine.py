"""Affine quantization: real = scale * (integer - zero_point).

The problem: eight bits instead of 32. The idea: cut a range of real numbers into equal steps and
store the number of the step. Symmetric (zero_point at the middle: products need no correction) for
weights, asymmetric (the whole range is used) for activations, which are often one-sided. Zero
itself is always a step, since padding and ReLU produce it exactly.

Source: Jacob et al., arXiv:1712.05877, section 2.1; Krishnamoorthi, arXiv:1806.08342, section 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solutions.phase2_optimization.quantized_types import Integers, QuantizedType

Floats = NDArray[np.float32]
SMALLEST, LARGEST = 2.0**-100, 2.0**122  # scales; of float32 numbers none is larger


@dataclass(frozen=True)
class QuantParams:
    """Scale and zero point of a tensor: scalars, or one each per index along ``axis``."""

    scale: Floats  # [] or [channels], > 0
    zero_point: NDArray[np.int32]  # same shape, within the type's range
    kind: QuantizedType
    axis: int | None = None

    def __post_init__(self) -> None:
        assert self.scale.shape == self.zero_point.shape, (self.scale.shape, self.zero_point.shape)
        assert self.scale.ndim == (0 if self.axis is None else 1), (self.scale.shape, self.axis)
        assert np.all(self.scale > 0) and np.all(np.isfinite(self.scale)), self.scale
        assert np.all(self.zero_point >= self.kind.low), self.zero_point
        assert np.all(self.zero_point <= self.kind.high), self.zero_point

    def beside(self, ndim: int) -> tuple[Floats, NDArray[np.int32]]:
        """Scale and zero point in a shape that broadcasts against a tensor of ``ndim`` axes."""
        if self.axis is None:
            return self.scale, self.zero_point
        shape = [1] * ndim
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


def symmetric_params(
    low: ArrayLike, high: ArrayLike, kind: QuantizedType, axis: int | None = None
) -> QuantParams:
    """The range -m..m with m = max(|low|, |high|), zero at the middle of the type.

    A signed type uses -127..127, one step less than it has, so that both sides are alike. A range
    of nothing but zero gets scale 1. ``low`` and ``high``: scalars, or [channels] with ``axis``.
    """
    most = np.maximum(np.abs(np.asarray(low, np.float64)), np.abs(np.asarray(high, np.float64)))
    middle = 0 if kind.signed else (kind.low + kind.high + 1) // 2
    scale = _usable(most / (kind.high - middle))
    return QuantParams(scale, np.full(scale.shape, middle, np.int32), kind, axis)


def asymmetric_params(
    low: ArrayLike, high: ArrayLike, kind: QuantizedType, axis: int | None = None
) -> QuantParams:
    """The range low..high, widened to hold zero; the zero point is the step nearest to it."""
    low = np.minimum(np.asarray(low, np.float64), 0.0)
    high = np.maximum(np.asarray(high, np.float64), 0.0)
    scale = _usable((high - low) / kind.levels)
    zero_point = np.clip(np.rint(kind.low - low / scale), kind.low, kind.high)
    return QuantParams(scale, np.asarray(zero_point, np.int32), kind, axis)


def _usable(scale: NDArray[np.float64]) -> Floats:
    """Scale 1 where there is no range; never so small or large that 1 / scale leaves float32."""
    filled = np.where(scale > 0, np.clip(scale, SMALLEST, LARGEST), 1.0)
    return np.asarray(filled, np.float32)


def quantize(values: NDArray[np.floating], params: QuantParams) -> Integers:
    """Nearest steps, halves to even, saturated: what ONNX's QuantizeLinear computes.

    Raises ValueError for NaN, which no integer can stand for; infinities saturate.
    """
    if np.isnan(values).any():
        raise ValueError(f"cannot quantize NaN: {int(np.isnan(values).sum())} of {values.size}")
    scale, zero_point = params.beside(values.ndim)
    steps = np.rint(values.astype(np.float32) / scale) + zero_point
    quantized: Integers = np.clip(steps, params.kind.low, params.kind.high).astype(
        params.kind.storage
    )
    return quantized


def dequantize(integers: NDArray[np.integer], params: QuantParams) -> Floats:
    """The real numbers that the integers stand for."""
    scale, zero_point = params.beside(integers.ndim)
    return np.asarray((integers.astype(np.int32) - zero_point).astype(np.float32) * scale)


def fake_quantize(values: Floats, params: QuantParams) -> Floats:
    """Quantize and dequantize: the values with their quantization error, still as floats."""
    return dequantize(quantize(values, params), params)


def channel_range(values: Floats, axis: int) -> tuple[Floats, Floats]:
    """Lowest and highest value of each index along an axis: two arrays [channels]."""
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    return values.min(axis=others), values.max(axis=others)


def weight_params(weights: Floats, axis: int, kind: QuantizedType) -> QuantParams:
    """Symmetric parameters per output channel, which is how weights are quantized."""
    low, high = channel_range(weights, axis)
    return symmetric_params(low, high, kind, axis % weights.ndim)
