"""Activations, means and matrix products that exporters write out, as one operator each."""

import math

import numpy as np
import pytest
from onnx import TensorProto

from solutions.phase2_optimization.graph_passes.activations import (
    merge_clips,
    recognise_hard_sigmoid,
    recognise_hard_swish,
    recognise_mish,
)
from solutions.phase2_optimization.graph_passes.gelu import fuse_gelu, recognise_gelu
from solutions.phase2_optimization.graph_passes.matrix_products import join_bias
from solutions.phase2_optimization.graph_passes.pooling import recognise_global_pool
from tests.solutions.fusion_checks import assert_fires, assert_stays, rewritten
from tests.solutions.small_graphs import SmallGraph, operators


def rows(opset=20, shape=(4, 6), **options):
    return SmallGraph(list(shape), opset=opset, **options)


def number(net, value, kind=np.float32):
    return net.constant(np.array(value, kind))


def erf_gate(net, x, divide=True, root=2**0.5):
    inside = (net.node("Div", x, number(net, root)) if divide
              else net.node("Mul", number(net, 1 / root), x))
    return net.node("Add", net.node("Erf", inside), number(net, 1))


def tanh_gate(net, x, cube="Pow", taken_out=False, factor=(2 / math.pi)**0.5):
    power = 2 if taken_out else 3
    if cube == "Pow":
        high = net.node("Pow", x, number(net, power))
    else:
        high = net.node("Mul", x, x)
        high = high if taken_out else net.node("Mul", high, x)
    high = net.node("Mul", high, number(net, 0.044715))
    if taken_out:
        inside = net.node("Mul", x, net.node("Add", number(net, 1), high))
    else:
        inside = net.node("Add", x, high)
    inside = net.node("Mul", number(net, factor), inside)
    return net.node("Add", net.node("Tanh", inside), number(net, 1))


GROUPINGS = {
    "(x g) .5": lambda net, x, g: net.node("Mul", net.node("Mul", x, g), number(net, 0.5)),
    "(.5 x) g": lambda net, x, g: net.node("Mul", net.node("Mul", number(net, 0.5), x), g),
    "x (g .5)": lambda net, x, g: net.node("Mul", x, net.node("Mul", g, number(net, 0.5))),
    "(x g) / 2": lambda net, x, g: net.node("Div", net.node("Mul", g, x), number(net, 2)),
}


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("divide", [True, False])
def test_gelu_by_erf_in_any_order(grouping, divide):
    net = rows()
    model = net.model(GROUPINGS[grouping](net, net.input, erf_gate(net, net.input, divide)))
    made = assert_fires(model, recognise_gelu, made=["Gelu"])
    assert len(made.graph.node) == 1
    assert_fires(model, fuse_gelu, made=["Gelu"], reference=False)


@pytest.mark.parametrize("cube", ["Pow", "Mul"])
@pytest.mark.parametrize("taken_out", [True, False])
def test_gelu_by_tanh(cube, taken_out):
    net = rows()
    gate = tanh_gate(net, net.input, cube, taken_out)
    model = net.model(GROUPINGS["(.5 x) g"](net, net.input, gate))
    made = assert_fires(model, recognise_gelu, made=["Gelu"])
    assert len(made.graph.node) == 1
    assert_fires(model, fuse_gelu, made=["FastGelu"], reference=False)


def test_gelu_in_an_older_opset_waits_for_its_runtime():
    net = rows(opset=17)
    model = net.model(GROUPINGS["(x g) .5"](net, net.input, erf_gate(net, net.input)))
    assert_stays(model, recognise_gelu)
    made = assert_fires(model, fuse_gelu, reference=False)
    assert made.graph.node[0].domain == "com.microsoft"


def test_gelu_in_half_precision():
    net = rows(kind=TensorProto.FLOAT16)
    half = np.float16
    gate = net.node("Add", net.node("Erf", net.node(
        "Div", net.input, number(net, math.sqrt(2), half))), number(net, 1, half))
    y = net.node("Mul", net.node("Mul", net.input, gate), number(net, 0.5, half))
    model = net.model(y, kind=TensorProto.FLOAT16)
    assert_stays(model, fuse_gelu)
    assert rewritten(model, recognise_gelu)[1] == 1


