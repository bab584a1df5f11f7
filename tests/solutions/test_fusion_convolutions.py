"""Convolutions for ONNX Runtime: FusedConv, and the blocked layout."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from solutions.phase1_basics.channel_blocks import PROBE
from solutions.phase1_basics.onnx_model import OnnxModel
from solutions.phase2_optimization.formats.onnx_runtime import open_model, session_runner
from solutions.phase2_optimization.graph_passes.blocked_layout import (
    blocked_layout,
    to_blocked_layout,
)
from solutions.phase2_optimization.graph_passes.blocked_weights import (
    block_size_of,
    blocked_filter,
    check_block_size,
    output_blocked_filter,
    runtime_block_size,
)
from solutions.phase2_optimization.graph_passes.fused_conv import (
    fuse_activations,
    fuse_residuals,
)
from solutions.phase2_optimization.graph_passes.quick_gelu import fuse_swish
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from tests.solutions.fusion_checks import (
    assert_fires,
    assert_same,
    assert_stays,
    feeds_of,
    rewritten,
)
from tests.solutions.small_graphs import SmallGraph, operators, run_onnxruntime
from zoo.errors import InferenceError

BLOCK = runtime_block_size()
blocks = pytest.mark.skipif(BLOCK == 1, reason="ONNX Runtime knows no blocks on this processor")


def blocks_of_16(graph):
    return to_blocked_layout(graph, 16)


ACTIVATIONS = {
    "Relu": {}, "Sigmoid": {}, "Tanh": {}, "HardSwish": {}, "LeakyRelu": {"alpha": 0.2},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
}


def picture(channels=16, size=9, batch=1, seed=0, **options):
    return SmallGraph([batch, channels, size, size], seed=seed, **options)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("options", [True, False])
def test_an_activation_goes_into_the_convolution(name, options):
    net = picture(3)
    y = net.node(name, net.conv(net.input, 4, 3), **(ACTIVATIONS[name] if options else {}))
    assert_fires(net.model(y), fuse_activations, gone=[name], made=["FusedConv"], reference=False)


@pytest.mark.parametrize(("low", "high"), [(0, 0.5), (None, 0.5), (-0.2, None), (None, None)])
def test_a_clip_goes_into_the_convolution(low, high):
    net = picture(3)
    bounds = ["" if b is None else net.constant(np.float32(b)) for b in (low, high)]
    y = net.node("Clip", net.conv(net.input, 4, 3), *bounds)
    assert_fires(net.model(y), fuse_activations, gone=["Clip"], reference=False)


def test_activations_that_must_stay():
    net = picture(3)
    y = net.conv(net.input, 4, 3)
    assert_stays(net.model(net.relu(y), net.node("Tanh", y)), fuse_activations)
    net = picture(3)
    y = net.conv(net.input, 4, 3)
    assert_stays(net.model(y, net.relu(y)), fuse_activations)
    net = picture(3)
    bound = net.another_input("bound", [])
    assert_stays(net.model(net.node("Clip", net.conv(net.input, 4, 3), bound)), fuse_activations)
    net = picture(3)
    assert_stays(net.model(net.node("Elu", net.conv(net.input, 4, 3))), fuse_activations)
    half = picture(3, kind=TensorProto.FLOAT16)
    y = half.node("Conv", half.input, half.constant(half.weights(4, 3, 1, 1).astype(np.float16)))
    assert_stays(half.model(half.relu(y), kind=TensorProto.FLOAT16), fuse_activations)


@pytest.mark.parametrize("first", [True, False])
def test_a_residual_and_its_activation_go_into_the_convolution(first):
    net = picture(4)
    y = net.conv(net.relu(net.input), 4, 4)
    y = net.node("Add", *((y, net.input) if first else (net.input, y)))
    made = assert_fires(net.model(net.relu(y)), fuse_residuals, fuse_activations, places=2,
                        gone=["Add"], reference=False)
    assert operators(made)["Relu"] == 1  # the one in front


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("group", [1, 4])
def test_convolutions_of_rows_and_volumes_take_both(axes, group):
    net = SmallGraph([2, 4, *[6] * axes])
    weights = net.constant(net.weights(4, 4 // group, *[3] * axes))
    y = net.node("Conv", net.input, weights, group=group, pads=[1] * 2 * axes)
    y = net.node("HardSwish", net.node("Add", y, net.input))
    made = assert_fires(net.model(y), fuse_residuals, fuse_activations, places=2, reference=False)
    assert operators(made) == {"FusedConv": 1}


def test_of_two_convolutions_one_takes_the_other():
    net = picture(4)
    y = net.node("Add", net.conv(net.input, 4, 4), net.conv(net.input, 4, 4, bias=False))
    made = assert_fires(net.model(y), fuse_residuals, gone=["Add"], reference=False)
    assert operators(made) == {"Conv": 1, "FusedConv": 1}


def test_sums_that_broadcast_or_are_read_elsewhere_stay():
    net = picture(4)
    row = net.another_input("row", [1, 4, 1, 1])
    assert_stays(net.model(net.node("Add", net.conv(net.input, 4, 4), row)), fuse_residuals)
    net = picture(4)
    y = net.conv(net.input, 4, 4)
    assert_stays(net.model(net.node("Add", y, net.input), net.relu(y)), fuse_residuals)
    net = picture(4)
    y = net.conv(net.input, 4, 4)
    assert_stays(net.model(net.node("Add", y, y)), fuse_residuals)


@pytest.mark.parametrize("alpha", [None, 1.702])
def test_swish_becomes_one_operator(alpha):
    net = picture(3)
    inside = net.input if alpha is None else net.node(
        "Mul", net.input, net.constant(np.float32(alpha)))
    y = net.node("Mul", net.node("Sigmoid", inside), net.input)
    assert_fires(net.model(y), fuse_swish, gone=["Sigmoid", "Mul"], reference=False)


def test_a_gate_of_something_else_is_no_swish():
    net = picture(3)
    y = net.node("Mul", net.node("Sigmoid", net.relu(net.input)), net.input)
    assert_stays(net.model(y), fuse_swish)
    net = picture(3)
    gate = net.node("Sigmoid", net.input)
    assert_stays(net.model(net.node("Mul", gate, net.input), gate), fuse_swish)


@pytest.mark.parametrize("block", [4, 8])
def test_blocked_filters_hold_each_weight_where_the_form_says(block):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(10, 5, 3, 2)).astype(np.float32)
    both, outer = blocked_filter(weights, block), output_blocked_filter(weights, block)
    wide = both.reshape(both.shape[0] // block, both.shape[1] // block, 3, 2, block, block)
    half = outer.reshape(outer.shape[0] // block, 5, 3, 2, block)
    for o, i, h, w in np.ndindex(*weights.shape):
        assert wide[o // block, i // block, h, w, i % block, o % block] == weights[o, i, h, w]
        assert half[o // block, i, h, w, o % block] == weights[o, i, h, w]
    assert np.count_nonzero(wide) == np.count_nonzero(half) == weights.size


@blocks
@pytest.mark.parametrize(("channels", "out", "options"), [
    (16, 32, {}), (32, 24, {"strides": [2, 2]}), (20, 20, {"bias": False}), (3, 20, {}),
    (12, 16, {"dilations": [2, 2]}), (64, 64, {"group": 2}), (32, 32, {"group": 32}),
    (24, 24, {"group": 24, "kernel": 5}), (32, 32, {"group": 8}), (48, 48, {"group": 6}),
    (40, 40, {"group": 5, "strides": [2, 2]}), (20, 20, {"group": 5, "bias": False}),
    (16, 16, {"kernel": 1, "auto_pad": "SAME_UPPER"}),
])
@pytest.mark.parametrize("batch", [1, 2])
def test_convolutions_in_blocks(channels, out, options, batch):
    net = picture(channels, batch=batch)
    if "auto_pad" in options:
        options = options | {"pads": None}
    y = net.conv(net.input, out, channels, **options)
    made = assert_fires(net.model(y), blocked_layout, gone=["FusedConv"], reference=False)
    assert {node.domain for node in made.graph.node} == {"com.microsoft.nchwc"}
    assert block_size_of(made) == BLOCK


@blocks
@pytest.mark.parametrize(("kernel", "orders"), [(1, 1), (5, 2)])
def test_a_large_kernel_does_not_multiply_filling(kernel, orders):
    net = picture(16)
    few = net.conv(net.input, BLOCK // 2, 16)
    made = assert_fires(net.model(net.conv(few, 32, BLOCK // 2, kernel=kernel)), blocked_layout,
                        gone=["FusedConv"], places=2, reference=False)
    assert operators(made)["ReorderOutput"] == orders


@blocks
@pytest.mark.parametrize(("channels", "out", "options"), [
    (18, 32, {}), (12, 12, {"group": 2}), (16, 32, {"group": 16}), (20, 2, {}),
    (32, 32, {"group": 16}), (32, 64, {"group": 4}),
])
def test_convolutions_that_blocks_do_not_suit_stay(channels, out, options):
    net = picture(channels)
    assert_stays(net.model(net.conv(net.input, out, channels, **options)), blocks_of_16)


@blocks
def test_convolutions_with_other_weights_stay():
    net = picture(16)
    weights = net.another_input("w", [16, 16, 3, 3])
    assert_stays(net.model(net.node("Conv", net.input, weights)), blocks_of_16)
    net = SmallGraph([1, 16, 9])
    y = net.node("Conv", net.input, net.constant(net.weights(16, 16, 3)))
    assert_stays(net.model(y), blocks_of_16)
    net = picture(16, kind=TensorProto.FLOAT16)
    y = net.node("Conv", net.input, net.constant(net.weights(16, 16, 3, 3).astype(np.float16)))
    assert_stays(net.model(y, kind=TensorProto.FLOAT16), blocks_of_16)


@blocks
@pytest.mark.parametrize("row", [
    ["relu", "MaxPool"], ["AveragePool", "tanh"], ["GlobalAveragePool"], ["GlobalMaxPool"],
    ["Resize"], ["residual"], ["square"], ["number"], ["gate"], ["concat"], ["relu", "transpose"],
    ["relu", "ceil pool"], ["tanh", "ceil mean"], ["relu", "norm", "relu"], ["tanh", "scale"],
    ["tanh", "shift", "clip"],
])
@pytest.mark.parametrize("channels", [16, 20])
def test_what_follows_stays_in_blocks(row, channels):
    net = picture(channels, seed=1)
    y = net.conv(net.input, channels, channels)
    for step in row:
        y = STEPS[step](net, y, channels)
    model = net.model(net.node("Mul", y, net.constant(np.float32(2))))
    made, changed = rewritten(model, blocked_layout)
    assert changed >= 1 + len(row) - ("transpose" in row)
    if "concat" not in row or channels == BLOCK:
        assert operators(made)["ReorderOutput"] + operators(made)["ReorderInput"] <= 2
    assert_same(model, made, reference=False)


def global_gate(net, x, channels):
    gate = net.node("GlobalAveragePool", x)
    gate = net.node("Sigmoid", net.conv(gate, channels, channels, kernel=1))
    return net.node("Mul", x, gate)


def norm(net, x, channels):
    numbers = [net.rng.uniform(0.5, 1.5, channels) for _ in range(4)]
    return net.node("BatchNormalization", x, *(
        net.constant(values.astype(np.float32)) for values in numbers))


def per_channel(net, channels):
    return net.constant(net.rng.uniform(0.5, 2, (channels, 1, 1)).astype(np.float32))


STEPS = {
    "norm": norm,
    "scale": lambda net, x, c: net.node("Mul", per_channel(net, c), x),
    "shift": lambda net, x, c: net.node("Sub", x, per_channel(net, c)),
    "clip": lambda net, x, c: net.node("Clip", x, net.constant(np.float32(-0.4))),
    "ceil pool": lambda net, x, c: net.node(
        "MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, dilations=[2, 2]),
    "ceil mean": lambda net, x, c: net.node(
        "AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "relu": lambda net, x, c: net.relu(x),
    "tanh": lambda net, x, c: net.node("Tanh", x),
    "MaxPool": lambda net, x, c: net.node(
        "MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool": lambda net, x, c: net.node("AveragePool", x, kernel_shape=[2, 2]),
    "GlobalAveragePool": lambda net, x, c: net.node("GlobalAveragePool", x),
    "GlobalMaxPool": lambda net, x, c: net.node("GlobalMaxPool", x),
    "Resize": lambda net, x, c: net.node(
        "Resize", x, "", net.constant(np.array([1, 1, 2, 3], np.float32)), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "residual": lambda net, x, c: net.node("Add", x, net.conv(x, c, c)),
    "square": lambda net, x, c: net.node("Mul", x, x),
    "number": lambda net, x, c: net.node("Add", x, net.constant(np.float32(0.5))),
    "gate": global_gate,
    "concat": lambda net, x, c: net.conv(
        net.node("Concat", net.relu(x), net.conv(x, 8, c), net.conv(x, 24, c), axis=1),
        c, c + 32),
    "transpose": lambda net, x, c: net.node("Transpose", x, perm=[0, 2, 3, 1]),
}


def enlarged(net, scales=(1, 1, 2, 3), sizes=None, **options):
    """A convolution's 9 x 9 picture, resized."""
    given = ["", net.constant(np.array(scales, np.float32))] if sizes is None else [
        "", "", net.constant(np.array(sizes, np.int64))]
    return net.model(net.node("Resize", net.conv(net.input, 20, 20), *given, **options))


