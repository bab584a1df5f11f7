"""Steps keep within what clamps let through; groups share a range; biases fit into 32 bits."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_graphs import SmallGraph, fused_operators, normal_batches, run_onnxruntime

from solutions.phase2_optimization.affine import asymmetric_params, fake_quantize
from solutions.phase2_optimization.calibration import Range
from solutions.phase2_optimization.clamps import clamp_limits, clamped_by, within_limits
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from solutions.phase2_optimization.quantize_graph import quantize_static
from solutions.phase2_optimization.quantized_types import UINT8
from solutions.phase2_optimization.shared_scales import (
    TiedTensors,
    shared_limits,
    shared_ranges,
    tie_within_limits,
)

finite = st.floats(-1e3, 1e3, width=32)
numbers = st.lists(finite, min_size=2, max_size=2).map(sorted)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(numbers, st.floats(0, 1), st.floats(0, 1))
def test_the_ends_of_the_steps_saturate_where_the_clamp_does(ends, lower, upper):
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    assume(high - low > 1e-3)
    found = Range(low * lower, high * upper)  # what was seen lies within the limits
    assume(found.high - found.low > 1e-6)
    before = asymmetric_params(*found, UINT8)
    params = within_limits(before, Range(low, high))
    scale, zero_point = np.float32(params.scale), int(params.zero_point)
    # ONNX Runtime's rule, in its arithmetic: the limits round to the ends or beyond
    assert int(np.rint(np.float32(low) / scale)) + zero_point <= 0
    assert int(np.rint(np.float32(high) / scale)) + zero_point >= 255
    assert before.scale * 0.99 <= params.scale <= before.scale
    values = np.linspace(*found, 500, dtype=np.float32)
    assert np.abs(fake_quantize(values, params) - values).max() <= 1.01 * before.scale
    assert fake_quantize(np.zeros(1, np.float32), params)[0] == 0


def test_without_limits_the_steps_stay():
    params = asymmetric_params(-1, 3, UINT8)
    assert within_limits(params, Range(-np.inf, np.inf)) == params


def clip_graph(low, high):
    net = SmallGraph([1, 8, 4, 4], 1)
    limits = [net.constant(np.float32(v)) if v is not None else "" for v in (low, high)]
    return OnnxGraph(net.model(net.node("Clip", net.conv(net.input, 8, 8), *limits)))


@pytest.mark.parametrize(("low", "high", "limits"), [
    (0, 6, (0, 6)), (None, 2, (-np.inf, 2)), (-1, None, (-1, np.inf)),
    (None, None, (-np.inf, np.inf)),
])
def test_limits_of_a_clip(low, high, limits):
    graph = clip_graph(low, high)
    clip = graph.nodes[1]
    assert clamp_limits(graph, clip) == limits
    assert clamped_by(graph, graph.nodes[0]) is clip


groups = st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=4, unique=True), max_size=6)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(numbers, min_size=10, max_size=10),
       st.lists(st.booleans(), min_size=10, max_size=10), groups)
def test_no_group_reaches_beyond_a_members_clamp(ends, clamped, joined):
    names = [str(i) for i in range(10)]
    ranges = {n: Range(max(e[0], 0.0), max(e[1], 0.0)) if c else Range(*e)
              for n, e, c in zip(names, ends, clamped, strict=True)}
    limits = {n: Range(0.0, np.inf) for n, c in zip(names, clamped, strict=True) if c}
    tied = TiedTensors()
    tie_within_limits(tied, [[str(i) for i in group] for group in joined], ranges, limits)
    shared = shared_ranges(ranges, tied)
    allowed = shared_limits(limits, tied)
    for name in names:
        own, group = ranges[name], shared[name]
        assert group.low <= own.low and own.high <= group.high
        assert group == shared[tied.leader(name)]
        if name in limits:
            assert group.low >= 0 and allowed[tied.leader(name)] == Range(0.0, np.inf)
    for first, *others in ([str(i) for i in group] for group in joined):
        for other in others:  # what could be tied without harm is tied
            harmless = shared[first].low >= 0 and shared[other].low >= 0
            free = not {tied.leader(first), tied.leader(other)} & set(allowed)
            assert tied.leader(first) == tied.leader(other) or not (harmless or free)


def test_a_bias_far_larger_than_the_weights_fits(tmp_path):
    net = SmallGraph([1, 8, 4, 4], 1)
    weights = net.constant(1e-6 * net.weights(16, 8, 1, 1))
    bias = net.constant(np.linspace(-1000, 1000, 16, dtype=np.float32))
    x = net.node("Conv", net.input, weights, bias)
    model, batches = net.model(net.conv(net.conv(x, 16, 16), 4, 16)), normal_batches([1, 8, 4, 4])
    made = quantize_static(model, batches)
    assert fused_operators(made.model, tmp_path)["QLinearConv"] == 2
    real, found = (run_onnxruntime(m, batches[0])[0] for m in (model, made.model))
    assert np.abs(found - real).max() < 0.05 * np.abs(real).max()
