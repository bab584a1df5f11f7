"""Reductions: whether they keep their axes is theirs to do, not a Reshape's behind them."""

from solutions.phase2_optimization.graph_passes.reshapes import RESHAPES
from solutions.phase2_optimization.graph_types import Shape, same_shape
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute, set_attribute

AXES_BY_INPUT = {"ReduceSum": 13}  # the opset from which axes are an input; 18 for the others
PICTURE = 4  # the rank of pictures, whose mean is a pool that runtimes have kernels for


def absorb_reshapes(graph: OnnxGraph) -> int:
    """Let a reduction keep its axes, or not, where a Reshape behind it does that; how many.

    Proof: the elements and their order are the same with ``keepdims`` and without; the Reshape's
    output has exactly the other of the two shapes.
    """
    changed = 0
    for node in list(graph.nodes):
        if operator(node) not in RESHAPES or not graph.has(node):
            continue
        before = graph.producer.get(node.input[0])
        if before is None or not _is_reduction(graph, before):
            continue
        keeps = bool(attribute(before, "keepdims", 1))
        if not same_shape(reduced_shape(graph, before, not keeps), graph.shape(node.output[0])):
            continue
        if graph.replace(node.output[0], before.output[0]):
            set_attribute(before, "keepdims", int(not keeps))
            made = before.output[0]
            graph.set_type(made, graph.dtype(made), reduced_shape(graph, before, not keeps))
            changed += 1
    return changed


def _is_reduction(graph: OnnxGraph, node: Node) -> bool:
    if not operator(node).startswith("Reduce") or not graph.is_private(node.output[0]):
        return False
    shape = graph.shape(node.input[0])
    return shape is not None and not (operator(node) == "ReduceMean" and len(shape) == PICTURE)


def reduced_shape(graph: OnnxGraph, node: Node, keep: bool) -> Shape | None:
    """The shape of a reduction's output with or without the reduced axes."""
    shape = graph.shape(node.input[0])
    if shape is None:
        return None
    axes = attribute(node, "axes")
    if graph.opset >= AXES_BY_INPUT.get(operator(node), 18) and len(node.input) > 1:
        given = graph.constants.get(node.input[1])
        if given is None:
            return None
        axes = given.tolist()
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        return None
    gone = {axis % len(shape) for axis in axes} if axes else set(range(len(shape)))
    if keep:
        return tuple(1 if axis in gone else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in gone)
