"""Integer arithmetic against Python's exact integers and ONNX Runtime's QLinear operators."""

import math
from fractions import Fraction

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx import helper as h

from solutions.phase2_optimization.affine import (
    QuantParams,
    asymmetric_params,
    dequantize,
    quantize,
    weight_params,
)
from solutions.phase2_optimization.integer_layers import (
    ConvGeometry,
    fold_zero_point,
    integer_conv2d,
    integer_linear,
    output_factor,
    quantize_bias,
    requantize_fixed_point,
    requantize_float,
    rounding_doubling_high_multiply,
    rounding_shift_right,
    to_fixed_point,
)
from solutions.phase2_optimization.quantized_types import INT8, UINT8

INT32 = st.integers(-(2**31), 2**31 - 1)


def scalar_high_multiply(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul, by exact integers."""
    if a == b == -(2**31):
        return 2**31 - 1
    nudged = a * b + (2**30 if a * b >= 0 else 1 - 2**30)
    return math.trunc(Fraction(nudged, 2**31))


def scalar_shift(x: int, bits: int) -> int:
    """x / 2**bits, rounded to nearest, halves away from zero."""
    exact = Fraction(x, 2**bits)
    return math.floor(abs(exact) + Fraction(1, 2)) * (1 if x >= 0 else -1)


@settings(max_examples=200, deadline=None)
@given(INT32, INT32, st.integers(0, 31))
def test_fixed_point_steps_are_exact(a, b, bits) -> None:
    both = (np.array([a], np.int32), np.array([b], np.int32))
    assert rounding_doubling_high_multiply(*both)[0] == scalar_high_multiply(a, b)
    assert rounding_shift_right(both[0], np.array([bits]))[0] == scalar_shift(a, bits)


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-9, 1e6))
def test_a_real_factor_survives_as_fixed_point(real) -> None:
    point = to_fixed_point(np.array([real]))
    assert 2**30 <= point.multiplier[0] < 2**31
    value = point.multiplier[0] * 2.0 ** -31 * 2.0 ** -float(point.shift[0])
    assert abs(value - real) <= real * 2**-30


def test_factors_that_no_fixed_point_can_hold_are_refused() -> None:
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="positive and finite"):
            to_fixed_point(np.array([bad]))


def test_fixed_point_and_float_requantization_agree_but_for_ties() -> None:
    rng = np.random.default_rng(2)
    output = QuantParams(np.array(0.1, np.float32), np.array(7, np.int32), UINT8)
    for real in (3.1e-5, 1.41421e-3, 2.7e-3, 0.73205, 9.42478):
        reach = 300 / real
        sums = rng.integers(-reach, reach, 20_000).astype(np.int32)
        fixed = requantize_fixed_point(sums, to_fixed_point(np.array(real)), output)
        floating = requantize_float(sums, np.float32(real), output)
        gap = np.abs(fixed.astype(int) - floating)
        assert gap.max() <= 1 and (gap > 0).mean() < max(0.01, 0.3 * min(real, 1))
        assert len(np.unique(fixed)) > 20


def run(nodes, inputs, outputs, constants, feeds, opset=17):
    graph = h.make_graph(
        nodes, "g",
        [h.make_tensor_value_info(k, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
         for k, v in inputs.items()],
        [h.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[0]


def constants_of(params, weights, weight, output, bias):
    return {
        "xs": params.scale, "xz": params.zero_point.astype(params.kind.storage),
        "w": weights, "ws": weight.scale, "wz": weight.zero_point.astype(np.int8),
        "ys": output.scale, "yz": output.zero_point.astype(output.kind.storage), "b": bias,
    }  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1 << 30), st.sampled_from([1, 2, 4]), st.integers(1, 3), st.integers(1, 3),
    st.tuples(st.integers(1, 2), st.integers(1, 2)), st.tuples(*[st.integers(0, 2)] * 4),
)  # fmt: skip
def test_convolution_is_onnx_runtime_s_bit_by_bit(seed, groups, rows, columns, strides, pads):
    rng = np.random.default_rng(seed)
    real = rng.normal(0, 1, (1, 4, 9, 8)).astype(np.float32)
    kernel = rng.normal(0, 1, (8, 4 // groups, rows, columns)).astype(np.float32)
    params = asymmetric_params(real.min(), real.max(), UINT8)
    weight, output = weight_params(kernel, 0, INT8), asymmetric_params(-4, 5, UINT8)
    x, w = quantize(real, params), quantize(kernel, weight)
    bias = quantize_bias(rng.normal(0, 1, 8).astype(np.float32), params, weight)
    geometry = ConvGeometry(strides, pads, groups=groups)
    sums = integer_conv2d(x, w, fold_zero_point(w, params, bias), params, geometry)
    factor = output_factor(params, weight, output)[:, None, None]
    ours = requantize_float(sums, factor, output)
    node = h.make_node(
        "QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["y"],
        strides=list(strides), pads=list(pads), group=groups,
    )  # fmt: skip
    theirs = run([node], {"x": x}, {"y": TensorProto.UINT8},
                 constants_of(params, w, weight, output, bias), {"x": x})  # fmt: skip
    np.testing.assert_array_equal(ours, theirs)
    assert len(np.unique(ours)) > 5


@pytest.mark.parametrize("seed", range(4))
def test_linear_is_onnx_runtime_s_bit_by_bit(seed) -> None:
    rng = np.random.default_rng(seed)
    real = rng.normal(0, 2, (5, 37)).astype(np.float32)
    matrix = rng.normal(0, 1, (11, 37)).astype(np.float32)
    params, weight = asymmetric_params(-3, 5, UINT8), weight_params(matrix, 0, INT8)
    output = asymmetric_params(-20, 20, UINT8)
    x, w = quantize(real, params), quantize(matrix, weight)
    zero = np.zeros(11, np.int32)
    sums = integer_linear(x, w, fold_zero_point(w, params, zero))
    ours = requantize_float(sums, output_factor(params, weight, output), output)
    constants = constants_of(params, w.T.copy(), weight, output, zero)
    constants.pop("b")
    node = h.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    theirs = run([node], {"x": x}, {"y": TensorProto.UINT8}, constants, {"x": x}, opset=21)
    np.testing.assert_array_equal(ours, theirs)
    close = dequantize(ours, output) - np.clip(dequantize(x, params) @ matrix.T, -20, 20)
    assert np.abs(close).max() < 0.8


def test_dilated_convolution_against_a_scalar_loop() -> None:
    rng = np.random.default_rng(0)
    params = QuantParams(np.array(0.5, np.float32), np.array(9, np.int32), UINT8)
    x = rng.integers(0, 256, (2, 3, 7, 6)).astype(np.uint8)
    w = rng.integers(-127, 128, (2, 3, 2, 3)).astype(np.int8)
    geometry = ConvGeometry((2, 1), (1, 0, 2, 1), (2, 2))
    zero = np.zeros(2, np.int32)
    found = integer_conv2d(x, w, fold_zero_point(w, params, zero), params, geometry)
    n, out, rows, columns = found.shape
    for i, o, y, c in np.ndindex(n, out, rows, columns):
        total = 0
        for k, r, s in np.ndindex(3, 2, 3):
            py, px = y * 2 + r * 2 - 1, c + s * 2
            inside = 0 <= py < 7 and 0 <= px < 6
            pixel = int(x[i, k, py, px]) if inside else 9
            total += (pixel - 9) * int(w[o, k, r, s])
        assert found[i, o, y, c] == total
