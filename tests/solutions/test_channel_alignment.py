"""Channels are filled up where nobody can tell, and the network computes the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import SmallGraph, normal_batches, operators, run_onnxruntime, run_openvino

from solutions.phase2_optimization.channel_alignment import align_channels
from solutions.phase2_optimization.graph_preparation import prepare

SHAPE = [2, 3, 8, 8]
BATCH = normal_batches(SHAPE, 1)[0]


def widths(model):
    """Output and input channels of each convolution, by name."""
    shapes = {t.name: tuple(t.dims[:2]) for t in model.graph.initializer}
    return {n.name: shapes[n.input[1]] for n in model.graph.node if n.op_type == "Conv"}


def assert_same(model, runs=(run_onnxruntime,)):
    """That the aligned model computes what the model does; the aligned one."""
    made = align_channels(prepare(model))
    expected = run_onnxruntime(model, BATCH)
    for run in runs:
        for real, found in zip(expected, run(made, BATCH), strict=True):
            assert found.shape == real.shape
            np.testing.assert_allclose(found, real, atol=1e-5 * np.abs(real).max())
    return made


def resize(net, x, *sizes):
    return net.node("Resize", x, "", *sizes, mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric")


def cut(net, x, start, end, step=1):
    return net.node("Slice", x, *[net.constant(np.array([v])) for v in (start, end, 1, step)])


# Each takes a tensor and its channels, and gives the same back.
PIECES = {
    "relu": lambda net, x, c: (net.relu(x), c),
    "sigmoid": lambda net, x, c: (net.node("Sigmoid", x), c),
    "leaky": lambda net, x, c: (net.node("LeakyRelu", x), c),
    "clip above zero": lambda net, x, c: (
        net.node("Clip", x, net.constant(np.float32(0.5)), net.constant(np.float32(2))), c),
    "max pool": lambda net, x, c: (net.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4), c),
    "scaled": lambda net, x, c: (
        net.node("MaxPool", resize(net, x, net.constant(np.float32([1, 1, 2, 2]))),
                 kernel_shape=[2, 2], strides=[2, 2]), c),
    "sized": lambda net, x, c: (
        net.node("MaxPool", resize(net, x, "", net.constant(np.array([2, c, 16, 16]))),
                 kernel_shape=[2, 2], strides=[2, 2]), c),
    "residual": lambda net, x, c: (net.node("Add", x, net.conv(x, c, c)), c),
    "doubled": lambda net, x, c: (net.node("Add", x, x), c),
    "constant": lambda net, x, c: (net.node("Mul", x, net.constant(net.weights(c, 1, 1))), c),
    "attention": lambda net, x, c: (
        net.node("Mul", x, net.node("Sigmoid", net.conv(x, 1, c, kernel=1))), c),
    "attention first": lambda net, x, c: (net.node("Add", net.conv(x, 1, c), x), c),
    "first half": lambda net, x, c: (cut(net, x, 0, max(c // 2, 1)), max(c // 2, 1)),
    "to the end": lambda net, x, c: (cut(net, x, 0, 1 << 40), c),
    "beyond the end": lambda net, x, c: (cut(net, x, 0, 64), c),
    "to minus one": lambda net, x, c: (
        (cut(net, x, 0, -1), c - 1) if c > 1 else (net.relu(x), c)),
    "every second": lambda net, x, c: (cut(net, x, 0, c, 2), -(-c // 2)),
    "concat": lambda net, x, c: (net.node("Concat", x, net.conv(x, 5, c), axis=1), c + 5),
    "depthwise": lambda net, x, c: (net.conv(x, c, c, group=c), c),
    "normed": lambda net, x, c: (
        net.node("InstanceNormalization", x, net.constant(net.weights(c)),
                 net.constant(net.weights(c))), c),
    "conv": lambda net, x, c: (net.conv(x, 11, c), 11),
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 20), st.lists(st.sampled_from(sorted(PIECES)), max_size=4),
       st.integers(1, 20), st.booleans())
def test_aligned_networks_compute_the_same(channels, pieces, last, seen_outside):
    net = SmallGraph(SHAPE, seed=1)
    x = net.conv(net.input, channels, 3)
    middle = x
    for name in pieces:
        x, channels = PIECES[name](net, x, channels)
    outputs = [net.conv(net.conv(x, last, channels, bias=False), 4, last)]
    assert_same(net.model(*outputs, *[middle] * seen_outside))


@pytest.mark.parametrize("name", sorted(PIECES))
def test_each_piece_alone_in_both_runtimes(name):
    net = SmallGraph(SHAPE, seed=2)
    x, channels = PIECES[name](net, net.conv(net.input, 10, 3), 10)
    assert_same(net.model(net.conv(x, 4, channels)), (run_onnxruntime, run_openvino))


def test_a_chain_of_odd_convolutions_is_filled_up():
    net = SmallGraph(SHAPE, seed=2)
    x = net.relu(net.conv(net.input, 10, 3))
    x = net.node("Add", net.conv(x, 20, 10), net.conv(x, 20, 10, bias=False))
    made = assert_same(net.model(net.conv(x, 5, 20)))
    assert widths(made) == {"Conv0": (16, 3), "Conv2": (24, 16), "Conv3": (24, 16),
                            "Conv5": (5, 24)}


@pytest.mark.parametrize(("name", "filled"), [
    ("relu", True), ("max pool", True), ("scaled", True), ("residual", True), ("first half", True),
    ("to the end", True), ("sized", False), ("attention", False), ("concat", False),
    ("depthwise", False), ("normed", False), ("to minus one", False), ("constant", True),
])
def test_only_channels_that_nobody_counts_are_filled_up(name, filled):
    net = SmallGraph(SHAPE, seed=2)
    x, channels = PIECES[name](net, net.conv(net.input, 10, 3), 10)
    made = assert_same(net.model(net.conv(x, 4, channels)))
    assert (widths(made)["Conv0"] == (16, 3)) == filled


def test_shared_and_given_weights_stay():
    net = SmallGraph(SHAPE, seed=2)
    weights = net.constant(net.weights(3, 3, 3, 3))
    x = net.node("Conv", net.input, weights, pads=[1] * 4)
    x = net.node("Conv", net.relu(x), weights, pads=[1] * 4)
    made = assert_same(net.model(net.conv(x, 4, 3)))
    assert set(widths(made).values()) == {(3, 3), (4, 3)}
    net = SmallGraph(SHAPE, seed=2)
    x = net.node("Conv", net.input, net.constant(net.weights(5, 3, 3, 3)),
                 net.another_input("bias", [5]))
    model = net.model(net.conv(net.relu(x), 4, 5))
    made = align_channels(prepare(model))
    feeds = {**BATCH, "bias": net.weights(5)}
    np.testing.assert_allclose(run_onnxruntime(made, feeds)[0], run_onnxruntime(model, feeds)[0],
                               atol=1e-5)


def test_nothing_is_added_to_the_graph():
    net = SmallGraph(SHAPE, seed=2)
    model = net.model(net.conv(net.relu(net.conv(net.input, 10, 3)), 4, 10))
    assert operators(assert_same(model)) == operators(model)
