"""Where the numbers of a tensor come from, through any chain of operators that only move numbers.

Two exporters write the same attention with other reshapes, transposes and slices in between; a
pattern for each spelling would never end. But such operators compute nothing: what they do together
is one map from places of the source to places of the result. Run on the source's own place numbers
0, 1, 2, ... they show this map as data, and two chains are the same if their maps are equal.

    source 0 1 2 3 4 5  --Reshape [2, 3]--> --Transpose-->  0 3 | 1 4 | 2 5

Source: the relational view of layout operators, as in TVM's index maps (Chen et al.,
arXiv:1802.04799).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

Places = NDArray[np.int32]
SHAPED = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
LARGEST = 1 << 24  # numbers of a tensor whose map is looked at


class Origin(NamedTuple):
    """A tensor as moved numbers of another, times a constant."""

    source: str
    places: Places  # of the tensor's shape: the place in the flattened source
    scale: float
    nodes: list[Node]  # that move, from the tensor back


def static_shape(graph: OnnxGraph, name: str) -> tuple[int, ...] | None:
    """A tensor's shape where every size is a number."""
    shape = graph.shape(name)
    if shape is None or not all(isinstance(size, int) for size in shape):
        return None
    return tuple(int(size) for size in shape if isinstance(size, int))


def origin_of(graph: OnnxGraph, name: str) -> Origin | None:
    """Walk back over operators that move numbers or multiply all by one; None where a shape is
    not known or too large."""
    nodes: list[Node] = []
    scale, source = 1.0, name
    while (node := graph.producer.get(source)) is not None and not node.domain:
        factor = _factor(graph, node)
        if factor is not None:
            place, number = factor
            scale *= number
        elif moves(graph, node):
            place = 0
        else:
            break
        nodes.append(node)
        source = node.input[place]
    shape = static_shape(graph, source)
    if shape is None or np.prod(shape) > LARGEST:
        return None
    places: Places | None = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    made = name
    for place in range(len(nodes) - 1, -1, -1):
        node = nodes[place]
        made = name if place == 0 else nodes[place - 1].input[_data_input(graph, nodes[place - 1])]
        places = None if places is None else moved(graph, node, made, places)
    return None if places is None else Origin(source, places, scale, nodes)


def moved(graph: OnnxGraph, node: Node, name: str, places: Places) -> Places | None:
    """What a moving operator makes of its input's place numbers, as its output ``name``."""
    shape = static_shape(graph, name)
    if shape is None:
        return None
    if node.op_type in SHAPED:
        return places.reshape(shape)
    if node.op_type == "Transpose":
        perm = attribute(node, "perm")
        return places.transpose(perm) if perm is not None else places.T
    if node.op_type == "Gather":
        index = np.asarray(graph.constants[node.input[1]])
        taken: Places = np.take(places, index, axis=attribute(node, "axis", 0))
        return taken
    if node.op_type == "Slice":
        return places[slice_of(graph, node, places.ndim) or ()]
    if node.op_type == "Split":
        axis = attribute(node, "axis", 0)
        before = list(node.output).index(name)
        begin = sum((static_shape(graph, part) or (0,) * places.ndim)[axis]
                    for part in list(node.output)[:before])
        cut = [slice(None)] * places.ndim
        cut[axis] = slice(begin, begin + shape[axis])
        return places[tuple(cut)]
    return places  # multiplied


def slice_of(graph: OnnxGraph, node: Node, rank: int) -> tuple[slice, ...] | None:
    """A Slice with constant bounds and positive steps as numpy writes it."""
    given = [graph.constants.get(name) if name else None for name in node.input[1:]]
    if len(given) < 2 or any(array is None for array, name in zip(
            given, node.input[1:], strict=True) if name):
        return None
    starts, ends = (np.atleast_1d(array).tolist() for array in given[:2] if array is not None)
    axes, steps = ([np.atleast_1d(array).tolist() if array is not None else None
                    for array in given[2:]] + [None, None])[:2]
    cut = [slice(None)] * rank
    for place, axis in enumerate(axes if axes is not None else range(len(starts))):
        step = 1 if steps is None else steps[place]
        if step < 1:
            return None
        cut[axis % rank] = slice(starts[place], ends[place], step)
    return tuple(cut)


def moves(graph: OnnxGraph, node: Node) -> bool:
    """Whether a node only moves numbers of its first input."""
    if node.op_type in SHAPED or node.op_type == "Transpose":
        return True
    if node.op_type == "Gather":
        return node.input[1] in graph.constants
    if node.op_type == "Slice":
        return slice_of(graph, node, len(graph.shape(node.input[0]) or ())) is not None
    return node.op_type == "Split" and all(
        static_shape(graph, part) is not None for part in node.output)


def _factor(graph: OnnxGraph, node: Node) -> tuple[int, float] | None:
    """The data's input and the number by which a node multiplies it."""
    if node.op_type not in ("Mul", "Div"):
        return None
    for place in (0, 1) if node.op_type == "Mul" else (0,):
        number = graph.scalar(node.input[1 - place])
        rank = len(graph.shape(node.input[1 - place]) or ())
        if number and rank <= len(graph.shape(node.input[place]) or ()):
            return place, number if node.op_type == "Mul" else 1 / number
    return None


def _data_input(graph: OnnxGraph, node: Node) -> int:
    factor = _factor(graph, node)
    return 0 if factor is None else factor[0]
