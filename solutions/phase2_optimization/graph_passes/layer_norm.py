"""Layer normalisation, written out by older exporters in nine operators, as one.

    y = (x - mean) / sqrt(variance + epsilon) * gamma + beta        mean and variance of each row

Source: Ba et al., arXiv:1607.06450, equation 4; the ONNX operator LayerNormalization (opset 17).
"""

from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

LEAST_OPSET = 17


class Normalised(NamedTuple):
    """(x - mean) / sqrt(variance + epsilon), found in a graph."""

    source: str
    epsilon: float
    last: Node


def recognise_layer_norm(graph: OnnxGraph) -> int:
    """Written-out layer normalisations over the last axis to LayerNormalization; how many.

    Proof: the operator's definition is the formula. Every intermediate result must serve this
    formula alone. Where no constant row multiplies the result, gamma is one.
    """
    changed = 0
    for node in list(graph.nodes) if graph.opset >= LEAST_OPSET else []:
        if node.op_type != "Div" or node.domain or not graph.has(node):
            continue
        found = _normalised(graph, node)
        shape = None if found is None else graph.shape(found.source)
        dtype = None if found is None else graph.dtype(found.source)
        if found is None or shape is None or dtype is None or not isinstance(shape[-1], int):
            continue
        gamma, last = _row_after(graph, found.last, "Mul", shape[-1])
        beta, last = _row_after(graph, last, "Add", shape[-1])
        inputs = [found.source, gamma or graph.constant("ones", np.ones(shape[-1], dtype))]
        made = graph.add("LayerNormalization", [*inputs, *([beta] if beta else [])],
                         axis=-1, epsilon=found.epsilon)
        changed += graph.replace(last.output[0], made.output[0])
    return changed


def _normalised(graph: OnnxGraph, division: Node) -> Normalised | None:
    """The normalisation that ends in a division."""
    centred, root = (graph.producer.get(name) for name in division.input)
    total = _maker(graph, root.input[0], "Add") if root is not None else None
    if centred is None or root is None or centred.op_type != "Sub" or root.op_type != "Sqrt" \
            or total is None:
        return None
    numbers = [graph.scalar(name) for name in total.input]
    place = next((i for i, number in enumerate(numbers) if number is not None), None)
    mean = graph.producer.get(centred.input[1])
    if place is None or mean is None or not _is_row_mean(graph, mean, centred.input[0]):
        return None
    variance = graph.producer.get(total.input[1 - place])
    square = None if variance is None else graph.producer.get(variance.input[0])
    if variance is None or square is None or not _is_row_mean(graph, variance, square.output[0]):
        return None
    other = _centred_under(graph, square)
    if other is None or list(other.input) != list(centred.input):
        return None
    inside = [centred, other, root, total, mean, variance, square]
    if not _serve_alone(graph, inside, division):
        return None
    return Normalised(centred.input[0], float(numbers[place] or 0.0), division)


def _centred_under(graph: OnnxGraph, square: Node) -> Node | None:
    """The subtraction whose result is squared: by Pow, or by itself."""
    if square.op_type == "Pow" and graph.scalar(square.input[1]) == 2:
        return graph.producer.get(square.input[0])
    if square.op_type == "Mul" and square.input[0] == square.input[1]:
        return graph.producer.get(square.input[0])
    return None


def _is_row_mean(graph: OnnxGraph, node: Node, source: str) -> bool:
    """Whether a node is the mean over the last axis of ``source``, the axis kept."""
    shape = graph.shape(source)
    if node.op_type != "ReduceMean" or node.domain or node.input[0] != source or shape is None:
        return False
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        found = graph.constants.get(node.input[1])
        axes = None if found is None else np.atleast_1d(found).tolist()
    return bool(attribute(node, "keepdims", 1)) and list(axes or []) in ([-1], [len(shape) - 1])


def _maker(graph: OnnxGraph, name: str, op_type: str) -> Node | None:
    node = graph.producer.get(name)
    return node if node is not None and node.op_type == op_type and not node.domain else None


def _serve_alone(graph: OnnxGraph, inside: list[Node], last: Node) -> bool:
    """Whether nobody else reads what the nodes make."""
    known = {id(node) for node in [*inside, last]}
    return all(
        not graph.is_pinned(name) and all(id(user) in known for user in graph.uses(name))
        for node in inside for name in node.output)


def _row_after(graph: OnnxGraph, node: Node, op_type: str, width: int) -> tuple[str, Node]:
    """A constant row that the next node applies, and that node; "" and ``node`` without one."""
    name = node.output[0]
    after = graph.uses(name)[0] if graph.is_private(name) else None
    if after is None or after.op_type != op_type or after.domain:
        return "", node
    row = after.input[1] if after.input[0] == name else after.input[0]
    fits = row in graph.constants and graph.constants.shape_of(row) == (width,)
    return (row, after) if fits else ("", node)
