"""Let residual blocks that compute with the channels last stay there.

A block of ConvNeXt transposes for its normalisation and its products, and back for the addition:

    x + T(scale * f(T'(conv(x))))            T: [N, H, W, C] to [N, C, H, W], T': back

The arithmetic treats every place alike, so it may come before T; and where x itself is T of
something, the sum is computed with the channels last, too. What is left of the transposes is read
by convolutions only, which a blocked layout serves from either order.
"""

import numpy as np

from solutions.phase2_optimization.graph_passes.transposes import perm_of
from solutions.phase2_optimization.onnx_rewrite import Array, Node, OnnxGraph

ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})


def sink_past_constants(graph: OnnxGraph) -> int:
    """T(x) and a constant: the arithmetic first, then T; how many.

    Proof: T(x) * c = T(x * T'(c)) where T' undoes T and c has as many axes as x.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type not in ARITHMETIC or node.domain:
            continue
        for place in (0, 1):
            moved, constant = graph.producer.get(node.input[place]), node.input[1 - place]
            perm = None if moved is None else perm_of(graph, moved)
            if moved is None or perm is None or constant not in graph.constants \
                    or not graph.is_private(moved.output[0]):
                continue
            values = _moved_back(graph.constants[constant], perm)
            if values is not None and (values.ndim == 1 or values.size == 1):
                names = [moved.input[0], graph.constant("channels_last", values)]
                _compute_then_move(graph, node, names[::1 if place == 0 else -1], perm)
                changed += 1
                break
    return changed


def sink_past_sums(graph: OnnxGraph) -> int:
    """T(x) + T(y), where the sum alone reads T(x): T(x + y); how many.

    Proof: both are moved alike, and have one shape, so the sums of what was moved may be moved.
    No operator is added: the Transpose of x is now that of the sum.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type != "Add" or node.domain:
            continue
        moves = [graph.producer.get(name) for name in node.input]
        perms = [None if move is None else perm_of(graph, move) for move in moves]
        shapes = [graph.shape(name) for name in node.input]
        if perms[0] is None or perms[0] != perms[1] or moves[0] is moves[1]:
            continue
        if shapes[0] != shapes[1] or shapes[0] is None or None in shapes[0]:
            continue
        if any(graph.is_private(name) for name in node.input):
            names = [move.input[0] for move in moves if move is not None]
            _compute_then_move(graph, node, names, perms[0])
            changed += 1
    return changed


def sink_past_convolutions(graph: OnnxGraph) -> int:
    """T(x) + c where c is a convolution's output: T(x + T'(c)); how many.

    Proof: T'(c) is what T makes c of, so both addends are moved alike. It costs a Transpose more,
    which a blocked layout does not: it writes c in either order.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type != "Add" or node.domain or not graph.has(node):
            continue
        for place in (0, 1):
            move, conv = (graph.producer.get(node.input[i]) for i in (place, 1 - place))
            perm = None if move is None else perm_of(graph, move)
            if move is None or conv is None or perm is None or "Conv" not in conv.op_type \
                    or not graph.is_private(move.output[0]):
                continue
            shape = graph.shape(conv.output[0])
            if shape is None or None in shape or shape != graph.shape(move.output[0]):
                continue
            back = [perm.index(axis) for axis in range(len(perm))]
            moved = graph.add("Transpose", [conv.output[0]], perm=back)
            graph.set_type(moved.output[0], graph.dtype(conv.output[0]),
                           tuple(shape[axis] for axis in back))
            _compute_then_move(graph, node, [move.input[0], moved.output[0]], perm)
            changed += 1
            break
    return changed


def _moved_back(values: Array, perm: list[int]) -> Array | None:
    """A constant with its axes as they are before the move; without leading axes of one."""
    if values.ndim > len(perm):
        return None
    wide = values.reshape((1,) * (len(perm) - values.ndim) + values.shape)
    back = wide.transpose(np.argsort(perm))
    while back.ndim > 1 and back.shape[0] == 1:
        back = back[0]
    return np.ascontiguousarray(back)


def _compute_then_move(graph: OnnxGraph, node: Node, names: list[str], perm: list[int]) -> None:
    """Compute with ``names`` what ``node`` computes, and move the result."""
    shape = graph.shape(node.output[0])
    made = graph.add(node.op_type, names)
    if shape is not None:
        before = tuple(shape[perm.index(axis)] for axis in range(len(perm)))
        graph.set_type(made.output[0], graph.dtype(node.output[0]), before)
    moved = graph.add("Transpose", [made.output[0]], perm=perm)
    graph.replace(node.output[0], moved.output[0])
