"""Reshapes: their targets made constant, chains of them made one."""

import numpy as np

from solutions.phase2_optimization.graph_types import Shape, same_shape
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def fix_targets(graph: OnnxGraph) -> int:
    """Give Reshape and Expand a constant target where the output's shape is known; how many.

    Proof: the target says what shape inference says, with the one free size left to be computed
    (-1) or taken over from the input (0). What computed the target may go.
    """
    changed = 0
    for node in list(graph.nodes):
        if operator(node) not in ("Reshape", "Expand") or not graph.has(node):
            continue
        if node.input[1] in graph.constants:
            continue
        before, shape = graph.shape(node.input[0]), graph.shape(node.output[0])
        if operator(node) == "Expand":
            target = expand_target(before, shape)
        else:
            target = reshape_target(before, shape)
        if target is not None:
            _reshape(graph, node, node.input[0], target)
            changed += 1
    return changed


def merge_reshapes(graph: OnnxGraph) -> int:
    """Make one Reshape of several that follow each other; how many went.

    Proof: Reshape, Flatten, Squeeze and Unsqueeze keep the elements and their order, so the last
    shape alone counts.
    """
    changed = 0
    for node in list(graph.nodes):
        if operator(node) not in RESHAPES or not graph.has(node):
            continue
        before = graph.producer.get(node.input[0])
        if before is None or operator(before) not in RESHAPES or not _goes(graph, before):
            continue
        source = before.input[0]
        shapes = graph.shape(source), graph.shape(node.output[0])
        if same_shape(*shapes) and graph.replace(node.output[0], source):
            changed += 1
            continue
        target = reshape_target(*shapes)
        if target is None:
            continue
        _reshape(graph, node, source, target)
        changed += 1
    return changed


def _goes(graph: OnnxGraph, before: Node) -> bool:
    """Whether nobody but other reshapes needs a reshape."""
    made = before.output[0]
    return not graph.is_pinned(made) and all(operator(n) in RESHAPES for n in graph.uses(made))


def _reshape(graph: OnnxGraph, node: Node, source: str, target: list[int]) -> None:
    """Turn a node into a Reshape (or leave an Expand one) with a constant target."""
    name = graph.constant("shape", np.array(target, np.int64))
    before = [graph.producer.get(old) for old in node.input]
    graph.set_inputs(node, [source, name])
    if operator(node) != "Expand":
        node.op_type = "Reshape"
        del node.attribute[:]
    for maker in before:
        graph.drop_unread(maker)


def reshape_target(before: Shape | None, after: Shape | None) -> list[int] | None:
    """A constant target from one shape to another; None where two free sizes stay open.

    >>> reshape_target(("N", 3, 4), ("N", 12))
    [-1, 12]
    >>> reshape_target(("N", 12, "T"), ("N", 3, 4, "T"))
    [0, 3, 4, -1]
    >>> reshape_target(("N", "T"), (None, "N", 1)) is None
    True
    """
    if after is None or 0 in after:  # a size of 0 means "as before"
        return None
    target = [dim if isinstance(dim, int) else -1 for dim in after]
    free = [axis for axis, size in enumerate(target) if size == -1]
    for axis in free[:-1] if len(free) > 1 else []:
        if before is None or axis >= len(before) or after[axis] is None:
            return None
        if before[axis] != after[axis]:
            return None
        target[axis] = 0
    return target


def expand_target(before: Shape | None, after: Shape | None) -> list[int] | None:
    """A constant target of Expand: a free size may stay as it is where the input has it."""
    if before is None or after is None:
        return None
    own: Shape = (1,) * (len(after) - len(before)) + tuple(before)
    target = []
    for old, new in zip(own, after, strict=True):
        if isinstance(new, int):
            target.append(new)
        elif new is not None and old == new:
            target.append(1)
        else:
            return None
    return target
