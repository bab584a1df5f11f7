"""Quantizing without data: integers as activations come, and weights alone in 8 or 4 bits."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from small_graphs import (
    SmallGraph,
    fused_operators,
    normal_batches,
    operators,
    run_onnxruntime,
    run_reference,
)

from solutions.phase2_optimization.dynamic_quantization import quantize_dynamic
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph, copy_model
from solutions.phase2_optimization.quantized_types import INT4, INT8, UINT8
from solutions.phase2_optimization.sensitivity import relative_error
from solutions.phase2_optimization.weight_only import blocked_int4, quantize_weights
from zoo.errors import InferenceError

# Dynamic: linear layers


def linear_net(seed, rows=5, inner=24, out=7, transposed=0, shape=None):
    net = SmallGraph(shape or [rows, inner], seed)
    return net.model(net.gemm(net.input, inner, out, transB=transposed))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 20), st.integers(1, 6), st.integers(1, 70), st.integers(1, 9),
       st.sampled_from([0, 1]), st.sampled_from([1e-3, 1.0, 300.0]))
def test_the_error_of_a_product_is_that_of_its_roundings(seed, rows, inner, out, transposed, size):
    """|y' - y| <= sum |x| dw + sum |w| dx + n dx dw, with half a step of each scale; and the
    result is what onnx's own operators give, in both engines."""
    model = linear_net(seed, rows, inner, out, transposed)
    made = quantize_dynamic(model)
    x = normal_batches([rows, inner], 1, seed)[0]["x"] * np.float32(size)
    found = run_onnxruntime(made.model, {"x": x})[0]
    np.testing.assert_allclose(found, run_reference(made.model, {"x": x})[0], rtol=1e-4,
                               atol=1e-4 * size)
    weights = OnnxGraph(model).constants["c0"]
    weights = weights.T if transposed else weights
    half_w = np.abs(weights).max(axis=0) / 127 / 2
    half_x = (max(x.max(), 0) - min(x.min(), 0)) / 255  # with the zero point's own rounding
    bound = (np.abs(x).sum(1)[:, None] * half_w + half_x * np.abs(weights).sum(0)
             + inner * half_x * half_w)
    error = np.abs(found - run_onnxruntime(model, {"x": x})[0])
    assert np.all(error <= bound * 1.001 + 1e-5 * size)
    assert np.abs(found).max() > 0


def test_onnxruntime_has_one_kernel_for_it(tmp_path):
    net = SmallGraph([4, 32], 2)
    hidden = net.relu(net.gemm(net.input, 32, 16))
    made = quantize_dynamic(net.model(net.gemm(hidden, 16, 8, transB=1)))
    assert fused_operators(made.model, tmp_path) == {"DynamicQuantizeMatMul": 2, "Relu": 1}


def test_an_input_of_several_layers_is_quantized_once():
    net = SmallGraph([2, 3, 16], 5)
    made = [net.node("MatMul", net.input, net.constant(net.weights(16, 8, fan=16)))
            for _ in range(3)]
    model = net.model(net.node("Concat", *made, axis=-1))
    found = quantize_dynamic(model)
    counts = operators(found.model)
    assert counts["DynamicQuantizeLinear"] == 1 and counts["MatMulInteger"] == 3
    assert found.integer_share == 1.0 and not found.float_layers
    feeds = normal_batches([2, 3, 16], 1)[0]
    assert relative_error(run_onnxruntime(model, feeds),
                          run_onnxruntime(found.model, feeds)) < 1e-3


def test_as_accurate_and_as_small_as_onnxruntimes_own(tmp_path):
    from onnxruntime.quantization import quantize_dynamic as theirs

    net = SmallGraph([8, 256], 3)
    hidden = net.relu(net.gemm(net.input, 256, 128, transB=1))
    model = net.model(net.gemm(hidden, 128, 10))
    onnx.save(model, tmp_path / "float.onnx")
    theirs(tmp_path / "float.onnx", tmp_path / "peer.onnx", per_channel=True)
    ours, peer = quantize_dynamic(model).model, onnx.load(tmp_path / "peer.onnx")
    batches = normal_batches([8, 256], 6)

    def error(other):
        return np.mean([relative_error(run_onnxruntime(model, f), run_onnxruntime(other, f))
                        for f in batches])

    assert error(ours) <= 1.05 * error(peer)
    assert len(ours.SerializeToString()) < 1.05 * len(peer.SerializeToString())
    assert len(ours.SerializeToString()) < len(model.SerializeToString()) / 3


