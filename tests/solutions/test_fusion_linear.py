"""Linear layers between reshapes and in front of GELUs."""

import numpy as np
import pytest

from solutions.phase2_optimization.graph_passes.bias_gelu import fuse_bias_gelu
from solutions.phase2_optimization.graph_passes.flat_products import join_bias_between_reshapes
from tests.solutions.fusion_checks import assert_fires, assert_stays
from tests.solutions.small_graphs import SmallGraph, operators


def layer(net, x, inner, out, bias=True, swapped=False):
    product = net.node("MatMul", x, net.constant(net.weights(inner, out, fan=inner)))
    if not bias:
        return product
    row = net.constant(net.rng.normal(size=out).astype(np.float32))
    return net.node("Add", *((row, product) if swapped else (product, row)))


def reshape(net, x, *shape):
    return net.node("Reshape", x, net.constant(np.array(shape, np.int64)))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("batch", [2, "N"])
def test_a_layer_between_reshapes_is_a_gemm(batch, swapped: bool) -> None:
    net = SmallGraph([batch, 4, 4, 6])
    x = reshape(net, net.input, -1, 16, 6)
    model = net.model(reshape(net, layer(net, x, 6, 8, swapped=swapped), -1, 16, 2, 4))
    after = assert_fires(model, join_bias_between_reshapes, gone=("MatMul", "Add"), made=("Gemm",))
    assert operators(after).total() == operators(model).total() - 1


def test_other_reshapes_count_as_well() -> None:
    net = SmallGraph([3, 1, 6])
    x = net.node("Squeeze", net.input, net.constant(np.array([1], np.int64)))
    y = net.node("Unsqueeze", layer(net, x, 6, 5), net.constant(np.array([1], np.int64)))
    assert_fires(net.model(y), join_bias_between_reshapes, made=("Gemm",))


def test_a_layer_without_both_reshapes_stays() -> None:
    for first, last, bias in ((False, True, True), (True, False, True), (True, True, False)):
        net = SmallGraph([2, 16, 6])
        x = reshape(net, net.input, 2, 4, 4, 6) if first else net.input
        y = layer(net, x, 6, 8, bias)
        assert_stays(net.model(reshape(net, y, -1, 8) if last else net.node("Relu", y)),
                     join_bias_between_reshapes)


def test_a_product_that_others_read_stays() -> None:
    for twice in ("input", "product"):
        net = SmallGraph([2, 16, 6])
        x = reshape(net, net.input, 32, 6)
        product = net.node("MatMul", x, net.constant(net.weights(6, 6)))
        y = net.node("Add", product, net.constant(np.arange(6, dtype=np.float32)))
        other = net.node("Relu", x if twice == "input" else product)
        assert_stays(net.model(reshape(net, y, 2, 16, 6), other), join_bias_between_reshapes)


def test_a_bias_that_is_no_row_stays() -> None:
    for shape in ((1,), (4, 1), (2, 4, 6)):
        net = SmallGraph([8, 6])
        product = net.node("MatMul", reshape(net, net.input, 2, 4, 6),
                           net.constant(net.weights(6, 6)))
        y = net.node("Add", product, net.constant(np.ones(shape, np.float32)))
        assert_stays(net.model(reshape(net, y, 8, 6)), join_bias_between_reshapes)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("form", ["none", "tanh"])
def test_bias_and_gelu_are_one(form: str, swapped: bool) -> None:
    net = SmallGraph([2, 3, 6], opset=20)
    y = net.node("Gelu", layer(net, net.input, 6, 8, swapped=swapped), approximate=form)
    made = "BiasGelu" if form == "none" else "FastGelu"
    assert_fires(net.model(y), fuse_bias_gelu, gone=("Add", "Gelu"), made=(made,),
                 reference=False)


def test_a_gelu_of_another_sum_stays() -> None:
    for shape in ((1,), (3, 1), (2, 3, 8)):
        net = SmallGraph([2, 3, 8], opset=20)
        y = net.node("Add", net.input, net.constant(np.ones(shape, np.float32)))
        assert_stays(net.model(net.node("Gelu", y)), fuse_bias_gelu)
    net = SmallGraph([2, 3, 8], opset=20)
    y = net.node("Add", net.input, net.constant(np.ones(8, np.float32)))
    assert_stays(net.model(net.node("Gelu", y), net.node("Relu", y)), fuse_bias_gelu)
