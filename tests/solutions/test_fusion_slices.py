"""Slices that cut a tensor into all its parts; sizes that a Resize keeps."""

import numpy as np
import pytest

from solutions.phase2_optimization.graph_passes.blocked_layout import blocked_layout
from solutions.phase2_optimization.graph_passes.blocked_weights import runtime_block_size
from solutions.phase2_optimization.graph_passes.fused_conv import fuse_residuals
from solutions.phase2_optimization.graph_passes.slice_partitions import join_partitions
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from tests.solutions.fusion_checks import assert_fires, assert_same, assert_stays, rewritten
from tests.solutions.small_graphs import SmallGraph, operators

END = 1 << 60


def cut(net, x, begin, end, axis=1, step=1):
    return net.node("Slice", x, *(net.constant(np.array([n], np.int64))
                                  for n in (begin, end, axis, step)))


def test_slices_from_end_to_end_are_one_split():
    net = SmallGraph(["batch", 7, 5])
    parts = [cut(net, net.input, 5, END), cut(net, net.input, 0, 2), cut(net, net.input, -5, 5)]
    model = net.model(net.node("Concat", *(net.relu(part) for part in parts), axis=-2))
    made = assert_fires(model, join_partitions, gone=["Slice"], made=["Split"], places=3)
    assert operators(made)["Split"] == 1


@pytest.mark.parametrize("bounds", [
    [(0, 3), (4, END)], [(0, 4), (3, END)], [(0, END)], [(0, 3)], [(0, 3), (3, 6)],
    [(0, 3), (3, END, 1, 2)], [(0, 3), (3, END, 2)],
])
def test_slices_that_leave_out_or_repeat_something_stay(bounds):
    net = SmallGraph([2, 7, 5])
    assert_stays(net.model(*(net.relu(cut(net, net.input, *b)) for b in bounds)), join_partitions)


def test_slices_of_a_size_that_is_not_known_or_in_an_old_opset_stay():
    net = SmallGraph([2, "length", 5])
    assert_stays(net.model(cut(net, net.input, 0, 3), cut(net, net.input, 3, END)),
                 join_partitions)
    net = SmallGraph([2, 7, 5], opset=12)
    assert_stays(net.model(cut(net, net.input, 0, 3), cut(net, net.input, 3, END)),
                 join_partitions)


def pyramid(batch):
    """Two levels, the coarse one enlarged and added to the fine one."""
    net = SmallGraph([batch, 16, 8, 8])
    fine = net.conv(net.input, 16, 16)
    coarse = net.conv(net.input, 16, 16, strides=[2, 2])
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    wide = net.node("Resize", coarse, "", scales, mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric")
    return net, net.node("Add", fine, wide)


def test_axes_of_scale_one_keep_their_symbol():
    net, total = pyramid("batch")
    graph = OnnxGraph(net.model(net.relu(total)))
    assert graph.shape(total) == ("batch", 16, 8, 8)
    assert_fires(net.model(net.relu(total)), fuse_residuals, gone=["Add"], reference=False)


@pytest.mark.skipif(runtime_block_size() == 1, reason="ONNX Runtime knows no blocks here")
def test_a_pyramid_stays_in_blocks():
    net, total = pyramid("batch")
    model = net.model(net.conv(total, 16, 16))
    made, _ = rewritten(model, fuse_residuals, blocked_layout)
    assert operators(made)["ReorderOutput"] == 1 and operators(made)["ReorderInput"] == 1
    assert_same(model, made, reference=False)
    net, total = pyramid("batch")
    single = net.another_input("single", [1, 16, 8, 8])
    other = net.conv(single, 16, 16)
    model = net.model(net.conv(net.node("Mul", total, other), 16, 16))  # batches broadcast
    made, _ = rewritten(model, blocked_layout)
    assert operators(made)["ReorderOutput"] == 1
    assert_same(model, made, reference=False)
