"""Shapes: a part of a shape is asked for at once."""

from solutions.phase2_optimization.constant_kernels import slice_arguments
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

PARTS = 15  # the opset from which Shape gives a part


def narrow_shapes(graph: OnnxGraph) -> int:
    """Make one Shape of Shape, Gather, Unsqueeze and of Shape, Slice; how many.

    Proof: ``Shape(x, start, end)`` is defined as the elements start to end of x's shape; a Gather
    of the one element k, made a list again, is the list from k to k + 1.
    """
    if graph.opset < PARTS:
        return 0
    changed = 0
    for node in list(graph.nodes):
        if not graph.has(node):
            continue
        found = PART_OF.get(operator(node), _no_part)(graph, node)
        if found is None:
            continue
        source, start, end = found
        made = graph.add("Shape", [source], start=start or None, end=end)
        graph.set_type(made.output[0], graph.dtype(node.output[0]), graph.shape(node.output[0]))
        changed += graph.replace(node.output[0], made.output[0])
        graph.drop_unread(made)
    return changed


Part = tuple[str, int, int | None]  # the tensor, and start and end of its shape


def _gathered(graph: OnnxGraph, node: Node) -> Part | None:
    """Gather of a list of one place."""
    places = graph.constants.get(node.input[1])
    if places is None or places.shape != (1,):
        return None
    return _one(graph, node, int(places[0]))


def _unsqueezed(graph: OnnxGraph, node: Node) -> Part | None:
    """Gather of one place that Unsqueeze makes a list."""
    before = graph.producer.get(node.input[0])
    if before is None or operator(before) != "Gather" or not graph.is_private(before.output[0]):
        return None
    places = graph.constants.get(before.input[1])
    axes = graph.constants.get(node.input[1])
    if places is None or places.shape != () or axes is None or axes.tolist() not in ([0], [-1]):
        return None
    return _one(graph, before, int(places))


def _one(graph: OnnxGraph, gather: Node, place: int) -> Part | None:
    source = _whole_shape_of(graph, gather)
    return None if source is None else (source, place, place + 1 if place != -1 else None)


def _sliced(graph: OnnxGraph, node: Node) -> Part | None:
    source = _whole_shape_of(graph, node)
    if source is None or any(name and name not in graph.constants for name in node.input[1:]):
        return None
    inputs = [None, *(graph.constants[name] if name else None for name in node.input[1:])]
    cuts = slice_arguments(node, inputs)
    if len(cuts) != 1 or cuts[0][3] != 1:
        return None
    return source, cuts[0][0], cuts[0][1]


def _no_part(graph: OnnxGraph, node: Node) -> Part | None:
    return None


def _whole_shape_of(graph: OnnxGraph, node: Node) -> str | None:
    """The tensor whose whole shape a node reads."""
    before = graph.producer.get(node.input[0])
    if before is None or operator(before) != "Shape":
        return None
    if attribute(before, "start", 0) or attribute(before, "end") is not None:
        return None
    return str(before.input[0])


PART_OF = {"Gather": _gathered, "Unsqueeze": _unsqueezed, "Slice": _sliced}
