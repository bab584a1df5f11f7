"""Arithmetic on shapes of which a part is known: [batch, 3, 224, 224] with a free batch.

Exporters compute a Reshape's target from the input's shape: Shape, Gather one size, Unsqueeze,
Concat. With a free size nothing of this is constant as a whole, but most elements are. Here short
integer tensors carry sizes, symbols and gaps element by element.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.constant_kernels import axes_of, slice_arguments
from solutions.phase2_optimization.graph_types import Dim, is_static
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Array, Node, OnnxGraph, attribute

LONGEST = 64  # elements; shapes are shorter
COPIES = frozenset({"Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape"})


class Sizes(NamedTuple):
    """An integer tensor of rank 0 or 1 as far as it is known."""

    elements: tuple[Dim, ...]
    rank: int


class PartialValues:
    """What is known of the short integer tensors of a graph, learnt node by node in order."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.known: dict[str, Sizes] = {}

    def whole(self, node: Node) -> Array | None:
        """The output of a node whose elements are all sizes, though its inputs are no constants."""
        if operator(node) not in RULES or len(node.output) != 1:
            return None
        found = self.sizes_of(node)
        if found is None or not is_static(found.elements):
            return None
        dtype = self.graph.dtype(node.output[0]) or np.dtype(np.int64)
        if dtype.kind not in "iu":
            return None
        return np.array(found.elements, dtype).reshape(() if found.rank == 0 else (-1,))

    def learn(self, node: Node) -> None:
        """Note what is known of a node's output."""
        if operator(node) in RULES and len(node.output) == 1:
            found = self.sizes_of(node)
            if found is not None:
                self.known[node.output[0]] = found

    def sizes_of(self, node: Node) -> Sizes | None:
        """The output of a node, element by element; None where nothing is known."""
        return RULES[operator(node)](self, node)

    def value(self, name: str) -> Sizes | None:
        """What is known of a tensor: all of a constant, something of what was learnt."""
        if name in self.known:
            return self.known[name]
        constants = self.graph.constants
        if name not in constants or constants.dtype_of(name).kind not in "iu":
            return None
        shape = constants.shape_of(name)
        if len(shape) > 1 or shape > (LONGEST,):
            return None
        return Sizes(tuple(constants[name].ravel().tolist()), len(shape))


def _shape(values: PartialValues, node: Node) -> Sizes | None:
    """Shape; from opset 15 on a part of it."""
    shape = values.graph.shape(node.input[0])
    if shape is None:
        return None
    return Sizes(shape[attribute(node, "start", 0):attribute(node, "end")], 1)


def _size(values: PartialValues, node: Node) -> Sizes | None:
    shape = values.graph.shape(node.input[0])
    if shape is None or not is_static(shape):
        return None
    return Sizes((int(np.prod(np.array(shape, np.int64), dtype=np.int64)),), 0)


def _gather(values: PartialValues, node: Node) -> Sizes | None:
    data, places = values.value(node.input[0]), values.value(node.input[1])
    if data is None or data.rank != 1 or places is None or not is_static(places.elements):
        return None
    count = len(data.elements)
    found = [int(place) for place in places.elements if isinstance(place, int)]
    if any(not -count <= place < count for place in found):
        return None
    return Sizes(tuple(data.elements[place] for place in found), places.rank)


def _slice(values: PartialValues, node: Node) -> Sizes | None:
    data = values.value(node.input[0])
    if data is None or data.rank != 1:
        return None
    constants = values.graph.constants
    if any(name and name not in constants for name in node.input[1:]):
        return None
    inputs = [None, *(constants[name] if name else None for name in node.input[1:])]
    cuts = slice_arguments(node, inputs)
    if len(cuts) != 1:
        return None
    start, end, _, step = cuts[0]
    if step < 0:
        return None
    return Sizes(data.elements[start:end:step], 1)


def _concat(values: PartialValues, node: Node) -> Sizes | None:
    """Unknown parts become gaps where at least their length is known."""
    elements: list[Dim] = []
    for name in node.input:
        part = values.value(name)
        length = values.graph.shape(name)
        if part is not None and part.rank == 1:
            elements += part.elements
        elif length is not None and len(length) == 1 and isinstance(length[0], int):
            elements += [None] * length[0]
        else:
            return None
    return Sizes(tuple(elements), 1) if len(elements) <= LONGEST else None


def _copy(values: PartialValues, node: Node) -> Sizes | None:
    """Identity, Cast between integers, and the change between one size and a list of one."""
    data = values.value(node.input[0])
    if data is None:
        return None
    if operator(node) == "Cast" and attribute(node, "to") not in (6, 7, 12, 13):
        return None  # INT32, INT64, UINT32, UINT64
    if operator(node) in ("Identity", "Cast"):
        return data
    shape = values.graph.shape(node.output[0])
    if operator(node) == "Unsqueeze" and data.rank == 0:
        constants = values.graph.constants
        inputs = [constants.get(name) for name in node.input]
        return Sizes(data.elements, 1) if axes_of(node, inputs) in ([0], [-1]) else None
    if operator(node) == "Squeeze" and data.rank == 1 and len(data.elements) == 1:
        return Sizes(data.elements, 0)
    if shape is None or len(shape) > 1:
        return None
    return Sizes(data.elements, len(shape))


def _arithmetic(values: PartialValues, node: Node) -> Sizes | None:
    """Add, Sub, Mul, Div: numbers where both sides are numbers; symbols times and plus nothing."""
    sides = [values.value(name) for name in node.input]
    if None in sides:
        return None
    first, second = (side for side in sides if side is not None)
    count = max(len(first.elements), len(second.elements))
    if any(len(side.elements) not in (1, count) for side in (first, second)):
        return None
    pairs = zip(_stretched(first, count), _stretched(second, count), strict=True)
    return Sizes(tuple(_combined(operator(node), a, b) for a, b in pairs),
                 max(first.rank, second.rank))


def _stretched(sizes: Sizes, count: int) -> Sequence[Dim]:
    return sizes.elements if len(sizes.elements) == count else sizes.elements * count


def _combined(op_type: str, a: Dim, b: Dim) -> Dim:
    neutral = 1 if op_type in ("Mul", "Div") else 0
    if b == neutral:
        return a
    if a == neutral and op_type in ("Mul", "Add"):
        return b
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    if op_type == "Div":
        return None if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return a + b if op_type == "Add" else a - b if op_type == "Sub" else a * b


RULES = {
    "Shape": _shape, "Size": _size, "Gather": _gather, "Slice": _slice, "Concat": _concat,
    "Add": _arithmetic, "Sub": _arithmetic, "Mul": _arithmetic, "Div": _arithmetic,
} | dict.fromkeys(COPIES, _copy)
