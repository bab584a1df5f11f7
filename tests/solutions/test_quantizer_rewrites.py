"""Rewrites before quantizing leave what a float network computes as it was, to 1e-4."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from small_graphs import (
    SmallGraph,
    normal_batches,
    operators,
    run_onnxruntime,
    run_openvino,
)

from solutions.phase2_optimization.batch_norm import fold_batch_norms
from solutions.phase2_optimization.calibration import Range
from solutions.phase2_optimization.equalization import equalization_factors, equalize
from solutions.phase2_optimization.focus_layer import join_focus
from solutions.phase2_optimization.graph_preparation import infer_shapes, prepare
from solutions.phase2_optimization.kernel_form import fit_to_kernels
from solutions.phase2_optimization.observation import activations
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from solutions.phase2_optimization.quantize_graph import StaticSettings, quantize_prepared
from solutions.phase2_optimization.sensitivity import relative_error
from solutions.phase2_optimization.smooth_quant import smooth, smoothing_factors
from solutions.phase2_optimization.swish import clipped_for_swish, join_swish
from zoo.errors import InferenceError

RANDOM = settings(max_examples=12, deadline=None, derandomize=True)


def same(before, after, feeds, tolerance=1e-4):
    """Both give the same, in ONNX Runtime with nothing optimized; and it is not nothing."""
    for real, found in zip(run_onnxruntime(before, feeds, optimize=False),
                           run_onnxruntime(after, feeds, optimize=False), strict=True):
        assert np.abs(real).max() > 1e-3
        np.testing.assert_allclose(found, real, rtol=tolerance,
                                   atol=tolerance * float(np.abs(real).max()))


def rewritten(model, rewrite):
    """How many places a rewrite of the graph changed, and the model after it."""
    graph = OnnxGraph(model)
    count = rewrite(graph)
    return count, infer_shapes(graph.to_model())


# Batch norms


def batch_norm(net, x, channels, **attributes):
    """A trained normalisation, with negative scales among the channels."""
    rng = net.rng
    numbers = [rng.normal(0, 1, channels), rng.normal(0, 1, channels), rng.normal(0, 1, channels),
               rng.uniform(1e-3, 3, channels)]
    names = [net.constant(n.astype(np.float32)) for n in numbers]
    return net.node("BatchNormalization", x, *names, **attributes)


@RANDOM
@given(st.integers(0, 1 << 20), st.sampled_from([1, 2, 8]), st.booleans(),
       st.sampled_from([1e-5, 0.1]))
def test_folded_batch_norms_change_nothing(seed, group, bias, epsilon):
    net = SmallGraph([2, 8, 7, 7], seed)
    y = net.conv(net.input, 8, 8, group=group, bias=bias, strides=[2, 1])
    model = net.model(net.relu(batch_norm(net, y, 8, epsilon=epsilon)))
    count, folded = rewritten(model, fold_batch_norms)
    assert count == 1 and operators(folded) == {"Conv": 1, "Relu": 1}
    same(model, folded, normal_batches([2, 8, 7, 7], 1, seed)[0])


def test_a_shared_convolution_weight_is_folded_for_each_reader():
    net = SmallGraph([1, 4, 6, 6], 3)
    weights = net.constant(net.weights(4, 4, 3, 3))
    first = batch_norm(net, net.node("Conv", net.input, weights, pads=[1] * 4), 4)
    model = net.model(batch_norm(net, net.node("Conv", first, weights, pads=[1] * 4), 4))
    count, folded = rewritten(model, fold_batch_norms)
    assert count == 2
    same(model, folded, normal_batches([1, 4, 6, 6], 1)[0])


def test_batch_norms_that_cannot_be_folded_stay():
    """Somebody else reads the convolution; there is none; the norm takes the batch's own mean."""
    net = SmallGraph([1, 4, 6, 6], 5)
    conv = net.conv(net.input, 4, 4)
    read_twice = net.node("Add", batch_norm(net, conv, 4), conv)
    behind_relu = batch_norm(net, net.relu(read_twice), 4)
    training = net.node(
        "BatchNormalization", net.conv(behind_relu, 4, 4),
        *(net.constant(np.full(4, v, np.float32)) for v in (1, 0, 0, 1)), outputs=3,
        training_mode=1)
    model = net.model(training[0])
    count, folded = rewritten(model, fold_batch_norms)
    assert count == 0 and operators(folded)["BatchNormalization"] == 3
    same(model, folded, normal_batches([1, 4, 6, 6], 1)[0])