def test_what_is_almost_gelu_stays():
    net = rows()
    other = net.relu(net.input)
    cases = [
        GROUPINGS["(x g) .5"](net, net.input, erf_gate(net, net.input, root=1.5)),
        GROUPINGS["(x g) .5"](net, net.input, erf_gate(net, other)),
        net.node("Mul", net.input, erf_gate(net, net.input)),
        GROUPINGS["(x g) .5"](net, net.input, tanh_gate(net, net.input, factor=0.8)),
    ]
    assert_stays(net.model(*cases), recognise_gelu, fuse_gelu)
    net = rows()
    gate = erf_gate(net, net.input)
    assert_stays(net.model(GROUPINGS["(x g) .5"](net, net.input, gate), gate), recognise_gelu)
    net = rows()
    wide = net.constant(np.full((1, 1, 1), 0.5, np.float32))  # raises the rank of the result
    y = net.node("Mul", net.node("Mul", net.input, erf_gate(net, net.input)), wide)
    assert_stays(net.model(y), recognise_gelu)


def clip6(net, x, shift=3, high=6):
    shifted = net.node("Add", x, number(net, shift))
    return net.node("Clip", shifted, number(net, 0), number(net, high))


def test_hard_sigmoid():
    for last, value in (("Div", 6), ("Mul", 1 / 6)):
        net = rows()
        y = net.node(last, clip6(net, net.input), number(net, value))
        assert_fires(net.model(y), recognise_hard_sigmoid, gone=["Clip"], made=["HardSigmoid"])
    net = rows()
    y = net.node("Div", clip6(net, net.input), number(net, 5))
    assert_stays(net.model(y), recognise_hard_sigmoid)


def test_hard_swish():
    for form in ("whole", "gate", "operator"):
        net = rows()
        if form == "whole":
            y = net.node("Div", net.node("Mul", net.input, clip6(net, net.input)), number(net, 6))
        elif form == "gate":
            gate = net.node("Mul", clip6(net, net.input), number(net, 1 / 6))
            y = net.node("Mul", gate, net.input)
        else:
            gate = net.node("HardSigmoid", net.input, alpha=1 / 6, beta=0.5)
            y = net.node("Mul", gate, net.input)
        made = assert_fires(net.model(y), recognise_hard_swish, made=["HardSwish"])
        assert len(made.graph.node) == 1
    net = rows()
    gate = net.node("HardSigmoid", net.input, alpha=0.2, beta=0.5)
    other = net.node("Div", net.node("Mul", net.input, clip6(net, net.input, 2)), number(net, 6))
    assert_stays(net.model(net.node("Mul", gate, net.input), other), recognise_hard_swish)
    net = rows(opset=13)
    gate = net.node("HardSigmoid", net.input, alpha=1 / 6, beta=0.5)
    assert_stays(net.model(net.node("Mul", gate, net.input)), recognise_hard_swish)


def test_mish():
    net = rows()
    y = net.node("Mul", net.input, net.node("Tanh", net.node("Softplus", net.input)))
    assert_fires(net.model(y), recognise_mish, made=["Mish"], gone=["Softplus", "Tanh", "Mul"])
    net = rows(opset=17)
    y = net.node("Mul", net.input, net.node("Tanh", net.node("Softplus", net.input)))
    assert_stays(net.model(y), recognise_mish)


@pytest.mark.parametrize(("first", "second", "left"), [
    (None, None, "Relu"), (None, (0.0, 0.6), "Clip"), ((-0.5, 0.5), None, "Clip"),
    ((-0.5, 0.7), (-0.2, 0.3), "Clip"), ((-0.9, -0.5), (-0.2, 0.9), "Clip"),
    ((-0.5, None), (None, 0.4), "Clip"),
])
def test_clips_in_a_row_are_one(first, second, left):
    net = rows()
    y = net.input
    for bounds in (first, second):
        limits = [] if bounds is None else ["" if b is None else number(net, b) for b in bounds]
        y = net.relu(y) if bounds is None else net.node("Clip", y, *limits)
    model = net.model(net.node("Add", y, net.input))
    made = assert_fires(model, merge_clips, made=[left])
    assert len(made.graph.node) == 2


