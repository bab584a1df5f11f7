"""Transposes: two that follow each other are one, and some are moved until they meet."""

import numpy as np

from solutions.phase2_optimization.graph_passes.reshapes import reshape_target
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute, set_attribute

UNARY = frozenset({
    "Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Log", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid",
    "Sign", "Softplus", "Softsign", "Sqrt", "Tanh",
})
BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Equal", "Less", "Greater"})


def merge_transposes(graph: OnnxGraph) -> int:
    """Make one Transpose of two that follow each other; how many went.

    Proof: axis i of the result is axis second[i] of the middle, which is axis first[second[i]] of
    the input. Where that is the order of the axes, nothing is left to do.
    """
    changed = 0
    for node in list(graph.nodes):
        before = _transpose_before(graph, node)
        if operator(node) != "Transpose" or before is None or not graph.has(node):
            continue
        first, second = perm_of(graph, before), perm_of(graph, node)
        made = before.output[0]
        if first is None or second is None or graph.is_pinned(made):
            continue
        if any(operator(reader) != "Transpose" for reader in graph.uses(made)):
            continue
        set_attribute(node, "perm", [first[axis] for axis in second])
        graph.set_inputs(node, [before.input[0]])
        graph.drop_unread(before)
        changed += 1
    return changed


def reshape_unit_transposes(graph: OnnxGraph) -> int:
    """Turn a Transpose that moves axes of size one only into a Reshape; how many.

    Proof: the other axes keep their order, so the elements do; an axis of size one holds no order.
    A Reshape moves no data and merges with its neighbours.
    """
    changed = 0
    for node in list(graph.nodes):
        perm = perm_of(graph, node)
        shape = graph.shape(node.input[0]) if perm is not None else None
        if perm is None or shape is None:
            continue
        moved = [axis for axis in perm if shape[axis] != 1]
        target = reshape_target(shape, tuple(shape[axis] for axis in perm))
        if moved != sorted(moved) or perm == sorted(perm) or target is None:
            continue
        name = graph.constant("shape", np.array(target, np.int64))
        made = graph.add("Reshape", [node.input[0], name])
        graph.set_type(made.output[0], graph.dtype(node.input[0]),
                       tuple(shape[axis] for axis in perm))
        changed += graph.replace(node.output[0], made.output[0])
        graph.drop_unread(made)
    return changed


def sink_transposes(graph: OnnxGraph) -> int:
    """Move Transposes behind an elementwise operator that stands between them and the next
    Transpose, or that joins two of the same; how many operators they passed.

    Proof: an elementwise operator treats every place alike, so it may come before or after the
    places are exchanged: f(T(x)) = T(f(x)) and g(T(x), T(y)) = T(g(x, y)). The latter needs equal
    ranks, since broadcasting counts axes from the last.
    """
    changed = 0
    for node in list(graph.nodes):
        if not graph.has(node):
            continue
        if operator(node) in UNARY and _meets_transposes(graph, node):
            changed += _sink(graph, node, 1)
        elif operator(node) in BINARY and len(node.input) == 2:
            changed += _sink(graph, node, 2)
    return changed


def _meets_transposes(graph: OnnxGraph, node: Node) -> bool:
    readers = graph.uses(node.output[0])
    return bool(readers) and not graph.is_pinned(node.output[0]) and all(
        operator(reader) == "Transpose" for reader in readers)


def _sink(graph: OnnxGraph, node: Node, count: int) -> bool:
    """Let a node read what its Transposes read, and transpose what it makes."""
    befores = [graph.producer.get(name) for name in node.input[:count]]
    perms = [perm_of(graph, before) if before is not None else None for before in befores]
    if perms[0] is None or any(perm != perms[0] for perm in perms) or len(node.output) != 1:
        return False
    found = [before for before in befores if before is not None]
    if not all(graph.is_private(before.output[0]) for before in found):
        return False
    if count == 2 and found[0] is found[1]:
        return False
    made, inner = node.output[0], graph.fresh(node.output[0])
    graph.set_inputs(node, [*(before.input[0] for before in found), *node.input[count:]])
    graph.set_output(node, 0, inner)
    graph.add("Transpose", [inner], [made], perm=perms[0])
    for before in found:
        graph.drop_unread(before)
    _infer_moved(graph, inner, made, perms[0])
    return True


def _infer_moved(graph: OnnxGraph, inner: str, made: str, perm: list[int]) -> None:
    shape = graph.shape(made)
    if shape is not None:
        graph.set_type(inner, graph.dtype(made),
                       tuple(shape[perm.index(axis)] for axis in range(len(perm))))


def _transpose_before(graph: OnnxGraph, node: Node) -> Node | None:
    before = graph.producer.get(node.input[0]) if node.input else None
    return before if before is not None and operator(before) == "Transpose" else None


def perm_of(graph: OnnxGraph, node: Node) -> list[int] | None:
    """The order of axes that a Transpose gives; without one the axes are reversed. None where the
    node is no Transpose, or the rank is not known."""
    if operator(node) != "Transpose":
        return None
    perm = attribute(node, "perm")
    if perm is not None:
        return list(perm)
    shape = graph.shape(node.input[0])
    return None if shape is None else list(range(len(shape)))[::-1]