def test_what_has_no_integer_kernel_is_left_and_named():
    net = SmallGraph([1, 4, 6, 6], 1)
    y = net.node("Reshape", net.conv(net.input, 4, 4), net.constant(np.array([4, 36])))
    scaled = net.gemm(y, 36, 4, alpha=2.0)
    turned = net.gemm(scaled, 4, 4, transA=1)
    stacked = net.node("MatMul", turned, net.constant(net.weights(3, 4, 4)))
    model = net.model(net.node("MatMul", stacked, turned))
    made = quantize_dynamic(model)
    assert made.integer_layers == () and made.integer_share == 0
    reasons = list(made.float_layers.values())
    assert len(reasons) == 5
    for reason, said in zip(reasons, ["convolution", "plain", "plain", "matrix", "depend"],
                            strict=True):
        assert said in reason
    feeds = normal_batches([1, 4, 6, 6], 1)[0]
    np.testing.assert_array_equal(run_onnxruntime(made.model, feeds)[0],
                                  run_onnxruntime(model, feeds)[0])


def test_double_precision_stays():
    net = SmallGraph([2, 8], 0, kind=TensorProto.DOUBLE)
    y = net.node("MatMul", net.input, net.constant(net.rng.normal(size=(8, 4))))
    made = quantize_dynamic(net.model(y, kind=TensorProto.DOUBLE))
    assert not made.integer_layers and "float32" in next(iter(made.float_layers.values()))


# Dynamic: recurrent layers


def recurrent(kind="LSTM", directions=1, seed=0, extras=(), **attributes):
    """Sequence 6, batch 2, inputs 5, hidden 4; layout 0: [sequence, batch, input]."""
    layout = attributes.get("layout", 0)
    net = SmallGraph([2, 6, 5] if layout else [6, 2, 5], seed)
    gates, names = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], [net.input]
    names.append(net.constant(net.weights(directions, 4 * gates, 5, fan=5)))
    names.append(net.constant(net.weights(directions, 4 * gates, 4, fan=4)))
    bias = net.rng.normal(0, 0.3, (directions, 8 * gates)).astype(np.float32)
    names.append(net.constant(bias))
    state = net.rng.normal(0, 0.5, (directions, 2, 4)).astype(np.float32)
    lengths, peepholes = np.array([6, 3], np.int32), net.weights(directions, 12, fan=4)
    given_extras = {"lengths": lengths, "hidden": state, "cell": state[::-1] * 2,
                    "peepholes": peepholes}
    for name in ("lengths", "hidden", "cell", "peepholes")[: 4 if kind == "LSTM" else 2]:
        names.append(net.constant(given_extras[name].copy()) if name in extras else "")
    direction = "bidirectional" if directions == 2 else "forward"
    y = net.node(kind, *names, hidden_size=4, direction=direction,
                 outputs=3 if kind == "LSTM" else 2, **attributes)
    return net.model(*y), [2, 6, 5] if layout else [6, 2, 5]


def with_rounded_weights(model):
    """The float LSTM with weights rounded by hand: a scale for each direction's and gate's unit."""
    graph = OnnxGraph(model)
    node = next(n for n in graph.nodes if n.op_type == "LSTM")
    for place in (1, 2):
        weights = graph.constants[node.input[place]]
        step = np.abs(weights).max(axis=2, keepdims=True) / 127
        graph.set_constant(node.input[place], (np.rint(weights / step) * step).astype(np.float32))
    return graph.to_model()


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("extras", [(), ("lengths", "hidden"), ("hidden", "cell", "peepholes")],
                         ids=["plain", "lengths", "states"])
def test_an_lstm_in_integers(directions, extras):
    model, shape = recurrent("LSTM", directions, extras=extras)
    made = quantize_dynamic(model)
    assert operators(made.model)["DynamicQuantizeLSTM"] == 1 and len(made.integer_layers) == 1
    feeds = normal_batches(shape, 1)[0]
    outputs = run_onnxruntime(made.model, feeds)
    # what is left beside the rounded weights is the activations' rounding
    for real, found in zip(run_onnxruntime(with_rounded_weights(model), feeds), outputs,
                           strict=True):
        assert found.shape == real.shape
        np.testing.assert_allclose(found, real, atol=0.02)
    assert relative_error(run_onnxruntime(model, feeds), outputs) < 2e-3


