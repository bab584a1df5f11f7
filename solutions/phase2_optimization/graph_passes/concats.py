"""Concats: one that feeds another along the same axis is part of it."""

from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute


def merge_concats(graph: OnnxGraph) -> int:
    """Put the inputs of a Concat into the Concat that alone reads it; how many went.

    Proof: putting parts behind each other along one axis is associative.
    """
    changed = 0
    for node in list(graph.nodes):
        if operator(node) != "Concat" or not graph.has(node):
            continue
        inner = [_part(graph, node, name) for name in node.input]
        if not any(inner):
            continue
        names: list[str] = []
        for name, part in zip(list(node.input), inner, strict=True):
            names += part.input if part is not None else [name]
        graph.set_inputs(node, names)
        parts = [part for part in inner if part is not None]
        graph.discard(parts)
        changed += len(parts)
    return changed


def _part(graph: OnnxGraph, node: Node, name: str) -> Node | None:
    """The Concat along the same axis that makes a tensor for this node alone."""
    before = graph.producer.get(name)
    if before is None or operator(before) != "Concat" or not graph.is_private(name):
        return None
    if list(node.input).count(name) > 1 or _axis(graph, before) != _axis(graph, node):
        return None
    return before


def _axis(graph: OnnxGraph, node: Node) -> int:
    """The axis, counted from the front where the rank is known."""
    axis, shape = int(attribute(node, "axis")), graph.shape(node.output[0])
    return axis if shape is None else axis % len(shape)
