"""A quantized graph computes what the float one does, within its steps, in every runtime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding_bounds import activation_steps, arrays, layer_weights, output_errors
from small_graphs import (
    SmallGraph,
    fused_model,
    fused_operators,
    normal_batches,
    openvino_kernels,
    operators,
    run_onnxruntime,
    run_openvino,
    run_reference,
)

from solutions.phase2_optimization.graph_preparation import opset_of, prepare
from solutions.phase2_optimization.kernel_form import fit_to_kernels
from solutions.phase2_optimization.pass_manager import optimize
from solutions.phase2_optimization.quantize_graph import StaticSettings, quantize_static
from zoo.errors import InferenceError

SHAPE = [1, 8, 8, 8]
CHANNELS = 16


# Random networks: each block takes a tensor of 16 channels and gives one back.

def conv(net, x, **attributes):
    return net.conv(x, CHANNELS, CHANNELS, **attributes)


def clipped(net, x, low, high):
    limits = [net.constant(np.float32(v)) if v is not None else "" for v in (low, high)]
    return net.node("Clip", x, *limits)


def narrowed(net, stacked, channels):
    return net.conv(stacked, CHANNELS, channels, kernel=1)


def gated(net, x):
    return net.node("Mul", x, net.node("Sigmoid", conv(net, x, kernel=1)))


def split_and_joined(net, x):
    left, right = net.node("Split", x, outputs=2, axis=1)
    left = net.relu(net.conv(left, 8, 8))
    return net.node("Concat", left, right, axis=1)


def squeezed_and_excited(net, x):
    small = net.relu(net.conv(net.node("GlobalAveragePool", x), 8, CHANNELS, kernel=1))
    return net.node("Mul", x, net.node("Sigmoid", net.conv(small, CHANNELS, 8, kernel=1)))


def shuffled(net, x):
    """ShuffleNet's exchange of channels between groups."""
    groups = net.node("Reshape", x, net.constant(np.array([0, 4, 4, 0, -1])))
    turned = net.node("Transpose", groups, perm=[0, 2, 1, 3, 4])
    return net.node("Reshape", turned, net.constant(np.array([0, CHANNELS, 8, -1])))


def sliced(net, x, start, end):
    return net.node("Slice", x, *[net.constant(np.array([v])) for v in (start, end, 1)])