# Equalization


def uneven(net, weights):
    """Rows of very different size, as batch norms leave them."""
    sizes = np.exp(net.rng.uniform(-3, 3, len(weights))).astype(np.float32)
    return weights * sizes.reshape(-1, *[1] * (weights.ndim - 1))


def uneven_chain(seed, bias=True):
    """Convolution, depthwise, convolution, pooled, two linear layers (transposed and not)."""
    net = SmallGraph([1, 3, 8, 8], seed)

    def conv(x, out, channels, group=1):
        names = [net.constant(uneven(net, net.weights(out, channels // group, 3, 3)))]
        if bias:
            names.append(net.constant(net.rng.normal(0, 1, out).astype(np.float32)))
        return net.node("Conv", x, *names, group=group, pads=[1] * 4)

    y = net.relu(conv(net.input, 6, 3))
    y = net.relu(conv(y, 6, 6, group=6))
    y = net.relu(conv(y, 5, 6))
    y = net.node("Flatten", net.node("GlobalAveragePool", y))
    y = net.relu(net.gemm(y, 5, 7, transB=1))
    return net.model(net.gemm(y, 7, 4))


@RANDOM
@given(st.integers(0, 1 << 20), st.booleans())
def test_equalized_networks_compute_the_same(seed, bias):
    model = uneven_chain(seed, bias)
    same(model, equalize(model), normal_batches([1, 3, 8, 8], 1, seed)[0])


def test_equalized_layers_have_equal_ranges():
    """Equation 11's fixed point: each channel's row reaches as far as the column it meets."""
    def ranges(model):
        graph = OnnxGraph(model)
        convs = [graph.constants[n.input[1]] for n in graph.nodes if n.op_type == "Conv"]
        depthwise, last = convs[1], convs[2]
        return (np.abs(convs[0]).max(axis=(1, 2, 3)), np.abs(depthwise).max(axis=(1, 2, 3)),
                np.abs(last).max(axis=(0, 2, 3)))

    before, after = ranges(uneven_chain(11)), ranges(equalize(uneven_chain(11)))
    assert (before[0] / before[1]).max() > 3  # or there was nothing to do
    np.testing.assert_allclose(after[0], after[1], rtol=0.02)
    np.testing.assert_allclose(after[1], after[2], rtol=0.02)


def test_equalizing_saves_accuracy_with_one_scale_per_tensor():
    """What the technique is for: the error of a weight tensor with a single scale falls."""
    def error(model):
        graph = OnnxGraph(model)
        for node in graph.nodes:
            if node.op_type == "Conv":
                weights = graph.constants[node.input[1]]
                step = np.abs(weights).max() / 127
                graph.set_constant(node.input[1], (np.rint(weights / step) * step).astype("f4"))
        feeds = normal_batches([1, 3, 8, 8], 1)[0]
        return relative_error(run_onnxruntime(model, feeds),
                              run_onnxruntime(graph.to_model(), feeds))

    model = uneven_chain(11)
    assert error(equalize(model)) < error(model) / 4


def test_only_pairs_that_may_be_equalized_are():
    """A second reader, a sigmoid between, an output of the network: all of them stay."""
    net = SmallGraph([1, 4, 6, 6], 2)
    first = net.conv(net.input, 4, 4)
    second = net.conv(net.node("Sigmoid", first), 4, 4)
    third = net.conv(net.relu(second), 4, 4)
    model = net.model(net.conv(third, 4, 4), second, third)
    made = equalize(model)
    same(model, made, normal_batches([1, 4, 6, 6], 1)[0])
    before, after = OnnxGraph(model), OnnxGraph(made)
    for old, new in zip(before.nodes, after.nodes, strict=True):
        if old.op_type == "Conv":
            np.testing.assert_array_equal(before.constants[old.input[1]],
                                          after.constants[new.input[1]])


def test_weights_that_two_layers_share_are_equalized_for_each():
    net = SmallGraph([1, 4, 6, 6], 6)
    weights = net.constant(uneven(net, net.weights(4, 4, 3, 3)))
    y = net.relu(net.node("Conv", net.input, weights, pads=[1] * 4))
    model = net.model(net.relu(net.node("Conv", y, weights, pads=[1] * 4)))
    same(model, equalize(model), normal_batches([1, 4, 6, 6], 1)[0])


@pytest.mark.parametrize("shape", [(), (1,), (1, 6), (2, 1), (2, 6)])
def test_a_bias_of_any_shape_that_gemm_allows(shape):
    net = SmallGraph([2, 5], 4)
    bias = net.constant(net.rng.normal(0, 1, shape).astype(np.float32))
    weights = net.constant(net.weights(5, 6) * np.float32(4) ** np.arange(6, dtype=np.float32))
    y = net.relu(net.node("Gemm", net.input, weights, bias))
    model = net.model(net.gemm(y, 6, 3))
    made = equalize(model)
    same(model, made, normal_batches([2, 5], 1)[0])
    assert not np.array_equal(OnnxGraph(made).constants[made.graph.node[0].input[1]],
                              OnnxGraph(model).constants[weights])


def test_a_last_layer_with_one_output_is_equalized_too():
    net = SmallGraph([1, 3, 6, 6], 8)
    weights = net.constant(uneven(net, net.weights(6, 3, 3, 3)))
    model = net.model(net.conv(net.relu(net.node("Conv", net.input, weights)), 1, 6))
    made = OnnxGraph(equalize(model))
    first, second = (made.constants[n.input[1]] for n in made.nodes if n.op_type == "Conv")
    np.testing.assert_allclose(np.abs(first).max(axis=(1, 2, 3)),
                               np.abs(second).max(axis=(0, 2, 3)), rtol=0.01)
    same(model, made.to_model(), normal_batches([1, 3, 6, 6], 1)[0])


def test_dead_channels_keep_their_factor():
    first, second = np.array([0.0, 4.0, 1e9, 9.0]), np.array([1.0, 0.0, 1e-9, 4.0])
    np.testing.assert_allclose(equalization_factors(first, second), [1, 1, 1e4, 1.5])


# Smoothing


def transformer_layer(seed, width=16, residual=False):
    """A layer norm with outliers, read by three products, and by a sum if asked for."""
    net = SmallGraph([2, 5, width], seed)
    scale = np.abs(net.rng.normal(1, 0.1, width)).astype(np.float32)
    scale[[3, 7]] = [60, -90]  # every token's outliers
    shift = net.rng.normal(0, 0.1, width).astype(np.float32)
    y = net.node("LayerNormalization", net.input, net.constant(scale), net.constant(shift))
    products = [net.node("MatMul", y, net.constant(net.weights(width, 12, fan=width)))
                for _ in range(3)]
    if residual:
        products.append(net.node("Add", y, net.input))
        return net.model(*products)
    return net.model(*products)


@RANDOM
@given(st.integers(0, 1 << 20), st.sampled_from([0.0, 0.5, 0.8, 1.0]))
def test_smoothed_networks_compute_the_same(seed, alpha):
    model = transformer_layer(seed)
    batches = normal_batches([2, 5, 16], 2, seed)
    same(model, smooth(model, batches, alpha), batches[0], 2e-4)


def test_a_gemm_with_turned_weights_is_smoothed():
    net = SmallGraph([6, 8], 1)
    scale = np.array([1, 50, 1, 1, 0.02, 1, 1, 1], np.float32)
    y = net.node("LayerNormalization", net.input, net.constant(scale))
    model = net.model(net.gemm(y, 8, 5, transB=1), net.gemm(y, 8, 3))
    batches = normal_batches([6, 8])
    made = smooth(model, batches)
    same(model, made, batches[0])
    assert not np.array_equal(OnnxGraph(made).constants[made.graph.node[0].input[1]], scale)


def test_half_of_the_trouble_moves():
    """Equation 4 with alpha 1/2: activation and weights reach equally far in every channel."""
    rng = np.random.default_rng(0)
    large, heavy = np.exp(rng.uniform(-3, 6, 9)), np.exp(rng.uniform(-3, 1, 9))
    factors = smoothing_factors(large, heavy, 0.5)
    np.testing.assert_allclose(large / factors, heavy * factors)
    np.testing.assert_allclose(smoothing_factors(large, heavy, 1.0), large)  # all: activations 1
    dead = smoothing_factors(np.array([0.0, 2.0]), np.array([1.0, 0.0]))
    np.testing.assert_array_equal(dead, [1, 1])
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.5"):
        smoothing_factors(large, heavy, 1.5)


def test_in_the_smoothed_network_activations_and_weights_reach_equally_far():
    """Equation 4 in the graph: the largest of all readers' rows counts."""
    batches = normal_batches([2, 5, 16], 4)
    made = smooth(transformer_layer(5), batches)
    graph, name = OnnxGraph(made), made.graph.node[0].output[0]
    seen = [np.abs(v[name]).max(axis=(0, 1)) for v in activations(made, batches, [name])]
    rows = [np.abs(graph.constants[n.input[1]]).max(axis=1) for n in graph.uses(name)]
    assert len(rows) == 3
    np.testing.assert_allclose(np.max(seen, axis=0), np.max(rows, axis=0), rtol=1e-3)


def test_smoothing_makes_outliers_small_and_int8_accurate():
    model, batches = prepare(transformer_layer(3)), normal_batches([2, 5, 16], 8)
    made = smooth(model, batches)
    name = model.graph.node[0].output[0]

    def spread(of):
        seen = np.concatenate([v[name].reshape(-1, 16) for v in activations(of, batches, [name])])
        most = np.abs(seen).max(axis=0)
        return most.max() / np.median(most)

    def error(of):
        quantized = quantize_prepared(of, batches, StaticSettings()).model
        return np.mean([relative_error(run_onnxruntime(model, feeds),
                                       run_onnxruntime(quantized, feeds)) for feeds in batches])

    assert spread(made) < spread(model) / 5
    assert error(made) < error(model)


def test_a_norm_whose_tokens_change_places_is_smoothed():
    """Exporters put a Transpose of the other axes between, and look at the shape."""
    net = SmallGraph([2, 5, 8], 1)
    scale = np.array([1, 50, 1, 1, 0.02, 1, 1, 1], np.float32)
    y = net.node("LayerNormalization", net.input, net.constant(scale))
    turned = net.node("Transpose", y, perm=[1, 0, 2])
    shape = net.node("Shape", y)
    product = net.node("MatMul", turned, net.constant(net.weights(8, 4, fan=8)))
    model = net.model(product, net.node("Cast", shape, to=1))
    batches = normal_batches([2, 5, 8])
    made = smooth(model, batches)
    same(model, made, batches[0])
    assert not np.array_equal(OnnxGraph(made).constants[made.graph.node[0].input[1]], scale)


def test_a_norm_whose_channels_change_places_stays():
    net = SmallGraph([2, 8, 8], 1)
    scale = np.array([1, 50, 1, 1, 0.02, 1, 1, 1], np.float32)
    y = net.node("LayerNormalization", net.input, net.constant(scale))
    turned = net.node("Transpose", y, perm=[0, 2, 1])
    model = net.model(net.node("MatMul", turned, net.constant(net.weights(8, 4, fan=8))))
    batches = normal_batches([2, 8, 8])
    made = smooth(model, batches)
    same(model, made, batches[0])
    np.testing.assert_array_equal(
        OnnxGraph(made).constants[made.graph.node[0].input[1]], scale)


def test_a_norm_that_a_residual_reads_stays():
    model, batches = transformer_layer(1, residual=True), normal_batches([2, 5, 16])
    made = smooth(model, batches)
    same(model, made, batches[0])
    np.testing.assert_array_equal(OnnxGraph(made).constants["c0"], OnnxGraph(model).constants["c0"])


def test_smoothing_needs_data():
    with pytest.raises(InferenceError, match="no data"):
        smooth(transformer_layer(1), [])


# x * sigmoid(x)


def swish_net(seed=0, swapped=False):
    net = SmallGraph([1, 3, 8, 8], seed)
    y = net.conv(net.input, 4, 3)
    gate = net.node("Sigmoid", y)
    y = net.node("Mul", *((gate, y) if swapped else (y, gate)))
    return net.model(net.conv(y, 4, 4))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("run", [run_onnxruntime, run_openvino,
                                 lambda m, f: ReferenceEvaluator(m).run(None, f)],
                         ids=["onnxruntime", "openvino", "reference"])
def test_swish_is_one_operator_that_every_runtime_knows(swapped, run):
    model = swish_net(swapped=swapped)
    count, joined = rewritten(prepare(model), join_swish)
    assert count == 1 and operators(joined) == {"Conv": 2, "QuickGelu": 1}
    feeds = normal_batches([1, 3, 8, 8], 1)[0]
    np.testing.assert_allclose(run(joined, feeds)[0], run_onnxruntime(model, feeds)[0],
                               rtol=1e-4, atol=1e-4)


def test_gates_of_others_are_no_swish():
    """A gate on another tensor, a gate that is read again, sigmoid(x) squared."""
    net = SmallGraph([1, 3, 4, 4])
    a, b = net.conv(net.input, 3, 3), net.conv(net.input, 3, 3)
    gated = net.node("Mul", a, net.node("Sigmoid", b))
    again = net.node("Sigmoid", gated)
    read_again = net.node("Add", net.node("Mul", gated, again), again)
    gate = net.node("Sigmoid", read_again)
    model = net.model(net.node("Mul", gate, gate))
    count, joined = rewritten(prepare(model), join_swish)
    assert count == 0
    same(model, joined, normal_batches([1, 3, 4, 4], 1)[0])


def test_swish_of_a_sigmoid_takes_the_right_gate():
    net = SmallGraph([1, 3, 4, 4])
    inner = net.node("Sigmoid", net.input)
    model = net.model(net.node("Mul", inner, net.node("Sigmoid", inner)))
    count, joined = rewritten(prepare(model), join_swish)
    assert count == 1
    same(model, joined, normal_batches([1, 3, 4, 4], 1)[0])


def swish(x):
    return x / (1 + np.exp(-x))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(-300, 0), st.floats(-1, 100))
def test_cutting_the_range_costs_half_a_step_at_most(low, high):
    high = max(high, low)
    cut = clipped_for_swish(Range(low, high))
    assert low <= cut.low <= max(low, -1.2) and cut.high == high
    x = np.linspace(low, high, 4001)
    step = (max(high, 0) - cut.low) / 255
    moved = np.abs(swish(np.maximum(x, cut.low)) - swish(x)).max()
    assert moved <= step / 2 + 1e-9


def test_a_wide_flat_part_is_cut():
    cut = clipped_for_swish(Range(-70.0, 17.0))
    assert -8 < cut.low < -3
    assert clipped_for_swish(Range(-1.0, 17.0)) == (-1.0, 17.0)


# Focus


def focus_net(order, two_cuts=False, seed=0, **conv):
    """Slices of every second row and column, stacked in some order and convolved."""
    net = SmallGraph([1, 3, 12, 16], seed)

    def cut(x, starts, axes, step=2):
        ends = np.full(len(axes), np.iinfo(np.int64).max)
        numbers = (np.array(starts), ends, np.array(axes), np.full(len(axes), step))
        return net.node("Slice", x, *(net.constant(n.astype(np.int64)) for n in numbers))

    parts = [cut(cut(net.input, [r], [2]), [c], [3]) if two_cuts
             else cut(net.input, [r, c], [2, 3]) for r, c in order]
    stacked = net.node("Concat", *parts, axis=1)
    return net.model(net.relu(net.conv(stacked, 6, 3 * len(parts), **conv)))


ORDERS = [[(0, 0), (1, 0), (0, 1), (1, 1)], [(1, 1), (0, 1), (1, 0), (0, 0)]]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("two_cuts", [False, True])
@pytest.mark.parametrize("conv", [{}, {"kernel": 1, "bias": False}, {"pads": [0, 1, 2, 0]}],
                         ids=["3x3", "1x1", "uneven-pads"])
def test_focus_is_one_convolution(order, two_cuts, conv):
    model = focus_net(order, two_cuts, **conv)
    count, joined = rewritten(prepare(model), join_focus)
    assert count == 1 and operators(joined) == {"Conv": 1, "Relu": 1}
    same(model, joined, normal_batches([1, 3, 12, 16], 1)[0])


@pytest.mark.parametrize("model", [
    focus_net([(0, 0), (1, 0), (0, 1), (0, 1)]),
    focus_net([(0, 0), (1, 0), (0, 1)]),
    focus_net(ORDERS[0], strides=[2, 2]),
    focus_net(ORDERS[0], group=3),
], ids=["a part twice", "a part missing", "stride 2", "grouped"])
def test_what_only_looks_like_focus_stays(model):
    count, joined = rewritten(prepare(model), join_focus)
    assert count == 0
    same(model, joined, normal_batches([1, 3, 12, 16], 1)[0])


def test_all_of_it_at_once():
    """Focus, batch norm and swish in one network, through what the quantizer does first."""
    net = SmallGraph([1, 12, 6, 8], 9)
    y = batch_norm(net, net.conv(net.input, 6, 12), 6)
    y = net.node("Mul", y, net.node("Sigmoid", y))
    model = net.model(net.conv(y, 5, 6))
    made = fit_to_kernels(prepare(model))
    assert operators(made)["QuickGelu"] == 1 and operators(made)["BatchNormalization"] == 0
    same(model, made, normal_batches([1, 12, 6, 8], 1)[0])
