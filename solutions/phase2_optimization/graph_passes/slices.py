"""Slices: several that follow each other on different axes are one."""

import numpy as np

from solutions.phase2_optimization.constant_kernels import slice_arguments
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

Cuts = list[tuple[int, int, int, int]]  # (start, end, axis, step)
BY_INPUTS = 10  # the opset from which Slice takes its numbers as inputs


def merge_slices(graph: OnnxGraph) -> int:
    """Make one Slice of two that follow each other on different axes; how many went.

    Proof: a Slice of one axis leaves the places on the others alone, so both cuts may be made at
    once. The one in front goes if nobody but Slices reads it.
    """
    changed = 0
    for node in list(graph.nodes):
        if operator(node) != "Slice" or not graph.has(node) or graph.opset < BY_INPUTS:
            continue
        before = graph.producer.get(node.input[0])
        if before is None or operator(before) != "Slice" or not _goes(graph, before):
            continue
        cuts = merged_cuts(cuts_of(graph, before), cuts_of(graph, node))
        if cuts is None:
            continue
        names = [graph.constant("slice", np.array(part, np.int64))
                 for part in zip(*cuts, strict=True)]
        graph.set_inputs(node, [before.input[0], *names])
        graph.drop_unread(before)
        changed += 1
    return changed


def merged_cuts(first: Cuts | None, second: Cuts | None) -> Cuts | None:
    """Both Slices' cuts; None where they meet on an axis.

    >>> merged_cuts([(0, 5, 1, 2)], [(1, 9, 2, 1)])
    [(0, 5, 1, 2), (1, 9, 2, 1)]
    """
    if first is None or second is None:
        return None
    axes = [cut[2] for cut in (*first, *second)]
    return None if len(set(axes)) < len(axes) else [*first, *second]


def _goes(graph: OnnxGraph, before: Node) -> bool:
    made = before.output[0]
    return not graph.is_pinned(made) and all(operator(n) == "Slice" for n in graph.uses(made))


def cuts_of(graph: OnnxGraph, node: Node) -> Cuts | None:
    """A Slice's numbers with axes counted from the front; None where they are not constant."""
    shape = graph.shape(node.input[0])
    if shape is None or any(name and name not in graph.constants for name in node.input[1:]):
        return None
    inputs = [None, *(graph.constants[name] if name else None for name in node.input[1:])]
    return [(start, end, axis % len(shape), step)
            for start, end, axis, step in slice_arguments(node, inputs)]