BLOCKS = {
    "conv": conv,
    "conv relu": lambda net, x: net.relu(conv(net, x)),
    "conv clip": lambda net, x: clipped(net, conv(net, x), 0, 1.5),
    "conv clip both": lambda net, x: clipped(net, conv(net, x), -1, 1),
    "conv leaky": lambda net, x: net.node("LeakyRelu", conv(net, x), alpha=0.1),
    "pointwise": lambda net, x: conv(net, x, kernel=1, bias=False),
    "depthwise": lambda net, x: net.relu(conv(net, x, group=CHANNELS)),
    "grouped": lambda net, x: conv(net, x, group=4),
    "dilated": lambda net, x: conv(net, x, dilations=[2, 2], pads=[2, 2, 2, 2]),
    "residual": lambda net, x: net.relu(net.node("Add", x, conv(net, x))),
    "doubled": lambda net, x: net.node("Add", x, x),
    "dense": lambda net, x: narrowed(
        net, net.node("Concat", x, net.relu(conv(net, x)), axis=1), 32),
    "mixed concat": lambda net, x: narrowed(
        net, net.node("Concat", net.relu(conv(net, x)), conv(net, x), axis=1), 32),
    "max pool": lambda net, x: net.node(
        "MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]),
    "average pool": lambda net, x: net.node(
        "AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1]),
    "resize": lambda net, x: net.node(
        "MaxPool", net.node("Resize", x, "", net.constant(np.float32([1, 1, 2, 2])),
                            mode="nearest", coordinate_transformation_mode="asymmetric",
                            nearest_mode="floor"), kernel_shape=[2, 2], strides=[2, 2]),
    "doubled image": lambda net, x: conv(net, net.node(
        "Resize", conv(net, x), "", net.constant(np.float32([1, 1, 2, 2])), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor"), strides=[2, 2]),
    "gate": gated,
    "split": split_and_joined,
    "counted average": lambda net, x: net.node(
        "AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
    "strided average": lambda net, x: net.conv(
        net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), CHANNELS, CHANNELS),
    "relu behind pool": lambda net, x: net.relu(net.node(
        "MaxPool", conv(net, x), kernel_shape=[3, 3], pads=[1] * 4)),
    "relu behind concat": lambda net, x: narrowed(
        net, net.relu(net.node("Concat", x, conv(net, x), axis=1)), 32),
    "relu behind product": lambda net, x: net.relu(net.node("Mul", x, conv(net, x))),
    "squeeze and excite": squeezed_and_excited,
    "shuffle": shuffled,
    "halves exchanged": lambda net, x: net.node(
        "Concat", sliced(net, x, 8, 16), sliced(net, x, 0, 8), axis=1),
    "gather": lambda net, x: net.node(
        "Gather", x, net.constant(np.arange(16)[::-1].copy()), axis=1),
    "depth to space": lambda net, x: net.conv(
        net.node("DepthToSpace", x, blocksize=2), CHANNELS, 4, strides=[2, 2]),
}


def images_out(net, x):
    return net.conv(x, 5, CHANNELS, kernel=1)


def classes_out(net, x):
    pooled = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.gemm(net.relu(net.gemm(pooled, CHANNELS, 12)), 12, 4, transB=1)


def random_network(seed, blocks, ending, opset=17):
    net = SmallGraph(SHAPE, seed, opset)
    x = net.conv(net.input, CHANNELS, 8)
    for name in blocks:
        x = BLOCKS[name](net, x)
    return net.model(ending(net, x))


def assert_within_bounds(model, quantized, batches, runs):
    prepared = fit_to_kernels(prepare(model))
    for feeds in batches:
        errors, expected = output_errors(prepared, quantized, feeds)
        for run in runs:
            for found, error, real in zip(run(quantized, feeds), errors, expected, strict=True):
                slack = 1e-4 * np.abs(real).max()
                assert (np.abs(found - real) <= error.most + slack).all(), run.__name__
                rms = np.sqrt(np.mean((found - real) ** 2))
                likely = np.sqrt(error.square.mean())
                assert rms <= 2 * likely + slack, (run.__name__, rms, likely)
                assert likely < 0.3 * np.sqrt(np.mean(real**2)), "the bound says nothing"


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 20), st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4),
       st.sampled_from([images_out, classes_out]))
def test_random_networks_stay_within_what_their_steps_allow(seed, blocks, ending):
    model = random_network(seed, blocks, ending)
    batches = normal_batches(SHAPE, count=2, seed=seed)
    made = quantize_static(model, batches)
    assert_within_bounds(model, made.model, batches, [run_onnxruntime, run_openvino])


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_every_block_computes_what_the_standard_says(name):
    model = random_network(5, [name], images_out)
    batches = normal_batches(SHAPE, count=2)
    made = quantize_static(model, batches)
    assert_within_bounds(model, made.model, batches,
                         [run_onnxruntime, run_openvino, run_reference])


# What the runtimes make of it.

FUSED = {
    "conv": {"QLinearConv": 3},
    "conv relu": {"QLinearConv": 3},
    "conv clip": {"QLinearConv": 3},
    "conv clip both": {"QLinearConv": 3},
    "conv leaky": {"QLinearConv": 3, "QLinearLeakyRelu": 1},
    "depthwise": {"QLinearConv": 3},
    "residual": {"QLinearConv": 3, "QLinearAdd": 1},
    "doubled": {"QLinearConv": 2, "QLinearAdd": 1},
    "dense": {"QLinearConv": 4, "QLinearConcat": 1},
    "mixed concat": {"QLinearConv": 5, "QLinearConcat": 1},
    "max pool": {"QLinearConv": 2, "MaxPool": 1},
    "average pool": {"QLinearConv": 2, "Clip": 1, "AveragePool": 1, "QuantizeLinear": 2,
                     "DequantizeLinear": 4},
    "counted average": {"QLinearConv": 3},
    "strided average": {"QLinearConv": 4},
    "relu behind pool": {"QLinearConv": 3, "MaxPool": 1},
    "relu behind concat": {"QLinearConv": 4, "QLinearConcat": 1},
    "relu behind product": {"QLinearConv": 3, "QLinearMul": 1},
    "squeeze and excite": {"QLinearConv": 4, "QLinearGlobalAveragePool": 1, "QLinearSigmoid": 1,
                           "QLinearMul": 1},
    "shuffle": {"QLinearConv": 2, "Reshape": 2, "Transpose": 1},
    "halves exchanged": {"QLinearConv": 2, "Split": 1, "QLinearConcat": 1},
    "gather": {"QLinearConv": 2, "Gather": 1},
    "resize": {"QLinearConv": 2, "Resize": 1, "MaxPool": 1},
    "doubled image": {"QLinearConv": 4, "Transpose": 2, "QLinearConcat": 2, "Reshape": 2},
    "gate": {"QLinearConv": 3, "QLinearSigmoid": 1, "QLinearMul": 1},
    "split": {"QLinearConv": 3, "Split": 1, "QLinearConcat": 1},
}
OPENVINO_EDGES = {"Const", "Input", "Output", "Reorder", "Reshape", "Subgraph"}
EDGES = {"QuantizeLinear": 1, "DequantizeLinear": 3, "Conv": 1}  # the last layer gives float


@pytest.mark.parametrize("name", sorted(FUSED))
@pytest.mark.parametrize("seed", [1, 2])
def test_between_the_layers_are_the_fastest_kernels(name, seed, tmp_path):
    def two_more(net, x):
        return images_out(net, conv(net, x))

    model = random_network(seed, [name], two_more)
    made = quantize_static(model, normal_batches(SHAPE))
    assert fused_operators(made.model, tmp_path) == EDGES | FUSED[name]
    assert made.integer_share > 0.8
    for kind, precision in openvino_kernels(made.model):
        assert precision == "u8" or kind in OPENVINO_EDGES or "Clip" in FUSED[name], kind


@pytest.mark.parametrize("limits", [(0, None), (None, None), (0, 6), (-1, 1), (-2, 3), (-0.5, None),
                                    (None, 0.7), (0, 1e30), (-1e30, 1e-3), (-1e-3, 1e-3)])
def test_a_clip_becomes_part_of_the_range(limits, tmp_path):
    net = SmallGraph(SHAPE, seed=3)
    x = clipped(net, net.conv(net.input, CHANNELS, 8), *limits)
    model, batches = net.model(images_out(net, conv(net, x))), normal_batches(SHAPE)
    made = quantize_static(model, batches)
    assert fused_operators(made.model, tmp_path) == {"QLinearConv": 2} | EDGES
    assert_within_bounds(model, made.model, batches[:1], [run_onnxruntime, run_openvino])


def test_a_clip_whose_limits_depend_on_the_data_stands_for_itself(tmp_path):
    net = SmallGraph(SHAPE, seed=3)
    limit = net.node("ReduceMax", net.input, keepdims=0)
    x = net.node("Clip", net.conv(net.input, CHANNELS, 8), "", limit)
    made = quantize_static(net.model(images_out(net, conv(net, x))), normal_batches(SHAPE))
    fused = fused_operators(made.model, tmp_path)
    assert (fused["QLinearConv"], fused["Clip"]) == (2, 1)


def test_linear_layers_are_fused_with_what_surrounds_them(tmp_path):
    net = SmallGraph([4, 32], seed=3)
    x = net.relu(net.gemm(net.input, 32, 16))
    x = net.node("Add", net.node("MatMul", x, net.constant(net.weights(16, 16))),
                 net.constant(net.weights(16)))
    model = net.model(net.node("MatMul", net.relu(x), net.constant(net.weights(16, 5))))
    batches = normal_batches([4, 32])
    made = quantize_static(model, batches)
    found = fused_operators(made.model, tmp_path)
    assert found == {"QuantizeLinear": 1, "QGemm": 2, "MatMulIntegerToFloat": 1}
    expected = run_onnxruntime(model, batches[0])[0]
    for run in (run_onnxruntime, run_openvino, run_reference):
        off = np.abs(run(made.model, batches[0])[0] - expected).max()
        assert off < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
def test_a_last_product_and_its_bias_are_one_integer_layer(shape, tmp_path):
    net = SmallGraph([4, 32], seed=3)
    product = net.node("MatMul", net.input, net.constant(net.weights(32, 5, fan=32)))
    model = net.model(net.node("Add", product, net.constant(net.weights(*shape))))
    made = quantize_static(model, normal_batches([4, 32]))
    assert fused_operators(made.model, tmp_path) == {"QuantizeLinear": 1, "QGemm": 1}
    assert_within_bounds(model, made.model, normal_batches([4, 32])[:1], [run_onnxruntime])


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
def test_constants_per_channel_go_into_the_convolution(operator, tmp_path):
    net = SmallGraph(SHAPE, seed=3)
    constant = net.constant(np.abs(net.weights(CHANNELS, 1, 1)) + 0.5)
    x = net.node(operator, net.conv(net.input, CHANNELS, 8, bias=False), constant)
    model = net.model(images_out(net, conv(net, net.relu(x))))
    made = quantize_static(model, normal_batches(SHAPE))
    assert fused_operators(made.model, tmp_path) == {"QLinearConv": 2} | EDGES
    assert_within_bounds(model, made.model, normal_batches(SHAPE)[:1], [run_onnxruntime])


@pytest.mark.parametrize("axes", [1, 3])
def test_convolutions_along_one_and_three_axes(axes):
    shape = [2, 8, *[6] * axes]
    net = SmallGraph(shape, seed=3)
    x = net.node("Conv", net.input, net.constant(net.weights(16, 8, *[3] * axes)),
                 net.constant(net.weights(16)), auto_pad="SAME_UPPER")
    x = net.node("Conv", net.relu(x), net.constant(net.weights(16, 16, *[1] * axes)))
    x = net.node("Conv", net.node("Add", x, x), net.constant(net.weights(4, 16, *[1] * axes)))
    model, batches = net.model(x), normal_batches(shape)
    made = quantize_static(model, batches)
    assert len(made.integer_layers) == 2
    assert_within_bounds(model, made.model, batches[:1], [run_onnxruntime, run_openvino])


def test_a_product_of_two_activations_is_integer(tmp_path):
    net = SmallGraph([2, 6, 16], seed=4)
    left = net.node("MatMul", net.input, net.constant(net.weights(16, 16)))
    right = net.node("Transpose", net.node("MatMul", net.input, net.constant(net.weights(16, 16))),
                     perm=[0, 2, 1])
    model, batches = net.model(net.node("MatMul", left, right)), normal_batches([2, 6, 16])
    made = quantize_static(model, batches)
    fused = fused_operators(made.model, tmp_path)
    assert fused["MatMul"] == 0 and len(made.integer_layers) == 3
    expected = run_onnxruntime(model, batches[0])[0]
    for run in (run_onnxruntime, run_openvino):
        assert np.abs(run(made.model, batches[0])[0] - expected).max() < 0.04 * expected.max()


# Float layers are float.

def test_a_pooling_of_floats_is_one_of_floats(tmp_path):
    net = SmallGraph([1, 3, 16, 16], seed=3)
    x = net.relu(net.conv(net.input, CHANNELS, 3))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    model, batches = net.model(images_out(net, conv(net, x))), normal_batches([1, 3, 16, 16])
    made = quantize_static(model, batches)
    assert list(made.float_layers) == ["Conv0", "Conv4"]
    fused = fused_model(made.model, tmp_path)
    makers = {name: node.op_type for node in fused.graph.node for name in node.output}
    pool = next(node for node in fused.graph.node if node.op_type == "MaxPool")
    assert makers[pool.input[0]] == "FusedConv"
    assert_within_bounds(model, made.model, batches[:1],
                         [run_onnxruntime, run_openvino, run_reference])


def kept_float(build, name):
    net = SmallGraph(SHAPE, seed=6)
    model, kept = net.model(build(net)), StaticSettings(keep_float={name: "asked"})
    return quantize_static(model, normal_batches(SHAPE), kept)


def three_convolutions(net):
    x = net.relu(net.conv(net.input, CHANNELS, 8))
    return images_out(net, conv(net, net.relu(conv(net, x))))


def past_a_transpose(net):
    x = net.node("Transpose", net.conv(net.input, CHANNELS, 8), perm=[0, 1, 3, 2])
    return images_out(net, conv(net, net.node("Transpose", conv(net, x), perm=[0, 1, 3, 2])))


def transposed_convolution(net):
    x = net.relu(net.conv(net.input, CHANNELS, 8))
    x = net.node("ConvTranspose", x, net.constant(net.weights(16, 16, 2, 2)), strides=[2, 2])
    return images_out(net, conv(net, x))


def gemms(net):
    x = net.gemm(net.node("Flatten", net.input), 512, 16)
    return net.gemm(net.gemm(x, 16, 16), 16, 4)


@pytest.mark.parametrize(("build", "name"), [
    (three_convolutions, "Conv2"), (past_a_transpose, "Conv2"),
    (transposed_convolution, "ConvTranspose2"), (gemms, "Gemm2"),
])
def test_weights_of_float_layers_are_not_rounded_behind_our_back(build, name, tmp_path):
    made = kept_float(build, name)
    assert made.float_layers[name]
    assert name not in made.integer_layers
    node = next(n for n in fused_model(made.model, tmp_path).graph.node if n.name == name)
    assert node.op_type == name.rstrip("0123456789")
    feeds = normal_batches(SHAPE)[0]
    plain, fused = (run_onnxruntime(made.model, feeds, optimize)[0] for optimize in (False, True))
    step = max(activation_steps(made.model).values())
    assert np.abs(plain - fused).max() < step, "kernels may round a tie the other way, no more"


def test_the_graph_optimizer_leaves_what_hides_integers():
    net = SmallGraph([1, 3, 16, 16], seed=3)
    x = net.node("MaxPool", net.relu(net.conv(net.input, CHANNELS, 3)), kernel_shape=[2, 2])
    x = net.relu(conv(net, net.relu(conv(net, net.relu(conv(net, x))))))
    model, kept = net.model(images_out(net, x)), {"Conv5": "asked"}
    made = quantize_static(model, normal_batches([1, 3, 16, 16]), StaticSettings(keep_float=kept))
    before = operators(made.model)
    assert (before["Max"], before["Clip"]) == (1, 1)
    after = operators(optimize(made.model).model)
    assert (after["Max"], after["Clip"]) == (1, 1)


def test_slices_that_cut_nothing_off_are_gone():
    net = SmallGraph(SHAPE, seed=3)
    x = net.conv(net.input, CHANNELS, 8)
    x = sliced(net, net.node("Concat", x, conv(net, x), axis=1), 0, 1 << 40)
    model = net.model(images_out(net, narrowed(net, x, 32)))
    made = quantize_static(model, normal_batches(SHAPE))
    assert operators(made.model)["Slice"] == 0
    assert_within_bounds(model, made.model, normal_batches(SHAPE)[:1],
                         [run_onnxruntime, run_openvino])


def test_a_node_that_is_not_there_cannot_be_kept():
    with pytest.raises(InferenceError, match="no node is named Conv99"):
        kept_float(three_convolutions, "Conv99")


# What is stored.

def test_weights_have_a_scale_per_channel_and_biases_32_bits():
    model = random_network(1, ["conv relu"], images_out)
    made = quantize_static(model, normal_batches(SHAPE)).model
    constants, real = arrays(made), arrays(fit_to_kernels(prepare(model)))
    steps = activation_steps(made)
    for node in made.graph.node:
        if node.op_type != "Conv":
            continue
        stem = node.name
        weights, bias = constants[f"{stem}/weight/integer"], constants[f"{stem}/bias/integer"]
        assert (weights.dtype, bias.dtype) == (np.int8, np.int32)
        scale = constants[f"{stem}/weight/scale"]
        assert scale.shape == (len(weights),)
        assert (np.abs(weights).reshape(len(weights), -1).max(axis=1) == 127).all()
        source = node.input[0].removesuffix("/stepped")
        np.testing.assert_allclose(
            constants[f"{stem}/bias/scale"], steps[source] * scale, rtol=1e-6)
    for name, (weights, bias) in layer_weights(made).items():
        original = next(n for n in fit_to_kernels(prepare(model)).graph.node if n.name == name)
        biggest = np.abs(real[original.input[1]]).max(axis=(1, 2, 3), keepdims=True)
        assert (np.abs(weights - real[original.input[1]]) <= biggest / 254 * 1.001).all()
        assert np.abs(bias - real[original.input[2]]).max() < 1e-4


def scale_names(model):
    """Scale and zero point of each quantized tensor."""
    return {node.input[0].removesuffix("/real"): tuple(node.input[1:])
            for node in model.graph.node if node.op_type == "QuantizeLinear"}


@pytest.mark.parametrize("name", ["max pool", "resize", "split", "dense"])
def test_what_only_moves_numbers_keeps_their_scale(name):
    model = random_network(2, ["conv relu", name], images_out)
    made = quantize_static(model, normal_batches(SHAPE)).model
    scales = scale_names(made)
    for node in made.graph.node:
        if node.op_type in ("MaxPool", "Resize", "Split", "Concat"):
            names = [n.removesuffix("/real") for n in (*node.input, *node.output)]
            ends = [scales[n] for n in names if n in scales]
            assert len(ends) >= 2 and len(set(ends)) == 1, node.name


def test_behind_a_relu_no_scale_reaches_below_zero():
    model = random_network(2, ["mixed concat"], images_out)
    made = quantize_static(model, normal_batches(SHAPE)).model
    scales, constants = scale_names(made), arrays(made)
    concat = next(n for n in made.graph.node if n.op_type == "Concat")
    clamped, other = (scales[name] for name in concat.input)
    assert constants[clamped[1]] == 0 and constants[other[1]] > 0
    assert other == scales[concat.output[0].removesuffix("/real")]


def test_a_residual_has_a_scale_for_each_side():
    model = random_network(2, ["residual"], images_out)
    scales = scale_names(quantize_static(model, normal_batches(SHAPE)).model)
    assert len(set(scales.values())) == len(scales)


def test_the_opset_rises_to_where_channels_have_scales():
    model = random_network(1, ["conv relu"], images_out, opset=11)
    made = quantize_static(model, normal_batches(SHAPE)).model
    assert (opset_of(model), opset_of(made)) == (11, 13)
    newer = random_network(1, ["conv relu"], images_out, opset=21)
    assert opset_of(quantize_static(newer, normal_batches(SHAPE)).model) == 21


def test_the_last_layers_give_float_unless_their_outputs_may_be_integers(tmp_path):
    model, batches = random_network(1, ["conv"], images_out), normal_batches(SHAPE)
    made = quantize_static(model, batches)
    last = model.graph.node[-1].name
    assert "result float" in made.float_layers[last]
    whole = quantize_static(model, batches, StaticSettings(integer_outputs=frozenset({last})))
    assert last in whole.integer_layers and whole.integer_share == 1.0
    assert fused_operators(whole.model, tmp_path)["Conv"] == 0


def test_the_model_given_is_not_changed():
    model = random_network(1, ["dense"], images_out)
    before = model.SerializeToString()
    quantize_static(model, normal_batches(SHAPE))
    assert model.SerializeToString() == before


def test_names_that_a_model_has_already_are_not_taken_twice():
    net = SmallGraph(SHAPE, seed=1)
    x = net.relu(net.conv(net.input, CHANNELS, 8))
    y = x
    for name in ("x/integer", "relu1/real", "Conv6/weight/integer", "x/integer/quantize"):
        y = net.node("Add", y, net.constant(net.weights(1), name))
    model, batches = net.model(images_out(net, conv(net, y)), x), normal_batches(SHAPE)
    made = quantize_static(model, batches)
    assert operators(made.model)["QuantizeLinear"] >= 3
    for run in (run_onnxruntime, run_openvino):
        for found, real in zip(run(made.model, batches[0]),
                               run_onnxruntime(model, batches[0]), strict=True):
            assert np.abs(found - real).max() < 0.04 * np.abs(real).max()
