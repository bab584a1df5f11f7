"""Squeezes: moved in front of a Transpose, where they meet the Reshape that made the axis."""

import numpy as np

from solutions.phase2_optimization.constant_kernels import axes_of
from solutions.phase2_optimization.graph_passes.reshapes import RESHAPES, reshape_target
from solutions.phase2_optimization.graph_passes.transposes import perm_of
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph


def lift_squeezes(graph: OnnxGraph) -> int:
    """Reshape, Transpose, Squeeze become Reshape, Transpose: how many Squeezes went.

    Proof: an axis of size one may be taken out before or after the axes are exchanged; the others
    keep their order. Taken out before, it need not be made by the Reshape at all.
    """
    changed = 0
    for node in list(graph.nodes):
        if operator(node) == "Squeeze" and graph.has(node):
            changed += _lift(graph, node)
    return changed


def _lift(graph: OnnxGraph, node: Node) -> bool:
    transpose = graph.producer.get(node.input[0])
    reshape = None if transpose is None else graph.producer.get(transpose.input[0])
    if transpose is None or reshape is None or operator(reshape) not in RESHAPES:
        return False
    perm, shape = perm_of(graph, transpose), graph.shape(transpose.input[0])
    inputs = [graph.constants.get(name) for name in node.input]
    axes = axes_of(node, inputs)
    private = all(graph.is_private(one.output[0]) for one in (transpose, reshape))
    if perm is None or shape is None or not axes or not private:
        return False
    gone = {perm[axis % len(perm)] for axis in axes}
    kept = [axis for axis in range(len(shape)) if axis not in gone]
    target = reshape_target(graph.shape(reshape.input[0]), tuple(shape[axis] for axis in kept))
    if target is None:
        return False
    name = graph.constant("shape", np.array(target, np.int64))
    flat = graph.add("Reshape", [reshape.input[0], name])
    dtype = graph.dtype(transpose.input[0])
    graph.set_type(flat.output[0], dtype, tuple(shape[axis] for axis in kept))
    order = [kept.index(axis) for axis in perm if axis not in gone]
    made = graph.add("Transpose", [flat.output[0]], perm=order)
    graph.set_type(made.output[0], dtype, graph.shape(node.output[0]))
    return graph.replace(node.output[0], made.output[0])
