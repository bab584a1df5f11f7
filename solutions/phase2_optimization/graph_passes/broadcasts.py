"""Broadcasts: an Expand in front of an operator that broadcasts by itself is not needed."""

from solutions.phase2_optimization.graph_types import Shape
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

BROADCASTING = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "LessOrEqual",
    "Greater", "GreaterOrEqual", "Where", "Mod", "Max", "Min", "Sum", "Mean",
})


def drop_expands(graph: OnnxGraph) -> int:
    """Let elementwise operators read what an Expand before them read; how many inputs changed.

    Proof: the other inputs alone widen the result to the same shape, and an element of the
    widened tensor is the element that broadcasting takes.
    """
    changed = 0
    for node in list(graph.nodes):
        if operator(node) not in BROADCASTING or not graph.has(node):
            continue
        for place, name in enumerate(list(node.input)):
            before = graph.producer.get(name)
            if before is None or operator(before) != "Expand":
                continue
            if _fits(graph, node, place, before):
                names = list(node.input)
                names[place] = before.input[0]
                graph.set_inputs(node, names)
                graph.drop_unread(before)
                changed += 1
    return changed


def _fits(graph: OnnxGraph, node: Node, place: int, before: Node) -> bool:
    names = [before.input[0] if i == place else name for i, name in enumerate(node.input)]
    made = broadcast_shape([graph.shape(name) for name in names])
    return made is not None and made == graph.shape(node.output[0])


def broadcast_shape(shapes: list[Shape | None]) -> Shape | None:
    """The shape of an elementwise operator's output; None where it cannot be told.

    >>> broadcast_shape([("N", 1, 4), (3, 1)])
    ('N', 3, 4)
    """
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or not known:
        return None
    rank = max(map(len, known))
    made = []
    for axis in range(-rank, 0):
        dims = {shape[axis] for shape in known if len(shape) >= -axis} - {1}
        if len(dims) > 1 or None in dims:
            return None
        made.append(dims.pop() if dims else 1)
    return tuple(made)
