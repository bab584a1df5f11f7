"""Linear and convolution layers that compute with integers only.

The problem: a quantized layer is worth it only if the multiplications themselves are integer.
The idea: with real = scale * (q - zero_point),

    y = sum (x - zx)(w - zw) * sx * sw + bias       one int32 sum, one real factor per channel
      = (sum x*w  -  zx * sum w  + bias_q) * sx*sw   where zw = 0 (symmetric weights)

so the zero point of the input folds into the bias once and for all, and what is left of the
scales is one number, applied when the int32 sum becomes int8 again ("requantization"). Hardware
without floats stores that number as a 31-bit multiplier and a shift.

Source: Jacob et al., arXiv:1712.05877, sections 2.2-2.4; gemmlowp's fixedpoint.h for the rounding;
the ONNX operators QLinearConv and QLinearMatMul for the float variant.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from solutions.phase2_optimization.affine import Floats, QuantParams
from solutions.phase2_optimization.quantized_types import Integers

Int32 = NDArray[np.int32]
LIMIT = 2**31 - 1


class FixedPoint(NamedTuple):
    """A positive real number as multiplier * 2**-31 * 2**-shift; arrays of equal shape."""

    multiplier: Int32  # in [2**30, 2**31)
    shift: Int32  # > 0: to the right


def to_fixed_point(real: NDArray[np.floating]) -> FixedPoint:
    """Write positive numbers as a 31-bit multiplier and a shift (arXiv:1712.05877, equation 6)."""
    if not np.all((real > 0) & np.isfinite(real)):
        raise ValueError(f"a fixed-point multiplier must be positive and finite, not {real}")
    fraction, exponent = np.frexp(np.asarray(real, np.float64))  # real = fraction * 2**exponent
    multiplier = np.rint(fraction * 2.0**31)
    carried = multiplier == 2.0**31  # rounding reached 1.0: one more halving
    multiplier = np.where(carried, 2.0**30, multiplier)
    shift = -(exponent + carried)
    return FixedPoint(multiplier.astype(np.int32), np.asarray(shift, np.int32))


def rounding_doubling_high_multiply(a: Int32, b: Int32) -> Int32:
    """The high 32 bits of 2 * a * b, rounded to nearest: gemmlowp's central operation.

    The one product that does not fit, (-2**31)**2, saturates.
    """
    product = a.astype(np.int64) * b.astype(np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    truncated = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))  # towards zero, as C does
    return np.minimum(truncated, LIMIT).astype(np.int32)


def rounding_shift_right(values: Int32, shift: Int32) -> Int32:
    """Divide by 2**shift, rounded to nearest, halves away from zero; shift in 0..31."""
    wide, bits = values.astype(np.int64), np.asarray(shift, np.int64)
    mask = (np.int64(1) << bits) - 1
    threshold = (mask >> 1) + (wide < 0)
    return ((wide >> bits) + ((wide & mask) > threshold)).astype(np.int32)


def requantize_fixed_point(sums: Int32, factor: FixedPoint, output: QuantParams) -> Integers:
    """int32 sums [..., channels] to the output's type with integers only.

    A factor above 1 shifts the sum to the left first (saturating), below 1 to the right last. The
    two roundings, of the product and of the shift, differ from one rounding in about one of
    2**shift cases, by one step.
    """
    left = np.clip(-factor.shift, 0, 31).astype(np.int64)
    right = np.clip(factor.shift, 0, 31).astype(np.int32)
    widened = np.clip(sums.astype(np.int64) << left, -LIMIT - 1, LIMIT).astype(np.int32)
    high = rounding_doubling_high_multiply(widened, factor.multiplier)
    steps = rounding_shift_right(high, right).astype(np.int64) + output.zero_point
    return _saturate(steps, output)


def requantize_float(sums: Int32, factor: Floats, output: QuantParams) -> Integers:
    """int32 sums [..., channels] times a float32 factor, halves to even: what ONNX defines."""
    steps = np.rint(sums.astype(np.float32) * factor).astype(np.float64) + output.zero_point
    return _saturate(steps, output)


def _saturate(steps: NDArray[np.generic], output: QuantParams) -> Integers:
    clipped: Integers = np.clip(steps, output.kind.low, output.kind.high).astype(
        output.kind.storage
    )
    return clipped


def output_factor(inputs: QuantParams, weights: QuantParams, output: QuantParams) -> Floats:
    """The real factor sx * sw / sy of each output channel, in float32 as ONNX Runtime rounds."""
    return np.asarray(inputs.scale * weights.scale / output.scale, np.float32)


def quantize_bias(bias: Floats, inputs: QuantParams, weights: QuantParams) -> Int32:
    """A bias in units of the int32 sums, sx * sw: int32 [channels], saturated."""
    steps = np.rint(bias.astype(np.float64) / (inputs.scale.astype(np.float64) * weights.scale))
    return np.clip(steps, -LIMIT - 1, LIMIT).astype(np.int32)


def fold_zero_point(weights: Integers, inputs: QuantParams, bias: Int32) -> Int32:
    """The bias [out] with ``- zx * sum(w)`` of weights [out, ...] added, so that raw x suffices."""
    totals = weights.astype(np.int64).reshape(len(weights), -1).sum(axis=1)
    folded: Int32 = (bias - inputs.zero_point * totals).astype(np.int32)
    return folded


def integer_linear(x: Integers, weights: Integers, folded_bias: Int32) -> Int32:
    """int32 sums [n, out] of x [n, in] and symmetric weights [out, in]; see fold_zero_point."""
    sums = x.astype(np.int32) @ weights.astype(np.int32).T + folded_bias
    return np.asarray(sums, np.int32)


class ConvGeometry(NamedTuple):
    """How a window moves over an image: (rows, columns), padding (top, left, bottom, right)."""

    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1


def integer_conv2d(
    x: Integers,
    weights: Integers,
    folded_bias: Int32,
    inputs: QuantParams,
    geometry: ConvGeometry,
) -> Int32:
    """int32 sums [n, out, h', w'] of x [n, in, h, w] and symmetric weights [out, in/groups, r, s].

    Padding is the input's zero *point*: the integer that means 0.0.
    """
    windows = _windows(x, weights.shape[2:], int(inputs.zero_point), geometry)
    per_group = len(weights) // geometry.groups
    parts = []
    for g, window in enumerate(np.split(windows, geometry.groups, axis=1)):
        kernel = weights[g * per_group : (g + 1) * per_group].astype(np.int32)
        parts.append(np.einsum("nchwrs,ocrs->nohw", window, kernel, optimize=True))
    sums = np.concatenate(parts, axis=1) + folded_bias[:, None, None]
    return np.asarray(sums, np.int32)


def _windows(
    x: Integers, kernel: tuple[int, ...], zero_point: int, geometry: ConvGeometry
) -> Int32:
    """Views [n, in, h', w', r, s] of what each output position sees."""
    top, left, bottom, right = geometry.padding
    edges = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(x.astype(np.int32), edges, constant_values=zero_point)
    (dy, dx), (sy, sx) = geometry.dilations, geometry.strides
    reach = ((kernel[0] - 1) * dy + 1, (kernel[1] - 1) * dx + 1)
    views = sliding_window_view(padded, reach, axis=(2, 3))
    seen: Int32 = views[:, :, ::sy, ::sx, ::dy, ::dx]
    return seen