@blocks
@pytest.mark.parametrize("places", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("target", [
    {}, {"scales": (1, 1, 4, 1)}, {"sizes": (1, 20, 27, 9)}, {"sizes": (1, 20, 18, 36)}])
def test_a_picture_is_enlarged_linearly_in_blocks(places, target):
    model = enlarged(picture(20, seed=3), **target, mode="linear",
                     coordinate_transformation_mode=places)
    made, changed = rewritten(model, blocked_layout)
    assert changed == 2 and operators(made)["Upsample"] == 1 and not operators(made)["Resize"]
    assert_same(model, made, reference=False)


@blocks
@pytest.mark.parametrize("options", [
    {"scales": (1, 1, 1.5, 2), "mode": "linear"}, {"sizes": (1, 20, 10, 18), "mode": "linear"},
    {"mode": "cubic"}, {"mode": "nearest", "coordinate_transformation_mode": "half_pixel"},
    {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
    {"mode": "linear", "antialias": 1, "scales": (1, 1, 1, 1)},
])
def test_other_ways_to_resize_leave_the_blocks(options):
    model = enlarged(picture(20, seed=4, opset=18), **options)
    made, _ = rewritten(model, blocked_layout)
    assert operators(made)["Resize"] == 1 and not operators(made)["Upsample"]
    assert_same(model, made, reference=False)


@blocks
def test_an_activation_after_a_scale_goes_along():
    net = picture(16)
    y = net.relu(norm(net, net.node("Tanh", net.conv(net.input, 16, 16)), 16))
    model = net.model(y)
    made, _ = rewritten(model, blocked_layout)
    assert not operators(made)["Relu"] and operators(made)["Conv"] == 2
    assert_same(model, made, reference=False)
    both = net.model(net.node("Add", y, net.nodes[2].output[0]))  # the norm is read twice
    made, _ = rewritten(both, blocked_layout)
    assert operators(made)["Relu"] == 1
    assert_same(both, made, reference=False)


@blocks
def test_a_mean_that_counts_what_it_pads_beyond_the_border_stays():
    net = picture(16)
    y = net.node("AveragePool", net.conv(net.input, 16, 16), kernel_shape=[2, 2], strides=[2, 2],
                 ceil_mode=1, count_include_pad=1)
    model = net.model(y)
    made, changed = rewritten(model, blocked_layout)
    assert changed == 1
    assert_same(model, made, reference=False)


@blocks
def test_a_concat_with_gaps_is_plain_where_its_channels_must_be_dense():
    net = picture(16)
    joined = net.node("Concat", net.conv(net.input, 24, 16), net.conv(net.input, 16, 16), axis=1)
    made, changed = rewritten(net.model(net.relu(joined)), blocked_layout)
    assert changed == 2 and operators(made)["ReorderOutput"] == 2
    assert_same(net.model(net.relu(joined)), made, reference=False)


def test_what_fused_operators_make_keeps_its_shape():
    net = picture(4)
    y = net.conv(net.relu(net.conv(net.input, 8, 4)), 6, 8)
    graph = OnnxGraph(net.model(net.relu(y)))
    assert fuse_activations(graph) == 2  # nobody has asked for a shape before
    assert len(graph.nodes) == 2
    shapes = [graph.shape(node.output[0]) for node in graph.ordered()]
    assert shapes == [(1, 8, 9, 9), (1, 6, 9, 9)]
    graph.forget_types()
    assert shapes == [graph.shape(node.output[0]) for node in graph.ordered()]


@blocks
@pytest.mark.parametrize(("sizes", "reorders"), [((32, 24), 2), ((16, 16, 24), 2), ((24, 32), 4)])
def test_a_split_between_blocks_stays_in_blocks(sizes, reorders):
    net = picture(16)
    x = net.relu(net.conv(net.input, 56, 16))
    parts = net.node("Split", x, net.constant(np.array(sizes)), outputs=len(sizes), axis=1)
    parts[1] = net.relu(net.conv(parts[1], sizes[1], sizes[1]))
    model = net.model(net.conv(net.node("Concat", *parts, axis=1), 16, 56), net.relu(parts[0]))
    made, _ = rewritten(model, fuse_activations, blocked_layout)
    found = operators(made)
    assert found["ReorderOutput"] + found["ReorderInput"] >= reorders
    assert (found["ReorderOutput"] <= 2) == (sizes[0] % BLOCK == 0)
    assert_same(model, made, reference=False)


@blocks
def test_a_gate_for_a_batch_of_unknown_size_is_plain():
    net = SmallGraph(["batch", 16, 9, 9])
    y = global_gate(net, net.conv(net.input, 16, 16), 16)
    model = net.model(net.conv(y, 16, 16))
    made, _ = rewritten(model, fuse_activations, blocked_layout)
    assert operators(made)["Mul"] == 1
    assert_same(model, made, reference=False)


@blocks
def test_nothing_is_reordered_twice_and_outputs_keep_their_names():
    net = picture(32)
    x = net.relu(net.input)
    first, second = net.conv(x, 32, 32), net.conv(x, 16, 32)
    model = net.model(first, net.relu(first), net.conv(second, 16, 16))
    made, _ = rewritten(model, blocked_layout)
    assert operators(made)["ReorderInput"] == 1
    assert [o.name for o in made.graph.output] == [o.name for o in model.graph.output]
    assert_same(model, made, reference=False)


def test_a_model_for_another_processor_is_refused():
    net = picture(32)
    graph_model = net.model(net.conv(net.input, 32, 32))
    check_block_size(graph_model)
    graph = OnnxGraph(graph_model)
    assert to_blocked_layout(graph, 8) == 1
    eight = graph.to_model()
    assert block_size_of(eight) == 8
    check_block_size(eight, here=8)
    with pytest.raises(InferenceError, match=r"8 channels at a time.* 16 on this one"):
        check_block_size(eight, here=16)
    assert to_blocked_layout(OnnxGraph(graph_model), 1) == 0


def test_the_probe_is_one_reorder_of_four_channels():
    probe = onnx.load_from_string(PROBE)
    (node,) = probe.graph.node
    assert (node.op_type, node.domain) == ("ReorderInput", "com.microsoft.nchwc")
    assert runtime_block_size() in (1, 8, 16)


@blocks
def test_a_compiled_file_loads_where_it_fits_and_nowhere_else(tmp_path):
    net = picture(32)
    model = net.model(net.relu(net.conv(net.input, 32, 32)))
    fitting, other = OnnxGraph(model), OnnxGraph(model)
    assert to_blocked_layout(fitting, BLOCK) and to_blocked_layout(other, BLOCK // 2)
    onnx.save(fitting.to_model(), tmp_path / "fitting.onnx")
    onnx.save(other.to_model(), tmp_path / "other.onnx")
    feeds = feeds_of(model)
    expected = run_onnxruntime(model, feeds)[0]
    for load in (lambda path: OnnxModel(path).predict(feeds["x"]),
                 lambda path: session_runner(open_model(path, 1))([feeds["x"]])[0]):
        np.testing.assert_allclose(load(tmp_path / "fitting.onnx"), expected, atol=1e-5)
        with pytest.raises(InferenceError, match="compile it anew here"):
            load(tmp_path / "other.onnx")


def random_network(seed, steps):
    """A network of random parts, with tensors that several readers share."""
    rng = np.random.default_rng(seed)
    net = picture(int(rng.choice([3, 8, 16, 24])), seed=seed)
    alive = [(net.input, int(net.inputs[0].type.tensor_type.shape.dim[1].dim_value))]
    for step in steps:
        x, channels = alive[int(rng.integers(len(alive)))]
        if step == "conv":
            out = int(rng.choice([8, 16, 20, 33, 48]))
            alive.append((net.conv(x, out, channels, kernel=int(rng.choice([1, 3]))), out))
        elif step == "depthwise":
            alive.append((net.conv(x, channels, channels, group=channels), channels))
        elif step == "concat":
            other, more = alive[int(rng.integers(len(alive)))]
            alive.append((net.node("Concat", x, other, axis=1), channels + more))
        elif step == "add":
            same = [name for name, count in alive if count == channels]
            alive.append((net.node("Add", x, same[int(rng.integers(len(same)))]), channels))
        elif step == "gate":
            alive.append((global_gate(net, x, channels), channels))
        else:
            alive.append((net.node(step, x), channels))
    used = {name for node in net.nodes for name in node.input}
    ends = [name for name, _ in alive if name not in used]
    return net.model(*ends, *[alive[-1][0]] * (not ends))


@blocks
@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.sampled_from(
    ["conv", "conv", "depthwise", "concat", "add", "gate", "Relu", "HardSwish"]),
    min_size=1, max_size=9))
def test_any_network_keeps_its_outputs(seed, steps):
    model = random_network(seed, steps)
    made, _ = rewritten(model, fuse_swish, fuse_residuals, fuse_activations, blocked_layout)
    assert_same(model, made, reference=False, tolerance=1e-4)
    onnx.shape_inference.infer_shapes(made)