def test_clips_that_others_read_or_that_depend_on_data_stay():
    net = rows()
    y = net.relu(net.input)
    assert_stays(net.model(y, net.relu(y)), merge_clips)
    net = rows()
    bound = net.another_input("bound", [])
    assert_stays(net.model(net.relu(net.node("Clip", net.input, bound))), merge_clips)


def test_clips_of_whole_numbers_stay():
    net = rows(opset=13, kind=TensorProto.INT32)
    y = net.input
    for _ in range(2):
        y = net.node("Clip", y, number(net, 0, np.int32))
    assert_stays(net.model(y, kind=TensorProto.INT32), merge_clips)


@pytest.mark.parametrize(("opset", "axes"), [(17, [2, 3]), (18, [-1, -2]), (18, [2, 3])])
def test_the_mean_of_a_picture_is_a_pool(opset, axes):
    net = rows(opset, (2, 3, 5, 6))
    if opset < 18:
        y = net.node("ReduceMean", net.input, axes=axes)
    else:
        y = net.node("ReduceMean", net.input, net.constant(np.array(axes)))
    assert_fires(net.model(y), recognise_global_pool, gone=["ReduceMean"])


def test_other_means_stay():
    for axes, options in (([2], {}), ([1, 2, 3], {}), ([2, 3], {"keepdims": 0}), ([], {})):
        net = rows(shape=(2, 3, 5, 6))
        y = net.node("ReduceMean", net.input, net.constant(np.array(axes, np.int64)), **options)
        assert_stays(net.model(y), recognise_global_pool)
    net = rows(shape=(2, 3))
    y = net.node("ReduceMean", net.input, net.constant(np.array([1])))
    assert_stays(net.model(y), recognise_global_pool)


def test_float64_keeps_what_onnxruntime_can_compute():
    net = rows(shape=(2, 3, 5, 6), kind=TensorProto.DOUBLE)
    wide = np.float64
    mean = net.node("ReduceMean", net.input, net.constant(np.array([2, 3])))
    clip = net.node("Clip", net.node("Add", mean, number(net, 3, wide)), number(net, 0, wide),
                    number(net, 6, wide))
    hard = net.node("Div", clip, number(net, 6, wide))
    swish = net.node("Div", net.node("Mul", mean, clip), number(net, 6, wide))
    for end in (hard, swish):
        assert_stays(net.model(end, kind=TensorProto.DOUBLE), recognise_global_pool,
                     recognise_hard_sigmoid, recognise_hard_swish)


@pytest.mark.parametrize("first", [True, False])
def test_a_product_and_its_bias_are_one_gemm(first):
    net = rows()
    y = net.node("MatMul", net.input, net.constant(net.weights(6, 5)))
    bias = net.constant(net.weights(5, fan=1))
    y = net.node("Add", *((y, bias) if first else (bias, y)))
    assert_fires(net.model(y), join_bias, gone=["MatMul", "Add"], made=["Gemm"])


def test_products_that_are_no_gemm_stay():
    net = rows(shape=(2, 4, 6))
    y = net.node("MatMul", net.input, net.constant(net.weights(6, 5)))
    assert_stays(net.model(net.node("Add", y, net.constant(net.weights(5, fan=1)))), join_bias)
    net = rows()
    y = net.node("MatMul", net.input, net.constant(net.weights(6, 5)))
    assert_stays(net.model(net.node("Add", y, net.constant(net.weights(1, 1, 5)))), join_bias)
    net = rows()
    y = net.node("MatMul", net.input, net.constant(net.weights(6, 5)))
    assert_stays(net.model(net.node("Add", y, net.constant(net.weights(5, fan=1))), y), join_bias)


def test_two_gelus_of_one_tensor_are_two():
    net = rows()
    first = GROUPINGS["(x g) .5"](net, net.input, erf_gate(net, net.input))
    second = GROUPINGS["(.5 x) g"](net, net.input, erf_gate(net, net.input))
    made = assert_fires(net.model(net.node("Sub", first, net.relu(second))), recognise_gelu,
                        places=2)
    assert operators(made)["Gelu"] == 2
