"""Transformers in integers: every product is one, and its bias with it."""

import numpy as np
import pytest
from small_graphs import (
    SmallGraph,
    fused_operators,
    normal_batches,
    openvino_kernels,
    run_onnxruntime,
    run_openvino,
)

from solutions.phase2_optimization.quantize_graph import quantize_static

SHAPE = [2, 10, 32]
WIDTH, HEADS, HIDDEN = 32, 2, 64
BATCHES = normal_batches(SHAPE)


def linear(net, x, inner, out, swapped=False):
    product = net.node("MatMul", x, net.constant(net.weights(inner, out, fan=inner)))
    bias = net.constant(net.weights(out, fan=50))
    return net.node("Add", *([bias, product] if swapped else [product, bias]))


def norm(net, x):
    ones, zeros = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    return net.node("LayerNormalization", x, net.constant(ones), net.constant(zeros), axis=-1)


def in_heads(net, x, perm):
    split = net.constant(np.array([0, SHAPE[1], HEADS, WIDTH // HEADS]))
    return net.node("Transpose", net.node("Reshape", x, split), perm=perm)


def attention(net, x):
    query, key, value = (linear(net, x, WIDTH, WIDTH) for _ in range(3))
    scores = net.node("MatMul", in_heads(net, query, [0, 2, 1, 3]),
                      in_heads(net, key, [0, 2, 3, 1]))
    scale = net.constant(np.float32((WIDTH // HEADS) ** -0.5))
    shares = net.node("Softmax", net.node("Mul", scores, scale), axis=-1)
    mixed = net.node("MatMul", shares, in_heads(net, value, [0, 2, 1, 3]))
    joined = net.node("Reshape", net.node("Transpose", mixed, perm=[0, 2, 1, 3]),
                      net.constant(np.array(SHAPE)))
    return linear(net, joined, WIDTH, WIDTH)


def transformer(seed, blocks=2):
    net = SmallGraph(SHAPE, seed)
    x = net.input
    for _ in range(blocks):
        x = net.node("Add", x, attention(net, norm(net, x)))
        hidden = net.relu(linear(net, norm(net, x), WIDTH, HIDDEN, swapped=True))
        x = net.node("Add", x, linear(net, hidden, HIDDEN, WIDTH))
    return net.model(linear(net, norm(net, x), WIDTH, 5))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_transformers_stay_close_in_both_runtimes(seed):
    model = transformer(seed)
    made = quantize_static(model, BATCHES)
    assert len(made.integer_layers) == 17 and made.integer_share == 1.0
    real = run_onnxruntime(model, BATCHES[0])[0]
    for run in (run_onnxruntime, run_openvino):
        off = run(made.model, BATCHES[0])[0] - real
        assert np.sqrt(np.mean(off**2)) < 0.04 * np.sqrt(np.mean(real**2)), run.__name__


def test_no_product_is_computed_in_float(tmp_path):
    made = quantize_static(transformer(1), BATCHES)
    fused = fused_operators(made.model, tmp_path)
    assert fused["QGemm"] == 13
    assert fused["QLinearMatMul"] + fused["MatMulIntegerToFloat"] == 4
    assert not {"Gemm", "MatMul", "DequantizeLinear"} & fused.keys()
    kinds = openvino_kernels(made.model)
    assert all(precision in ("u8", "i8") for kind, precision in kinds
               if kind in ("FullyConnected", "MatMul"))


def test_a_bias_that_others_read_or_that_is_wider_stays(tmp_path):
    net = SmallGraph(SHAPE, 1)
    product = net.node("MatMul", net.input, net.constant(net.weights(WIDTH, WIDTH)))
    wide = net.node("Add", product, net.constant(net.weights(10, WIDTH, fan=50)))
    second = net.node("MatMul", net.input, net.constant(net.weights(WIDTH, WIDTH)))
    bias = net.constant(net.weights(WIDTH, fan=50))
    shared = net.node("Mul", net.node("Add", second, bias), bias)
    model = net.model(wide, shared, net.node("Tanh", second))
    made = quantize_static(model, BATCHES)
    assert len(made.integer_layers) == 2
    for found, real in zip(run_onnxruntime(made.model, BATCHES[0]),
                           run_onnxruntime(model, BATCHES[0]), strict=True):
        assert np.abs(found - real).max() < 0.05 * np.abs(real).max()
