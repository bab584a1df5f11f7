"""Layer normalisations written out; products with their activation, transposes and scales."""

import numpy as np
import pytest
from onnx import TensorProto

from solutions.phase2_optimization.graph_passes.fused_products import (
    fuse_gemm_activations,
    fuse_matmul_scales,
    fuse_matmul_transposes,
)
from solutions.phase2_optimization.graph_passes.layer_norm import recognise_layer_norm
from tests.solutions.fusion_checks import assert_fires, assert_stays
from tests.solutions.small_graphs import SmallGraph, operators


def number(net, value, kind=np.float32):
    return net.constant(np.array(value, kind))


def row(net, width=6, kind=np.float32):
    return net.constant(net.rng.uniform(0.5, 2, width).astype(kind))


def mean(net, x, axis=-1, **options):
    if net.opset < 18:
        return net.node("ReduceMean", x, axes=[axis], **options)
    return net.node("ReduceMean", x, net.constant(np.array([axis])), **options)


def written_out(net, x, square="Pow", twice=False, axis=-1, epsilon=1e-3, **options):
    kind = options.pop("kind", np.float32)
    average = mean(net, x, axis, **options)
    centred = net.node("Sub", x, average)
    other = net.node("Sub", x, average) if twice else centred
    high = (net.node("Pow", other, number(net, 2, kind)) if square == "Pow"
            else net.node("Mul", other, other))
    total = net.node("Add", mean(net, high, axis, **options), number(net, epsilon, kind))
    return net.node("Div", centred, net.node("Sqrt", total))


def rows(opset=18, shape=(2, 4, 6), **options):
    return SmallGraph(list(shape), opset=opset, **options)


@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("opset", [17, 20])
def test_a_normalisation_written_out(square, twice, opset):
    net = rows(opset)
    y = net.node("Mul", written_out(net, net.input, square, twice), row(net))
    model = net.model(net.node("Add", row(net), y))
    made = assert_fires(model, recognise_layer_norm, made=["LayerNormalization"])
    assert len(made.graph.node) == 1


def test_a_normalisation_without_scale_or_shift():
    net = rows()
    made = assert_fires(net.model(written_out(net, net.input)), recognise_layer_norm)
    assert operators(made) == {"LayerNormalization": 1}
    net = rows()
    y = net.node("Mul", written_out(net, net.input), net.constant(net.weights(4, 1)))
    made = assert_fires(net.model(y), recognise_layer_norm)
    assert operators(made) == {"LayerNormalization": 1, "Mul": 1}


def test_what_is_no_layer_normalisation_stays():
    net = rows(16)
    assert_stays(net.model(written_out(net, net.input)), recognise_layer_norm)
    net = rows()
    assert_stays(net.model(written_out(net, net.input, axis=1)), recognise_layer_norm)
    net = rows()
    y = net.node("Div", net.node("Sub", net.input, mean(net, net.input)), net.node(
        "Sqrt", net.node("Add", mean(net, net.node("Pow", net.input, number(net, 2))),
                         number(net, 1e-3))))
    assert_stays(net.model(y), recognise_layer_norm)
    net = rows()
    y = written_out(net, net.input)
    centred = next(node.output[0] for node in net.nodes if node.op_type == "Sub")
    assert_stays(net.model(y, centred), recognise_layer_norm)


@pytest.mark.parametrize(("name", "options"), [
    ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {"alpha": 0.3}), ("LeakyRelu", {}),
])
def test_an_activation_goes_into_gemm(name, options):
    net = SmallGraph([3, 6])
    y = net.node(name, net.gemm(net.input, 6, 5, transB=1), **options)
    assert_fires(net.model(y), fuse_gemm_activations, reference=False, gone=[name, "Gemm"],
                 made=["FusedGemm"])


def test_activations_that_gemm_cannot_take_stay():
    net = SmallGraph([3, 6])
    y = net.gemm(net.input, 6, 5)
    assert_stays(net.model(net.relu(y), y), fuse_gemm_activations)
    net = SmallGraph([3, 6])
    assert_stays(net.model(net.node("HardSwish", net.gemm(net.input, 6, 5))),
                 fuse_gemm_activations)
    half = SmallGraph([3, 6], kind=TensorProto.FLOAT16)
    y = half.node("Gemm", half.input, half.constant(half.weights(6, 5).astype(np.float16)))
    assert_stays(half.model(half.relu(y), kind=TensorProto.FLOAT16), fuse_gemm_activations)


def two(net, second=(2, 5, 6)):
    return net.relu(net.input), net.node("Tanh", net.another_input("b", list(second)))


def test_a_transposed_factor_is_read_as_it_lies():
    net = rows()
    a, b = two(net)
    y = net.node("MatMul", a, net.node("Transpose", b, perm=[0, 2, 1]))
    assert_fires(net.model(y), fuse_matmul_transposes, reference=False, gone=["Transpose"])
    net = rows()
    a, b = two(net, (2, 4, 5))
    y = net.node("MatMul", net.node("Transpose", a, perm=[0, 2, 1]), b)
    assert_fires(net.model(y), fuse_matmul_transposes, reference=False, gone=["Transpose"])
    net = rows()
    a, b = two(net, (5, 6, 2))
    y = net.node("MatMul", a, net.node("Transpose", b, perm=[2, 1, 0]))
    assert_stays(net.model(y), fuse_matmul_transposes)


def test_scales_around_a_product_are_its_alpha():
    net = rows()
    a, b = two(net, (2, 6, 5))
    y = net.node("MatMul", net.node("Mul", a, number(net, 0.5)),
                 net.node("Div", b, number(net, 4)))
    made = assert_fires(net.model(net.node("Mul", number(net, 3), y)), fuse_matmul_scales,
                        reference=False, places=3, made=["FusedMatMul"])
    assert operators(made) == {"Relu": 1, "Tanh": 1, "FusedMatMul": 1}


def test_transposes_and_scales_together():
    net = rows()
    a, b = two(net)
    y = net.node("MatMul", net.node("Mul", a, number(net, 0.5)),
                 net.node("Transpose", b, perm=[0, 2, 1]))
    made = assert_fires(net.model(net.relu(y)), fuse_matmul_scales, fuse_matmul_transposes,
                        reference=False, places=2)
    assert operators(made) == {"Relu": 2, "Tanh": 1, "FusedMatMul": 1}


def test_scales_that_vary_or_that_others_read_stay():
    net = rows()
    a, b = two(net, (2, 6, 5))
    y = net.node("MatMul", net.node("Mul", a, row(net)), b)
    assert_stays(net.model(y), fuse_matmul_scales)
    net = rows()
    a, b = two(net, (2, 6, 5))
    half = net.node("Mul", a, number(net, 0.5))
    assert_stays(net.model(net.node("MatMul", half, b), half), fuse_matmul_scales)
