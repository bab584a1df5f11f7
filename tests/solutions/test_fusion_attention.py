"""Attention in several spellings, layout detours, and rows that one Gather moves."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.phase2_optimization.graph_passes.attention import fuse_attention
from solutions.phase2_optimization.graph_passes.channels_last import (
    sink_past_constants,
    sink_past_convolutions,
    sink_past_sums,
)
from solutions.phase2_optimization.graph_passes.layout_detours import (
    drop_detours,
    drop_gemm_reshapes,
)
from solutions.phase2_optimization.graph_passes.norm_folding import scale_products
from solutions.phase2_optimization.graph_passes.row_gathers import gather_rows
from tests.solutions.fusion_checks import assert_fires, assert_same, assert_stays, rewritten
from tests.solutions.small_graphs import SmallGraph, operators

BATCH, LENGTH, HEADS, DEPTH = 2, 5, 3, 4
HIDDEN = HEADS * DEPTH


def numbers(net, *values):
    return net.constant(np.array(values, np.int64))


def scalar(net, value):
    return net.constant(np.array(value, np.float32))


def projected(net, x, width, inner=HIDDEN, bias=True):
    y = net.node("MatMul", x, net.constant(net.weights(inner, width, fan=inner)))
    return net.node("Add", y, net.constant(net.weights(width, fan=4))) if bias else y


def attended(net, q, k, v, bias=None, scale=True):
    """softmax(q k^T / sqrt d + bias) v of [B, N, S, D], as heads side by side [B, S, N D]."""
    if scale:
        q = net.node("Mul", q, scalar(net, DEPTH**-0.5))
    scores = net.node("MatMul", q, net.node("Transpose", k, perm=[0, 1, 3, 2]))
    if bias is not None:
        scores = net.node("Add", scores, bias)
    y = net.node("MatMul", net.node("Softmax", scores, axis=-1), v)
    y = net.node("Transpose", y, perm=[0, 2, 1, 3])
    return net.node("Reshape", y, numbers(net, BATCH, LENGTH, HIDDEN))


def packed(net, x, order=(0, 1, 2), bias=True):
    """One projection cut into three, by Reshape, Transpose and Gather (timm, Swin)."""
    y = projected(net, x, 3 * HIDDEN, bias=bias)
    y = net.node("Reshape", y, numbers(net, BATCH, LENGTH, 3, HEADS, DEPTH))
    y = net.node("Transpose", y, perm=[2, 0, 3, 1, 4])
    return [net.node("Gather", y, net.constant(np.array(i)), axis=0) for i in order]


def separate(net, x):
    """Three projections (Hugging Face)."""
    cut = [net.node("Reshape", projected(net, x, HIDDEN), numbers(net, BATCH, -1, HEADS, DEPTH))
           for _ in range(3)]
    return [net.node("Transpose", part, perm=[0, 2, 1, 3]) for part in cut]


def sliced(net, x):
    """One projection cut along its columns by Split."""
    parts = net.node("Split", projected(net, x, 3 * HIDDEN), outputs=3, axis=2, num_outputs=3)
    cut = [net.node("Reshape", part, numbers(net, 0, 0, HEADS, DEPTH)) for part in parts]
    return [net.node("Transpose", part, perm=[0, 2, 1, 3]) for part in cut]


def tokens(**options):
    return SmallGraph([BATCH, LENGTH, HIDDEN], opset=18, **options)


@pytest.mark.parametrize("cut", [packed, separate, sliced])
def test_attention_however_it_is_cut(cut):
    net = tokens()
    y = attended(net, *cut(net, net.input))
    made = assert_fires(net.model(net.relu(y)), fuse_attention, reference=False,
                        gone=["Softmax"], made=["Attention"])
    assert set(operators(made)) == {"Attention", "Relu"}


def test_parts_in_another_order_and_without_a_bias():
    net = tokens()
    y = attended(net, *packed(net, net.input, order=(2, 0, 1), bias=False))
    assert_fires(net.model(y), fuse_attention, reference=False, made=["Attention"])


@pytest.mark.parametrize("shape", [(1, HEADS, LENGTH, LENGTH), (BATCH, 1, LENGTH, LENGTH),
                                   (LENGTH, LENGTH), (BATCH, HEADS, 1, LENGTH)])
def test_a_constant_bias_of_the_scores_goes_along(shape):
    net = tokens()
    bias = net.constant(net.rng.normal(size=shape).astype(np.float32))
    y = attended(net, *packed(net, net.input), bias=bias)
    assert_fires(net.model(y), fuse_attention, reference=False, made=["Attention"], gone=["Add"])


def test_a_mask_added_under_another_shape():
    net = tokens()
    q, k, v = packed(net, net.input)
    scores = net.node("MatMul", q, net.node("Transpose", k, perm=[0, 1, 3, 2]))
    scores = net.node("Add", scores, net.constant(
        net.rng.normal(size=(1, HEADS, LENGTH, LENGTH)).astype(np.float32)))
    scores = net.node("Reshape", scores, numbers(net, 1, BATCH, HEADS, LENGTH, LENGTH))
    scores = net.node("Add", scores, net.constant(
        net.rng.normal(size=(1, BATCH, 1, LENGTH, LENGTH)).astype(np.float32)))
    scores = net.node("Reshape", scores, numbers(net, BATCH, HEADS, LENGTH, LENGTH))
    y = net.node("MatMul", net.node("Softmax", scores, axis=-1), v)
    y = net.node("Reshape", net.node("Transpose", y, perm=[0, 2, 1, 3]),
                 numbers(net, BATCH * LENGTH, HIDDEN))
    made = assert_fires(net.model(y), fuse_attention, reference=False, made=["Attention"])
    assert set(operators(made)) == {"Attention", "Reshape"}


def test_the_sequence_first_for_a_batch_of_one():
    net = SmallGraph([1, LENGTH, HIDDEN], opset=18)
    x = net.node("Transpose", net.relu(net.input), perm=[1, 0, 2])
    y = net.node("Reshape", projected(net, x, 3 * HIDDEN), numbers(net, LENGTH, 1, 3, HIDDEN))
    y = net.node("Transpose", y, perm=[2, 0, 1, 3])
    q, k, v = (net.node("Reshape", net.node("Gather", y, net.constant(np.array(i)), axis=0),
                        numbers(net, LENGTH, HEADS, DEPTH)) for i in range(3))
    q, v = (net.node("Transpose", part, perm=[1, 0, 2]) for part in (q, v))
    k = net.node("Transpose", k, perm=[1, 2, 0])
    scores = net.node("Div", net.node("MatMul", q, k), scalar(net, 2))
    y = net.node("MatMul", net.node("Softmax", scores, axis=2), v)
    y = net.node("Reshape", net.node("Transpose", y, perm=[1, 0, 2]),
                 numbers(net, LENGTH, HIDDEN))
    made = assert_fires(net.model(y), fuse_attention, reference=False, made=["Attention"])
    assert operators(made) == {"Relu": 1, "Attention": 1, "Reshape": 1}


def test_what_is_no_such_attention_stays():
    def cross(net):
        q, _, _ = packed(net, net.input)
        _, k, v = packed(net, net.relu(net.input))
        return attended(net, q, k, v)

    def other_heads(net):  # heads and channels change places
        y = projected(net, net.input, 3 * HIDDEN)
        y = net.node("Reshape", y, numbers(net, BATCH, LENGTH, 3, HEADS, DEPTH))
        y = net.node("Transpose", y, perm=[2, 0, 3, 1, 4])
        q, k, v = (net.node("Gather", y, net.constant(np.array(i)), axis=0) for i in range(3))
        y = attended(net, q, k, v)
        return net.node("Reshape", y, numbers(net, 1, -1)), net.node(
            "Softmax", net.node("MatMul", q, net.node("Transpose", k, perm=[0, 1, 3, 2])), axis=2)

    def computed_mask(net):
        q, k, v = packed(net, net.input)
        mask = net.another_input("mask", [1, 1, LENGTH, LENGTH])
        return attended(net, q, k, v, bias=mask)

    def scaled_values(net):
        q, k, v = packed(net, net.input)
        return attended(net, q, k, net.node("Mul", v, scalar(net, 2)))

    def computed_weights(net):
        weights = net.another_input("w", [HIDDEN, 3 * HIDDEN])
        y = net.node("Reshape", net.node("MatMul", net.input, weights),
                     numbers(net, BATCH, LENGTH, 3, HEADS, DEPTH))
        y = net.node("Transpose", y, perm=[2, 0, 3, 1, 4])
        return attended(net, *(net.node("Gather", y, net.constant(np.array(i)), axis=0)
                               for i in range(3)))

    for build in (cross, computed_mask, scaled_values, computed_weights):
        net = tokens()
        assert_stays(net.model(build(net)), fuse_attention)
    net = tokens()
    made, changed = rewritten(net.model(*other_heads(net)), fuse_attention)
    assert changed == 1 and operators(made)["Softmax"] == 1  # the second one has no values
    net = tokens()
    q, k, v = packed(net, net.input)
    y = attended(net, q, k, v)
    softmax = next(node.output[0] for node in net.nodes if node.op_type == "Softmax")
    assert_stays(net.model(y, softmax), fuse_attention)


def test_attention_of_a_batch_that_is_not_known_stays():
    net = SmallGraph(["batch", LENGTH, HIDDEN], opset=18)
    y = projected(net, net.input, 3 * HIDDEN)
    y = net.node("Reshape", y, numbers(net, 0, LENGTH, 3, HEADS, DEPTH))
    y = net.node("Transpose", y, perm=[2, 0, 3, 1, 4])
    q, k, v = (net.node("Gather", y, net.constant(np.array(i)), axis=0) for i in range(3))
    scores = net.node("MatMul", q, net.node("Transpose", k, perm=[0, 1, 3, 2]))
    y = net.node("MatMul", net.node("Softmax", scores, axis=-1), v)
    assert_stays(net.model(y), fuse_attention)


def test_moves_that_come_back_are_one_reshape_or_none():
    net = SmallGraph([1, 6, 8])
    y = net.node("Transpose", net.relu(net.input), perm=[1, 0, 2])
    y = net.node("Transpose", net.node("Reshape", y, numbers(net, 6, 2, 1, 4)), perm=[2, 0, 1, 3])
    y = net.node("Reshape", y, numbers(net, 1, 6, 8))
    made = assert_fires(net.model(net.relu(y)), drop_detours)
    assert operators(made) == {"Relu": 2}
    net = SmallGraph([1, 6, 8])
    y = net.node("Squeeze", net.node("Transpose", net.input, perm=[1, 0, 2]), numbers(net, 1))
    made = assert_fires(net.model(net.relu(y)), drop_detours)
    assert operators(made) == {"Reshape": 1, "Relu": 1}


def test_moves_that_do_move_stay():
    net = SmallGraph([2, 6, 8])
    y = net.node("Transpose", net.relu(net.input), perm=[1, 0, 2])
    assert_stays(net.model(net.node("Reshape", y, numbers(net, 12, 8))), drop_detours)
    net = SmallGraph(["batch", 6, 8])
    y = net.node("Transpose", net.relu(net.input), perm=[1, 0, 2])
    assert_stays(net.model(net.relu(y)), drop_detours)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_between_reshapes_is_a_product(transposed):
    net = SmallGraph([2, 3, 6])
    y = net.gemm(net.node("Reshape", net.input, numbers(net, 6, 6)), 6, 5, transB=transposed)
    y = net.node("Reshape", y, numbers(net, 2, 3, 5))
    made = assert_fires(net.model(y), drop_gemm_reshapes)
    assert operators(made) == {"MatMul": 1, "Add": 1}
    net = SmallGraph([2, 3, 6])
    y = net.gemm(net.node("Reshape", net.input, numbers(net, 6, 6)), 6, 5)
    assert_stays(net.model(net.node("Reshape", y, numbers(net, 3, 2, 5))), drop_gemm_reshapes)
    assert_stays(net.model(net.node("Reshape", y, numbers(net, 2, 3, 5)), y), drop_gemm_reshapes)


def test_a_scale_goes_into_a_product_and_its_bias():
    net = tokens()
    y = net.node("Mul", projected(net, net.input, 7), net.constant(net.weights(7, fan=1)))
    assert_fires(net.model(y), scale_products, gone=["Mul"])
    net = tokens()
    y = projected(net, net.input, 7)
    assert_stays(net.model(net.node("Mul", y, net.constant(net.weights(7, fan=1))), y),
                 scale_products)
    net = tokens()
    assert_stays(net.model(net.node("Mul", projected(net, net.input, LENGTH), net.constant(
        net.weights(LENGTH, 1, fan=1)))), scale_products)


def residual_block(net, x, channels, x_last=None):
    y = net.node("Transpose", net.conv(x, channels, channels, group=channels), perm=[0, 2, 3, 1])
    y = projected(net, y, channels, inner=channels)
    y = net.node("Transpose", y, perm=[0, 3, 1, 2])
    y = net.node("Mul", net.constant(net.weights(channels, 1, 1)), y)
    return net.node("Add", y, x)


def test_residual_blocks_stay_channels_last():
    net = SmallGraph([1, 8, 5, 6])
    x = net.conv(net.input, 8, 8)
    for _ in range(3):
        x = residual_block(net, x, 8)
    model = net.model(net.relu(x))
    passes = (sink_past_constants, scale_products, sink_past_convolutions, sink_past_sums)
    made, changed = rewritten(model, *passes)
    assert changed == 3 + 3 + 1 + 2 and not operators(made)["Mul"]
    assert_same(model, made)


def test_transposes_that_others_read_or_that_differ_stay():
    net = SmallGraph([1, 4, 4, 4])
    first = net.node("Transpose", net.relu(net.input), perm=[0, 2, 3, 1])
    second = net.node("Transpose", net.node("Tanh", net.input), perm=[0, 3, 1, 2])
    assert_stays(net.model(net.node("Add", first, second)), sink_past_sums)
    other = net.node("Transpose", net.node("Tanh", net.input), perm=[0, 2, 3, 1])
    assert_stays(net.model(net.node("Add", first, other), first, other), sink_past_sums)
    wide = net.constant(net.weights(4, 4, 1))
    assert_stays(net.model(net.node("Mul", first, wide)), sink_past_constants)


def rolled(net, x, shift, axis, size):
    far = 1 << 60
    parts = [net.node("Slice", x, numbers(net, begin), numbers(net, end), numbers(net, axis))
             for begin, end in ((shift, far), (0, shift))]
    assert shift < size
    return net.node("Concat", *parts, axis=axis)


def test_a_shift_and_its_windows_are_one_gather():
    net = SmallGraph([2, 6, 6, 32])
    x = rolled(net, rolled(net, net.relu(net.input), 2, 1, 6), 2, 2, 6)
    x = net.node("Reshape", x, numbers(net, 2, 2, 3, 2, 3, 32))
    x = net.node("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
    x = net.node("Reshape", x, numbers(net, 8, 9, 32))
    made = assert_fires(net.model(net.relu(x)), gather_rows, made=["Gather"])
    assert operators(made) == {"Relu": 2, "Reshape": 2, "Gather": 1}


def test_patches_side_by_side_are_one_gather():
    net = SmallGraph([1, 4, 6, 32])
    far, parts = 1 << 60, []
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        part = net.node("Slice", net.input, numbers(net, row), numbers(net, far), numbers(net, 1),
                        numbers(net, 2))
        parts.append(net.node("Slice", part, numbers(net, column), numbers(net, far),
                              numbers(net, 2), numbers(net, 2)))
    made = assert_fires(net.model(net.relu(net.node("Concat", *parts, axis=-1))), gather_rows)
    assert operators(made) == {"Reshape": 2, "Gather": 1, "Relu": 1}


def test_short_rows_stay():
    net = SmallGraph([2, 6, 6, 8])
    x = rolled(net, rolled(net, net.input, 2, 1, 6), 2, 2, 6)
    assert_stays(net.model(net.relu(x)), gather_rows)


def test_moves_that_tear_rows_or_are_read_between_stay():
    net = SmallGraph([2, 6, 6, 32])
    x = rolled(net, net.node("Transpose", net.input, perm=[0, 3, 1, 2]), 2, 2, 6)
    assert_stays(net.model(net.node("Transpose", x, perm=[0, 2, 1, 3])), gather_rows)
    net = SmallGraph([2, 6, 6, 32])
    first = rolled(net, net.input, 2, 1, 6)
    assert_stays(net.model(rolled(net, first, 2, 2, 6), first), gather_rows)
    net = SmallGraph([2, 6, 6, 32])
    x = net.node("Concat", rolled(net, net.input, 2, 1, 6), net.relu(net.input), axis=1)
    assert_stays(net.model(net.node("Transpose", x, perm=[0, 2, 1, 3])), gather_rows)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(st.integers(0, 9999), st.lists(st.sampled_from(
    ["roll", "flip", "windows", "merge", "relu", "split"]), min_size=1, max_size=6))
def test_any_moves_keep_their_outputs(seed, steps):
    net = SmallGraph([1, 4, 4, 32], seed=seed)
    x, shape = net.relu(net.input), [1, 4, 4, 32]
    for step in steps:
        axis = 1 + int(net.rng.integers(2))
        if step == "relu":
            x = net.relu(net.node("Add", x, scalar(net, 0.1)))
        elif step == "roll" and shape[axis] > 1:
            x = rolled(net, x, 1 + int(net.rng.integers(shape[axis] - 1)), axis, shape[axis])
        elif step == "flip":
            x, shape = net.node("Transpose", x, perm=[0, 2, 1, 3]), [1, shape[2], shape[1], 32]
        elif step == "windows":
            x = net.node("Transpose", net.node("Reshape", x, numbers(
                net, shape[1], shape[2], 2, 16)), perm=[1, 0, 2, 3])
            x = net.node("Reshape", x, numbers(net, 1, shape[2], shape[1], 32))
            shape = [1, shape[2], shape[1], 32]
        elif step == "split" and shape[axis] % 2 == 0:
            parts = net.node("Split", x, outputs=2, axis=axis)
            x = net.node("Concat", *parts[::-1], axis=axis)
        elif step == "merge":
            x, shape = net.node("Reshape", x, numbers(net, 1, shape[1] * shape[2], 1, 32)), [
                1, shape[1] * shape[2], 1, 32]
    model = net.model(net.node("Mul", x, scalar(net, math.pi)))
    made, _ = rewritten(model, gather_rows, drop_detours)
    assert len(made.graph.node) <= len(model.graph.node)
    assert_same(model, made)
