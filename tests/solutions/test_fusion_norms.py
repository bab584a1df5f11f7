"""Batch norms, per-channel constants and pads go into the linear layer that they follow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from solutions.phase2_optimization.graph_passes.norm_folding import fold_norms, fold_scales
from solutions.phase2_optimization.graph_passes.pad_folding import fold_pads
from tests.solutions.fusion_checks import assert_fires, assert_same, assert_stays, rewritten
from tests.solutions.small_graphs import SmallGraph


def batch_norm(net, x, channels, kind=np.float32, **attributes):
    numbers = [net.rng.uniform(0.5, 1.5, channels), net.rng.normal(size=channels),
               net.rng.normal(size=channels), net.rng.uniform(0.5, 2, channels)]
    return net.node("BatchNormalization", x, *(net.constant(n.astype(kind)) for n in numbers),
                    **attributes)


def transposed(net, x, channels, out, group=1):
    weights = net.weights(channels, out // group, 3, 3, fan=channels * 9)
    return net.node("ConvTranspose", x, net.constant(weights), group=group, strides=[2, 2])


def per_channel(net, channels, *tail):
    return net.constant(net.rng.uniform(0.5, 2, (channels, *tail)).astype(np.float32))


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_goes_into_the_convolution(group, bias):
    net = SmallGraph([2, 4, 6, 6])
    y = batch_norm(net, net.conv(net.input, 6, 4, bias=bias, group=group), 6, epsilon=0.01)
    assert_fires(net.model(net.relu(y)), fold_norms, gone=["BatchNormalization"])


@pytest.mark.parametrize("group", [1, 2])
def test_a_norm_goes_into_the_transposed_convolution(group):
    net = SmallGraph([2, 4, 5, 5])
    y = batch_norm(net, transposed(net, net.input, 4, 6, group), 6)
    # onnx's reference evaluator cannot compute grouped transposed convolutions
    assert_fires(net.model(y), fold_norms, gone=["BatchNormalization"], reference=group == 1)


@pytest.mark.parametrize("options", [{}, {"transB": 1}, {"alpha": 0.5, "beta": 2.0}])
def test_a_norm_goes_into_the_matrix_product(options):
    net = SmallGraph([3, 5])
    y = batch_norm(net, net.gemm(net.input, 5, 7, **options), 7)
    assert_fires(net.model(y), fold_norms, gone=["BatchNormalization"])


def test_a_norm_in_training_mode_stays():
    net = SmallGraph([2, 4, 6, 6])
    y = net.conv(net.input, 6, 4)
    numbers = [per_channel(net, 6) for _ in range(4)]
    y, *_ = net.node("BatchNormalization", y, *numbers, outputs=3, training_mode=1)
    assert_stays(net.model(y), fold_norms)


def test_a_norm_of_what_others_read_stays():
    net = SmallGraph([2, 4, 6, 6])
    y = net.conv(net.input, 6, 4)
    assert_stays(net.model(batch_norm(net, y, 6), net.relu(y)), fold_norms)
    net = SmallGraph([2, 4, 6, 6])
    y = net.conv(net.input, 6, 4)
    assert_stays(net.model(batch_norm(net, y, 6), y), fold_norms)


def test_a_norm_with_computed_numbers_stays():
    net = SmallGraph([2, 4, 6, 6])
    y = net.conv(net.input, 6, 4)
    gamma = net.node("Relu", per_channel(net, 6))
    rest = [per_channel(net, 6) for _ in range(3)]
    assert_stays(net.model(net.node("BatchNormalization", y, gamma, *rest)), fold_norms)


def test_weights_that_are_not_finite_stay():
    net = SmallGraph([1, 2, 5, 5])
    weights = net.weights(3, 2, 3, 3)
    weights[1, 0, 0, 0] = np.nan
    y = net.node("Conv", net.input, net.constant(weights))
    assert_stays(net.model(batch_norm(net, y, 3)), fold_norms)


def test_half_precision_weights_that_would_overflow_stay():
    half = SmallGraph([1, 2, 5, 5], kind=TensorProto.FLOAT16)
    weights = half.constant(np.full((3, 2, 1, 1), 2, np.float16))
    for factor, places in ((60000, 0), (2, 1)):
        scaled = half.node("Mul", half.node("Conv", half.input, weights),
                           half.constant(np.full((3, 1, 1), factor, np.float16)))
        after = rewritten(half.model(scaled, kind=TensorProto.FLOAT16), fold_scales)
        assert after[1] == places


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (), (1,), (1, 1, 1)])
@pytest.mark.parametrize("op_type", ["Mul", "Div", "Add", "Sub"])
def test_arithmetic_per_channel_goes_into_the_convolution(op_type, shape):
    net = SmallGraph([2, 4, 6, 6])
    number = net.constant(np.full(shape, 1.5, np.float32) if np.prod(shape) == 1
                          else net.rng.uniform(0.5, 2, shape).astype(np.float32))
    y = net.node(op_type, net.conv(net.input, 6, 4), number)
    assert_fires(net.model(net.relu(y)), fold_scales, gone=[op_type])


@pytest.mark.parametrize("op_type", ["Mul", "Add", "Sub"])
def test_a_constant_on_the_left_goes_in_too(op_type):
    net = SmallGraph([2, 4, 6, 6])
    y = net.node(op_type, per_channel(net, 6, 1, 1), net.conv(net.input, 6, 4))
    assert_fires(net.model(y), fold_scales, gone=[op_type])


def test_a_quotient_by_the_convolution_stays():
    net = SmallGraph([2, 4, 6, 6])
    y = net.node("Div", per_channel(net, 6, 1, 1), net.conv(net.input, 6, 4))
    assert_stays(net.model(y), fold_scales)


def test_a_division_by_zero_stays():
    net = SmallGraph([2, 4, 6, 6])
    zero = net.constant(np.zeros((6, 1, 1), np.float32))
    assert_stays(net.model(net.node("Div", net.conv(net.input, 6, 4), zero)), fold_scales)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (1, 6, 6), (2, 1, 1, 1), (1, 1, 6, 1, 1)])
def test_constants_along_other_axes_stay(shape):
    net = SmallGraph([2, 4, 6, 6])
    other = net.constant(net.rng.normal(size=shape).astype(np.float32))
    assert_stays(net.model(net.node("Mul", net.conv(net.input, 6, 4), other)), fold_scales)


def test_a_product_takes_a_scale_but_no_shift_without_a_bias():
    net = SmallGraph([2, 3, 5])
    y = net.node("MatMul", net.input, net.constant(net.weights(5, 4, fan=5)))
    scaled = net.node("Mul", y, per_channel(net, 4))
    assert_fires(net.model(scaled), fold_scales, gone=["Mul"])
    net = SmallGraph([2, 3, 5])
    y = net.node("MatMul", net.input, net.constant(net.weights(5, 4, fan=5)))
    assert_stays(net.model(net.node("Add", y, per_channel(net, 4))), fold_scales)


def test_several_in_a_row_go_in_one_after_another():
    net = SmallGraph([2, 4, 6, 6])
    y = net.node("Mul", net.conv(net.input, 6, 4), per_channel(net, 6, 1, 1))
    y = net.node("Add", y, per_channel(net, 6, 1, 1))
    y = batch_norm(net, net.node("Sub", y, net.constant(np.float32(0.5))), 6)
    assert_fires(net.model(y), fold_scales, fold_norms, places=4,
                 gone=["Mul", "Add", "Sub", "BatchNormalization"])


def pad(net, x, pads, value=None, **attributes):
    inputs = [net.constant(np.array(pads, np.int64))]
    if value is not None:
        inputs.append(net.constant(np.float32(value)))
    return net.node("Pad", x, *inputs, **attributes)


def test_zeros_around_the_picture_go_into_the_convolution():
    net = SmallGraph([1, 3, 6, 6])
    y = net.conv(pad(net, net.input, [0, 0, 1, 0, 0, 0, 2, 1]), 4, 3, strides=[2, 2])
    assert_fires(net.model(y), fold_pads, gone=["Pad"])


def test_every_reader_of_a_pad_takes_it():
    net = SmallGraph([1, 3, 6, 6])
    x = pad(net, net.input, [0, 0, 1, 1, 0, 0, 1, 1], 0.0)
    model = net.model(net.conv(x, 4, 3), net.conv(x, 2, 3, kernel=5))
    assert_fires(model, fold_pads, gone=["Pad"])
    assert_stays(net.model(net.conv(x, 4, 3), net.relu(x)), fold_pads)


def test_pools_take_their_neutral_element():
    net = SmallGraph([1, 3, 6, 6])
    x = pad(net, net.input, [0, 0, 1, 1, 0, 0, 1, 1], -np.inf)
    y = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    assert_fires(net.model(y), fold_pads, gone=["Pad"])
    net = SmallGraph([1, 3, 6, 6])
    x = pad(net, net.input, [0, 0, 1, 1, 0, 0, 1, 1])
    y = net.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2])
    assert_fires(net.model(y), fold_pads, gone=["Pad"])


@pytest.mark.parametrize(("pads", "value", "options"), [
    ([0, 0, 1, 1, 0, 0, 1, 1], 1.0, {}),
    ([0, 1, 1, 1, 0, 0, 1, 1], 0.0, {}),
    ([1, 0, 1, 1, 0, 0, 1, 1], 0.0, {}),
    ([0, 0, -1, 1, 0, 0, 1, 1], 0.0, {}),
    ([0, 0, 1, 1, 0, 0, 1, 1], None, {"mode": "reflect"}),
])
def test_other_pads_stay(pads, value, options):
    net = SmallGraph([1, 3, 6, 6])
    x = pad(net, net.input, pads, value, **options)
    assert_stays(net.model(net.conv(x, 4, 3 + pads[1] + pads[5])), fold_pads)


def test_pools_that_the_pad_would_change_keep_it():
    for value, op_type, options in [
        (0.0, "MaxPool", {}), (-np.inf, "AveragePool", {}), (0.0, "AveragePool", {"ceil_mode": 1}),
        (0.0, "AveragePool", {"pads": [1, 1, 1, 1]}),
    ]:
        net = SmallGraph([1, 3, 7, 7])
        x = pad(net, net.input, [0, 0, 1, 1, 0, 0, 1, 1], value)
        y = net.node(op_type, x, kernel_shape=[3, 3], strides=[2, 2], **options)
        assert_stays(net.model(y), fold_pads)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(st.integers(0, 10_000), st.lists(
    st.sampled_from(["norm", "Mul", "Add", "Sub", "Div", "Relu", "Pad"]), max_size=6),
    st.sampled_from(["conv", "transposed", "group"]))
def test_any_row_of_them_keeps_its_outputs(seed, row, layer):
    net = SmallGraph([1, 4, 6, 6], seed=seed)
    x = net.input
    if layer == "transposed":
        x = transposed(net, x, 4, 4)
    else:
        x = net.conv(x, 4, 4, group=4 if layer == "group" else 1)
    for step in row:
        if step == "norm":
            x = batch_norm(net, x, 4)
        elif step == "Pad":
            x = net.conv(pad(net, x, [0, 0, 1, 0, 0, 0, 0, 1]), 4, 4)
        elif step == "Relu":
            x = net.relu(x)
        else:
            x = net.node(step, x, per_channel(net, 4, 1, 1))
    model = net.model(net.node("Add", x, net.constant(np.float32(1)))
                      if x == net.input else x)
    after, _ = rewritten(model, fold_pads, fold_norms, fold_scales)
    assert_same(model, after, tolerance=1e-4)