def test_an_lstm_in_another_layout_stays():
    """ONNX Runtime's integer LSTM knows no layout with the batch first."""
    model, shape = recurrent("LSTM", layout=1)
    made = quantize_dynamic(model)
    assert not made.integer_layers
    assert "layout" in next(iter(made.float_layers.values()))
    assert operators(made.model)["LSTM"] == 1 and shape == [2, 6, 5]


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_other_recurrent_layers_are_named(kind):
    model, shape = recurrent(kind)
    made = quantize_dynamic(model)
    assert made.float_layers and kind in next(iter(made.float_layers.values()))
    feeds = normal_batches(shape, 1)[0]
    for real, found in zip(run_onnxruntime(model, feeds), run_onnxruntime(made.model, feeds),
                           strict=True):
        np.testing.assert_array_equal(found, real)


def test_an_lstm_with_a_linear_layer_behind_it():
    net = SmallGraph([6, 2, 5], 8)
    names = [net.constant(net.weights(1, 64, n, fan=n)) for n in (5, 16)]
    y, last, _ = net.node("LSTM", net.input, *names, hidden_size=16, outputs=3)
    del y
    model = net.model(net.node("MatMul", last, net.constant(net.weights(16, 3, fan=16))))
    made = quantize_dynamic(model)
    assert len(made.integer_layers) == 2 and made.integer_share == 1.0
    feeds = normal_batches([6, 2, 5], 1)[0]
    assert relative_error(run_onnxruntime(model, feeds),
                          run_onnxruntime(made.model, feeds)) < 2e-3


@pytest.mark.parametrize("quantize", [quantize_dynamic, quantize_weights])
def test_a_quantized_model_is_refused(quantize):
    model = quantize(linear_net(0, inner=64, out=32)).model
    with pytest.raises(InferenceError, match="quantized already"):
        quantize(model)


def test_the_model_given_is_not_changed():
    model = linear_net(0, inner=64, out=32)
    before = copy_model(model)
    for quantize in (quantize_dynamic, quantize_weights, lambda m: quantize_weights(m, INT4)):
        quantize(model)
        assert model == before


# Weights alone


