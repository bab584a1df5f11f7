"""The forms that integer kernels like compute the same in float."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import SmallGraph, normal_batches, operators, run_onnxruntime

from solutions.phase2_optimization.graph_preparation import prepare
from solutions.phase2_optimization.kernel_form import THIN, fit_to_kernels, thin_convolutions

SHAPE = [2, 8, 9, 9]
BATCH = normal_batches(SHAPE, 1)[0]


def assert_same(model):
    made = fit_to_kernels(prepare(model))
    for real, found in zip(*(run_onnxruntime(m, BATCH) for m in (model, made)), strict=True):
        assert found.shape == real.shape
        np.testing.assert_allclose(found, real, atol=1e-5 * np.abs(real).max())
    return made


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(0, 1), min_size=4, max_size=4),
       st.booleans(), st.booleans())
def test_averages_are_convolutions(window, stride, pads, counted, ceiled):
    pads = [min(p, window - 1) for p in pads]
    net = SmallGraph(SHAPE, seed=1)
    x = net.node("AveragePool", net.conv(net.input, 16, 8), kernel_shape=[window] * 2,
                 strides=[stride] * 2, pads=pads, count_include_pad=int(counted),
                 ceil_mode=int(ceiled))
    model = net.model(net.conv(x, 4, 16, kernel=1))
    made = assert_same(model)
    written = (counted or not any(pads)) and not ceiled
    assert (operators(made)["Conv"] == 3) == written


def test_an_average_at_the_end_stays_one():
    net = SmallGraph(SHAPE, seed=1)
    x = net.node("AveragePool", net.conv(net.input, 16, 8), kernel_shape=[2, 2])
    assert operators(assert_same(net.model(net.node("Flatten", x)))) == {
        "Conv": 1, "AveragePool": 1, "Flatten": 1}


def relu_behind(net, pool, **attributes):
    x = net.node(pool, net.conv(net.input, 16, 8), kernel_shape=[3, 3], pads=[1] * 4, **attributes)
    return x, net.relu(x)


def order(model):
    return [node.op_type for node in model.graph.node]


def test_relu_goes_before_its_pooling():
    net = SmallGraph(SHAPE, seed=1)
    _, y = relu_behind(net, "MaxPool", strides=[2, 2])
    assert order(assert_same(net.model(net.conv(y, 4, 16)))) == ["Conv", "Relu", "MaxPool", "Conv"]
    net = SmallGraph(SHAPE, seed=1)
    x, _ = relu_behind(net, "MaxPool")
    y = net.node("Clip", x, net.constant(np.float32(0.5)), net.constant(np.float32(1)))
    assert order(assert_same(net.model(y))) == ["Conv", "Clip", "MaxPool"]


@pytest.mark.parametrize("case", ["average", "pool is an output", "pool is read twice",
                                  "conv is read twice", "no layer before"])
def test_relu_stays_where_the_order_matters(case):
    net = SmallGraph(SHAPE, seed=1)
    if case == "no layer before":
        y = net.relu(net.node("MaxPool", net.input, kernel_shape=[3, 3], pads=[1] * 4))
        model = net.model(net.conv(y, 4, 8))
    else:
        x, y = relu_behind(net, "AveragePool" if case == "average" else "MaxPool")
        others = {"pool is an output": [x], "pool is read twice": [net.node("Tanh", x)],
                  "conv is read twice": [net.node("Tanh", "conv0")]}
        model = net.model(net.conv(y, 4, 16), *others.get(case, []))
    made = assert_same(model)
    assert [kind for kind in order(made) if kind in ("MaxPool", "AveragePool", "Relu")] == [
        kind for kind in order(model) if kind in ("MaxPool", "AveragePool", "Relu")]


def test_convolutions_of_few_channels_are_slower_in_integers():
    net = SmallGraph([1, 3, 8, 8], seed=1)
    x = net.conv(net.conv(net.input, 16, 3), 16, 16, group=16)
    model = prepare(net.model(net.conv(x, 4, 16)))
    assert thin_convolutions(model) == {"Conv0": THIN}


def doubled(net, x, scales=(1, 1, 2, 2), frame="asymmetric", rounding="floor"):
    return net.node("Resize", x, "", net.constant(np.float32(scales)), mode="nearest",
                    coordinate_transformation_mode=frame, nearest_mode=rounding)


@pytest.mark.parametrize("behind", ["Concat", "Conv", "Add"])
def test_a_doubling_is_copies(behind):
    net = SmallGraph(SHAPE, seed=1)
    x = doubled(net, net.relu(net.conv(net.input, 16, 8)))
    other = doubled(net, net.conv(net.input, 16, 8))
    last = {"Concat": lambda: net.node("Concat", x, other, axis=1),
            "Conv": lambda: net.conv(x, 4, 16), "Add": lambda: net.node("Add", x, other)}[behind]()
    made = assert_same(net.model(last))
    assert operators(made)["Resize"] == 0
    assert operators(made)["Transpose"] == (2 if behind == "Conv" else 4)


@pytest.mark.parametrize("case", ["thrice", "sideways", "halves", "output", "tanh", "input"])
def test_other_resizes_stay(case):
    net = SmallGraph(SHAPE, seed=1)
    x = net.input if case == "input" else net.conv(net.input, 16, 8)
    channels = 8 if case == "input" else 16
    scales = {"thrice": (1, 1, 3, 3), "sideways": (1, 1, 1, 2)}.get(case, (1, 1, 2, 2))
    rounding = "ceil" if case == "halves" else "floor"
    x = doubled(net, x, scales, rounding=rounding)
    y = net.conv(net.node("Tanh", x) if case == "tanh" else x, 4, channels)
    made = assert_same(net.model(y, *[x] * (case == "output")))
    assert operators(made)["Resize"] == 1


def test_a_doubling_of_free_sizes_stays():
    net = SmallGraph([2, 8, "h", "w"], seed=1)
    x = doubled(net, net.conv(net.input, 16, 8))
    assert operators(assert_same(net.model(net.conv(x, 4, 16))))["Resize"] == 1
