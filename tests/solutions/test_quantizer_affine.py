"""Affine arithmetic against ONNX's reference evaluator, closed forms and ml_dtypes."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx import helper as h
from onnx.reference import ReferenceEvaluator

from solutions.phase2_optimization.affine import (
    asymmetric_params,
    fake_quantize,
    quantize,
    symmetric_params,
    weight_params,
)
from solutions.phase2_optimization.float_conversion import (
    from_bfloat16,
    store_bfloat16,
    store_float16,
    to_bfloat16,
    to_float16,
)
from solutions.phase2_optimization.quantized_types import (
    INT4,
    INT7,
    INT8,
    UINT4,
    UINT8,
    pack_int4,
    unpack_int4,
)
from zoo.errors import InferenceError

KINDS = [INT8, UINT8, INT4, UINT4, INT7]
ONNX_TYPES = {
    "int8": TensorProto.INT8, "uint8": TensorProto.UINT8,
    "int4": TensorProto.INT4, "uint4": TensorProto.UINT4,
}  # fmt: skip


def by_onnx(values, params):
    """What ONNX's reference evaluator quantizes the values to."""
    kind = ONNX_TYPES[params.kind.name]
    shape = list(params.scale.shape)
    zero = h.make_tensor("z", kind, shape, params.zero_point.reshape(-1).tolist())
    scale = h.make_tensor("s", TensorProto.FLOAT, shape, params.scale.reshape(-1).tolist())
    axis = {} if params.axis is None else {"axis": params.axis}
    graph = h.make_graph(
        [h.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], **axis)],
        "g",
        [h.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)],
        [h.make_tensor_value_info("y", kind, values.shape)],
        [scale, zero],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)])
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": values})[0]).astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS[:4]), st.floats(-1e6, 0), st.floats(0, 1e6), st.integers(0, 1 << 30),
    st.sampled_from([symmetric_params, asymmetric_params]),
)  # fmt: skip
def test_quantizing_is_what_onnx_does(kind, low, high, seed, params_of) -> None:
    params = params_of(low, high, kind)
    rng = np.random.default_rng(seed)
    steps = rng.integers(-300, 300, 60) + rng.choice([0.0, 0.5, 0.25], 60)
    values = (steps * params.scale).astype(np.float32)  # many exact halves, many out of range
    np.testing.assert_array_equal(quantize(values, params), by_onnx(values, params))


@pytest.mark.parametrize("kind", [INT8, UINT8, INT4])
def test_per_channel_is_what_onnx_does(kind) -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(0, [[[0.1]], [[4.0]], [[700.0]]], (3, 4, 5)).astype(np.float32)
    params = weight_params(weights, 0, kind)
    assert params.scale.shape == (3,)
    np.testing.assert_array_equal(quantize(weights, params), by_onnx(weights, params))
    error = np.abs(fake_quantize(weights, params) - weights).max(axis=(1, 2))
    assert np.all(error <= params.scale / 2 * 1.001)
    assert np.all(error > 0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.floats(-1e30, 1e30), st.floats(0, 1e30))
def test_zero_is_exact_and_errors_stay_under_half_a_step(kind, low, width) -> None:
    for params in (symmetric_params(low, low + width, kind),
                   asymmetric_params(low, low + width, kind)):  # fmt: skip
        assert fake_quantize(np.zeros(3, np.float32), params).tolist() == [0, 0, 0]
        inside = np.linspace(min(low, 0), max(low + width, 0), 50).astype(np.float32)
        error = np.abs(fake_quantize(inside, params) - inside)
        # the zero point is rounded, which moves the range's ends by up to half a step more
        assert np.all(error <= params.scale * 1.001 + np.abs(inside) * 1e-5)


def test_ranges_without_extent_and_beyond_float32() -> None:
    for params_of in (symmetric_params, asymmetric_params):
        assert params_of(0, 0, INT8).scale == 1.0
        assert np.isfinite(params_of(-1e-42, 1e-42, INT8).scale)
        assert np.isfinite(1 / params_of(0, 3e38, UINT8).scale)
    constant = np.full((2, 3), 7.5, np.float32)
    params = asymmetric_params(constant.min(), constant.max(), UINT8)
    np.testing.assert_allclose(fake_quantize(constant, params), constant, rtol=1e-6)


def test_not_a_number_is_refused_and_infinity_saturates() -> None:
    params = symmetric_params(-1, 1, INT8)
    with pytest.raises(ValueError, match="NaN: 1 of 2"):
        quantize(np.array([np.nan, 1], np.float32), params)
    assert quantize(np.array([np.inf, -np.inf], np.float32), params).tolist() == [127, -128]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.sampled_from([INT4, UINT4]), st.integers(0, 1 << 30))
def test_packing_four_bits_is_onnx_s(count, kind, seed) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(kind.low, kind.high + 1, count).astype(kind.storage)
    packed = pack_int4(values)
    tensor = h.make_tensor("t", ONNX_TYPES[kind.name], [count], values.tolist())
    stored = tensor.raw_data or bytes(v & 0xFF for v in tensor.int32_data)
    assert packed.tobytes() == stored
    np.testing.assert_array_equal(unpack_int4(packed, count, kind), values)


@settings(max_examples=300, deadline=None)
@given(st.floats(width=32))
def test_bfloat16_is_ml_dtypes(value) -> None:
    values = np.array([value], np.float32)
    found = from_bfloat16(to_bfloat16(values))
    with np.errstate(over="ignore"):
        expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    if np.isfinite(value) and np.isinf(expected[0]):  # where theirs overflows, ours saturates
        expected = np.sign(values) * from_bfloat16(np.array([0x7F7F], np.uint16))
    np.testing.assert_array_equal(found, expected)


def test_float16_saturates_only_what_is_finite() -> None:
    values = np.array([1e5, -1e9, np.inf, -np.inf, 65519, 0.1, 1 + 2**-11], np.float32)
    expected = [65504, -65504, np.inf, -np.inf, 65504, np.float16(0.1), 1.0]
    np.testing.assert_array_equal(to_float16(values), np.array(expected, np.float16))
    assert np.isnan(to_float16(np.array([np.nan], np.float32)))[0]


def gemm_model(opset: int = 20) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(16, 16)).astype(np.float32)
    weights[0, 0] = 1e6
    graph = h.make_graph(
        [h.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [h.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [h.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 16])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=9)


@pytest.mark.parametrize(
    ("store", "convert"),
    [(store_float16, to_float16), (store_bfloat16, lambda w: from_bfloat16(to_bfloat16(w)))],
)
def test_models_with_sixteen_bit_weights_compute_with_rounded_weights(store, convert) -> None:
    import onnxruntime as ort

    model = gemm_model()
    smaller = store(model)
    assert smaller.ByteSize() < 0.65 * model.ByteSize()
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
    x = np.eye(16, dtype=np.float32)
    session = ort.InferenceSession(smaller.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, convert(weights).astype(np.float32))
    assert np.abs(found - weights).max() > 0
    with pytest.raises(InferenceError, match="opset 13, this model has 11"):
        store(gemm_model(11))
