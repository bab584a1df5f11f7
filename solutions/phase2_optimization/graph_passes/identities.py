"""Operators that give back their input: no-ops that exporters and other rewrites leave behind."""

from collections.abc import Callable

import numpy as np

from solutions.phase2_optimization.constant_kernels import slice_arguments
from solutions.phase2_optimization.determinism import may_train
from solutions.phase2_optimization.graph_types import same_shape
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

Test = Callable[[OnnxGraph, Node], bool]


def drop_identities(graph: OnnxGraph) -> int:
    """Take out nodes that give back their first input; how many.

    Proof: each test below holds only where the operator's definition makes every element of the
    output the same element of the input, and the shapes and types are equal. Only the sign of a
    zero may differ (-0 + 0 is +0).
    """
    changed = 0
    for node in list(graph.nodes):
        test = TESTS.get(operator(node))
        if test is None or not graph.has(node):
            continue
        if any(map(graph.is_read, node.output[1:])) or not test(graph, node):
            continue
        if _screens_integers(graph, node):
            continue
        changed += graph.replace(node.output[0], node.input[0])
    return changed


def drop_neutral_operands(graph: OnnxGraph) -> int:
    """Take out x + 0, x - 0, x * 1, x / 1 and x ** 1; how many.

    Proof: the constant is the operation's neutral element everywhere, and broadcasting to its
    shape does not widen x.
    """
    changed = 0
    for node in list(graph.nodes):
        neutral = NEUTRAL.get(operator(node))
        if neutral is None or not graph.has(node):
            continue
        for kept, other in ((0, 1), (1, 0))[: 2 if operator(node) in ("Add", "Mul") else 1]:
            if _is_all(graph, node.input[other], neutral) and _is_wider(graph, node, kept, other):
                changed += graph.replace(node.output[0], node.input[kept])
                break
    return changed


def _is_all(graph: OnnxGraph, name: str, value: int) -> bool:
    """Whether a constant has that value everywhere."""
    if name not in graph.constants or graph.constants.dtype_of(name).kind not in "iuf":
        return False
    values = graph.constants[name]
    return bool(values.size) and bool(values.flat[0] == value) and bool((values == value).all())


def _is_wider(graph: OnnxGraph, node: Node, kept: int, other: int) -> bool:
    """Whether broadcasting against the constant leaves the kept side as it is."""
    constant = graph.constants.shape_of(node.input[other])
    shape = graph.shape(node.input[kept])
    if node.input[kept] in graph.constants or shape is None or len(constant) > len(shape):
        return False
    tail = shape[len(shape) - len(constant):]
    return all(size in (1, own) for size, own in zip(constant, tail, strict=True))


def _always(graph: OnnxGraph, node: Node) -> bool:
    return True


def _screens_integers(graph: OnnxGraph, node: Node) -> bool:
    """Whether a Clip or Max stands there to keep a runtime from carrying integers across it: see
    ``hidden_integers``."""
    if node.op_type not in ("Clip", "Max"):
        return False
    before = graph.producer.get(node.input[0])
    after = [user.op_type for user in graph.uses(node.output[0])]
    return (before is not None and before.op_type == "DequantizeLinear") or (
        "QuantizeLinear" in after)


def _single(graph: OnnxGraph, node: Node) -> bool:
    return len(node.input) == 1


def _inference(graph: OnnxGraph, node: Node) -> bool:
    return not may_train(graph, node)


def _same_type(graph: OnnxGraph, node: Node) -> bool:
    from solutions.phase2_optimization.onnx_protobuf import require_onnx

    source = graph.dtype(node.input[0])
    if source is None:
        return False
    return bool(require_onnx().helper.np_dtype_to_tensor_dtype(source) == attribute(node, "to"))


def _same_shape(graph: OnnxGraph, node: Node) -> bool:
    """Reshapes that keep the shape, and Expand, Tile, Slice, Pad, Resize, which change nothing
    else if they keep it: but a negative step or a cut-and-pad may move elements."""
    return same_shape(graph.shape(node.input[0]), graph.shape(node.output[0]))


def _whole_slice(graph: OnnxGraph, node: Node) -> bool:
    """All of it in its own order; the end may be open."""
    if any(name and name not in graph.constants for name in node.input[1:]):
        return False
    inputs = [None, *(graph.constants[name] if name else None for name in node.input[1:])]
    shape = graph.shape(node.input[0])
    for start, end, axis, step in slice_arguments(node, inputs):
        size = None if shape is None else shape[axis]
        begins = start == 0 or (isinstance(size, int) and start <= -size)
        ends = end >= OPEN or (isinstance(size, int) and end >= size)
        if step != 1 or not begins or not ends:
            return False
    return True


def _no_pads(graph: OnnxGraph, node: Node) -> bool:
    if len(node.input) > 1:
        pads = graph.constants.get(node.input[1])
        return pads is not None and not pads.any()
    pads = attribute(node, "pads")
    return pads is not None and not any(pads)


def _identical_perm(graph: OnnxGraph, node: Node) -> bool:
    perm = attribute(node, "perm")
    return perm is not None and list(perm) == sorted(perm)


def _no_bounds(graph: OnnxGraph, node: Node) -> bool:
    attributes = {item.name for item in node.attribute}
    return not any(node.input[1:]) and not attributes & {"min", "max"} and graph.opset >= 11


def _all_ones(graph: OnnxGraph, node: Node) -> bool:
    repeats = graph.constants.get(node.input[1]) if len(node.input) == 2 else None
    return repeats is not None and bool((repeats == 1).all())


def _no_axes(graph: OnnxGraph, node: Node) -> bool:
    """Squeeze and Unsqueeze of no axis; a Squeeze without axes takes all of size one."""
    if same_shape(graph.shape(node.input[0]), graph.shape(node.output[0])):
        return True
    axes = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    return axes is not None and axes.size == 0


def _whole_gather(graph: OnnxGraph, node: Node) -> bool:
    """Every row once, in order."""
    rows = graph.constants.get(node.input[1])
    shape, axis = graph.shape(node.input[0]), attribute(node, "axis", 0)
    if rows is None or rows.ndim != 1 or shape is None or rows.size != shape[axis]:
        return False
    return bool(np.array_equal(rows, np.arange(rows.size)))


def _same_size(graph: OnnxGraph, node: Node) -> bool:
    """Resize to the own size by scales of one."""
    if len(node.input) < 3 or not node.input[2]:
        return False
    scales = graph.constants.get(node.input[2])
    return scales is not None and scales.size > 0 and bool((scales == 1).all()) and (
        attribute(node, "coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize")


OPEN = (1 << 31) - 1  # exporters write the largest number for "to the end"
NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Pow": 1}
TESTS: dict[str, Test] = {
    "Identity": _always, "Dropout": _inference, "Cast": _same_type, "Reshape": _same_shape,
    "Flatten": _same_shape, "Squeeze": _no_axes, "Unsqueeze": _no_axes, "Expand": _same_shape,
    "Transpose": _identical_perm, "Slice": _whole_slice, "Pad": _no_pads, "Concat": _single,
    "Sum": _single, "Max": _single, "Min": _single, "Mean": _single, "Clip": _no_bounds,
    "Tile": _all_ones, "Gather": _whole_gather, "Resize": _same_size,
}