def mixed_net(group=2):
    """Every kind of layer with enough weights, and a small one."""
    net = SmallGraph([1, 8, 6, 6], 7)
    y = net.relu(net.conv(net.input, 16, 8))
    y = net.node("ConvTranspose", y, net.constant(net.weights(16, 24 // group, 3, 3)), group=group)
    y = net.node("ConvTranspose", y, net.constant(net.weights(24, 8, 3, 3)))
    y = net.conv(y, 2, 8, kernel=1)
    y = net.node("Flatten", y)  # 2 * 10 * 10
    y = net.relu(net.gemm(y, 200, 70, transB=1))
    y = net.gemm(y, 70, 40)
    return net.model(net.node("MatMul", y, net.constant(net.weights(40, 30, fan=40))))


OUT_AXES = {"Conv": (1, 2, 3), "Gemm": (0,), "MatMul": (0,)}


def rounded_by_hand(model, dequantized):
    """The float model with each layer's weights rounded by a few lines of their own."""
    graph = OnnxGraph(model)
    for node in graph.nodes:
        weights = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
        if weights is not None and weights.ndim > 1 and weights.size >= 1024:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            graph.set_constant(node.input[1],
                               dequantized(node.op_type, weights, transposed, group))
    return graph.to_model()


def int8_by_hand(kind, weights, transposed, group):
    if kind == "ConvTranspose":
        axes = (1, 2, 3) if group > 1 else (0, 2, 3)
    else:
        axes = (1,) if transposed else OUT_AXES[kind]
    step = np.abs(weights).max(axis=axes, keepdims=True) / 127
    return (np.rint(weights / step) * step).astype(np.float32)


def int4_by_hand(kind, weights, transposed, group):
    if kind not in ("Gemm", "MatMul"):
        return int8_by_hand(kind, weights, transposed, group)
    rows = (weights.T if transposed else weights).copy()
    for column in range(rows.shape[1]):
        for start in range(0, len(rows), 32):
            part = rows[start : start + 32, column]
            step = np.abs(part).max() / 7
            rows[start : start + 32, column] = np.rint(part / step) * step
    return rows.T.copy() if transposed else rows


@pytest.mark.parametrize(("kind", "by_hand"), [(INT8, int8_by_hand), (INT4, int4_by_hand)],
                         ids=["int8", "int4"])
@pytest.mark.parametrize(("run", "group"), [
    (lambda m, f: run_onnxruntime(m, f, optimize=False), 2),
    (run_reference, 1),  # it knows no groups of turned convolutions
], ids=["onnxruntime", "reference"])
def test_weights_are_rounded_as_by_hand(kind, by_hand, run, group):
    model = mixed_net(group)
    made = quantize_weights(model, kind)
    assert len(made.integer_layers) == 6 and made.integer_share == 0.0  # computed in float
    assert list(made.float_layers.values()) == ["fewer than 1024 weights"]
    feeds = normal_batches([1, 8, 6, 6], 1)[0]
    expected = run_onnxruntime(rounded_by_hand(model, by_hand), feeds, optimize=False)[0]
    np.testing.assert_allclose(run(made.model, feeds)[0], expected, rtol=1e-3, atol=1e-4)
    assert np.abs(expected - run_onnxruntime(model, feeds)[0]).max() > 1e-3


def test_optimized_it_is_still_the_same():
    """With ONNX Runtime's fused kernels for such weights, which compute less exactly."""
    model = mixed_net()
    feeds = normal_batches([1, 8, 6, 6], 1)[0]
    for kind in (INT8, INT4):
        made = quantize_weights(model, kind).model
        plain = run_onnxruntime(made, feeds, optimize=False)
        assert relative_error(plain, run_onnxruntime(made, feeds)) < 1e-3


def test_four_bits_are_smaller_and_less_exact_than_eight():
    model = linear_net(1, inner=256, out=128)
    int8, int4 = quantize_weights(model), quantize_weights(model, INT4)
    sizes = [len(m.SerializeToString()) for m in (model, int8.model, int4.model)]
    assert sizes[1] < 0.3 * sizes[0] and sizes[2] < 0.18 * sizes[0]  # 4 + 32 / 32 bits
    feeds = normal_batches([5, 256], 1)[0]
    errors = [relative_error(run_onnxruntime(model, feeds), run_onnxruntime(m.model, feeds))
              for m in (int8, int4)]
    assert 0 < errors[0] < 1e-4 < errors[1] < 2e-2


def test_onnxruntimes_kernel_for_four_bits(tmp_path):
    net = SmallGraph([1, 64], 2)
    weights = net.constant(net.weights(64, 48, fan=64))
    made = quantize_weights(net.model(net.node("MatMul", net.input, weights)), INT4)
    assert fused_operators(made.model, tmp_path) == {"MatMulNBits": 1}


def test_packed_as_onnx_packs():
    made = quantize_weights(linear_net(4, inner=67, out=33), INT4).model
    tensor = next(t for t in made.graph.initializer if t.data_type == TensorProto.INT4)
    onnx.checker.check_model(made, full_check=True)
    stored = numpy_helper.to_array(tensor).astype(np.int8)
    assert stored.shape == (67, 33) and len(tensor.raw_data) == (67 * 33 + 1) // 2
    integers, scale = blocked_int4(OnnxGraph(linear_net(4, inner=67, out=33)).constants["c0"],
                                   0, 32)
    np.testing.assert_array_equal(stored, integers)
    assert scale.shape == (3, 33) and stored.min() == -7 and stored.max() == 7


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 70), st.integers(1, 5), st.sampled_from([16, 32]), st.sampled_from([0, 1]),
       st.integers(0, 1 << 20))
def test_a_block_errs_by_half_of_its_own_step(inner, out, block, axis, seed):
    rng = np.random.default_rng(seed)
    shape = (inner, out) if axis == 0 else (out, inner)
    weights = (rng.normal(size=shape) * np.exp(rng.uniform(-4, 4, shape))).astype(np.float32)
    integers, scale = blocked_int4(weights, axis, block)
    steps = np.repeat(scale, block, axis)
    steps = steps[:inner] if axis == 0 else steps[:, :inner]
    assert integers.dtype == np.int8 and np.abs(integers).max() <= 7
    assert np.all(np.abs(integers * steps - weights) <= steps / 2 * 1.0001)
    for index in np.ndindex(*scale.shape):  # each block uses its range to the end
        part = np.take(integers, range(index[axis] * block, min((index[axis] + 1) * block, inner)),
                       axis).take(index[1 - axis], 1 - axis)
        assert np.abs(part).max() == 7


@pytest.mark.parametrize(("kind", "block", "message"), [
    (UINT8, 32, "int8 or int4, not uint8"),
    (INT4, 8, "power of two from 16 on, not 8"),
    (INT4, 48, "power of two from 16 on, not 48"),
])
def test_other_ways_are_refused(kind, block, message):
    with pytest.raises(InferenceError, match=message):
        quantize_weights(linear_net(0), kind, block)
