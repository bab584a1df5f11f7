"""Multi-head attention, however it is spelt, as ONNX Runtime's one operator.

    q, k, v = x W + b, cut into heads          softmax(scale q k^T + bias) v, heads side by side

An exporter writes 15 to 20 operators, most of which only move numbers. The two products and the
softmax between them are easy to find; whether the moves around them cut the projection into heads
and put them together again is read off their index maps (index_maps.py), not off their spelling.
Sources: Vaswani et al., arXiv:1706.03762, section 3.2; com.microsoft.Attention.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.graph_passes.attention_parts import (
    Projection,
    Scores,
    joined_output,
    projection_of,
    scores_of,
)
from solutions.phase2_optimization.graph_passes.index_maps import (
    Origin,
    Places,
    origin_of,
    static_shape,
)
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

DOMAIN = "com.microsoft"


class Heads(NamedTuple):
    """How a projection's output [rows, columns] is cut: rows [B, S], columns [N, D]."""

    rows: Places
    columns: Places


class Branch(NamedTuple):
    """Query, key or value: its projection, how it is cut, and what multiplies it."""

    projection: Projection
    heads: Heads
    scale: float


def fuse_attention(graph: OnnxGraph) -> int:
    """Self-attention with its projections in single precision to one Attention; how many.

    Proof: the operator computes the formula above on [B, S, hidden] with heads in the order of the
    columns. The index maps show for every number of q, k and v its row (batch and position, the
    same for all heads) and its column (head and channel, the same for all rows); the columns of
    the weights are put into that order. The result's map must be the identity.
    """
    return sum(_fuse(graph, node) for node in list(graph.nodes)
               if node.op_type == "Softmax" and graph.has(node))


def _fuse(graph: OnnxGraph, softmax: Node) -> bool:
    scores = scores_of(graph, softmax)
    if scores is None or graph.dtype(softmax.output[0]) != np.float32:
        return False
    value_product = graph.uses(softmax.output[0])[0]
    names = [*scores.product.input, value_product.input[1]]
    read: dict[str, Projection | None] = {}
    branches = [_branch(graph, name, place == 1, read) for place, name in enumerate(names)]
    found = [branch for branch in branches if branch is not None]
    if len(found) != 3 or not _agree(found):
        return False
    heads = found[0].heads
    source = _batch_first(graph, found[0].projection.source, heads.rows)
    sizes = (*heads.rows.shape, *heads.columns.shape)
    target = joined_output(graph, value_product.output[0], sizes)
    if source is None or target is None:
        return False
    made = _attention(graph, source, found, scores, heads)
    wanted = static_shape(graph, target)
    if wanted is not None and len(wanted) != 3:
        made = graph.add("Reshape", [
            made.output[0], graph.constant("shape", np.array(wanted, np.int64))])
    return graph.replace(target, made.output[0])


def _branch(
    graph: OnnxGraph, name: str, transposed: bool, read: dict[str, Projection | None]
) -> Branch | None:
    """Where q, k or v comes from; ``read`` keeps projections that several of them share."""
    origin = origin_of(graph, name)
    if origin is None:
        return None
    if origin.source not in read:
        read[origin.source] = projection_of(graph, origin.source)
    projection = read[origin.source]
    if projection is None:
        return None
    heads = _heads(origin, projection.weights.shape[1], transposed)
    return None if heads is None else Branch(projection, heads, origin.scale)


def _heads(origin: Origin, width: int, transposed: bool) -> Heads | None:
    """Rows and columns of a [B, N, S, D] cut; None where they do not depend on their axes alone."""
    places = np.swapaxes(origin.places, -1, -2) if transposed else origin.places
    if places.ndim == 3:  # batch and heads in one axis
        first = places[:, 0, 0] // width
        heads = int(np.argmax(first != first[0])) or len(first)
        if len(first) % heads:
            return None
        places = places.reshape(-1, heads, *places.shape[1:])
    if places.ndim != 4:
        return None
    rows, columns = places // width, places % width
    if (rows != rows[:, :1, :, :1]).any() or (columns != columns[:1, :, :1, :]).any():
        return None
    return Heads(rows[:, 0, :, 0], columns[0, :, 0, :])


def _agree(branches: list[Branch]) -> bool:
    """Whether query, key and value are cut alike from projections of one tensor."""
    first = branches[0]
    return branches[2].scale == 1 and all(
        branch.projection.source == first.projection.source
        and np.array_equal(branch.heads.rows, first.heads.rows)
        and branch.heads.columns.shape == first.heads.columns.shape for branch in branches)


def _batch_first(graph: OnnxGraph, name: str, rows: Places) -> str | None:
    """A tensor [B, S, hidden] that holds the projection's input row by row."""
    shape = static_shape(graph, name)
    if shape is None:
        return None
    wanted = (*rows.shape, shape[-1])
    needed = rows.astype(np.int64)[..., None] * shape[-1] + np.arange(shape[-1])
    origin = origin_of(graph, name)
    if origin is not None and origin.scale == 1 \
            and static_shape(graph, origin.source) == wanted \
            and np.array_equal(origin.places.reshape(-1)[needed].reshape(-1),
                               np.arange(needed.size)):
        return origin.source
    if not np.array_equal(needed.reshape(-1), np.arange(needed.size)):
        return None
    if shape == wanted:
        return name
    made = graph.add("Reshape", [name, graph.constant("shape", np.array(wanted, np.int64))])
    return str(made.output[0])


def _attention(
    graph: OnnxGraph, source: str, branches: list[Branch], scores: Scores, heads: Heads
) -> Node:
    """The fused operator; its weights' columns are those of the heads, in their order."""
    weights = _in_order([b.projection.weights for b in branches], branches)
    bias = _in_order([b.projection.bias for b in branches], branches)
    inputs = [source, graph.constant("attention_weights", weights),
              graph.constant("attention_bias", bias)]
    if scores.bias is not None:
        shape = (-1, len(heads.columns), *scores.bias.shape[-2:])
        inputs += ["", "", graph.constant("score_bias", _narrow(scores.bias.reshape(shape)))]
    scale = scores.scale * branches[0].scale * branches[1].scale
    made = graph.add("Attention", inputs, domain=DOMAIN, num_heads=len(heads.columns), scale=scale)
    graph.set_type(made.output[0], np.dtype(np.float32), (*heads.rows.shape, heads.columns.size))
    return made


def _in_order(arrays: list[NDArray[np.float32]], branches: list[Branch]) -> NDArray[np.float32]:
    """The columns of queries, keys and values side by side, heads in order."""
    first, columns = arrays[0], np.concatenate([b.heads.columns.reshape(-1) for b in branches])
    if all(array is first for array in arrays) and np.array_equal(
            columns, np.arange(first.shape[-1])):
        return first
    parts = [array[..., branch.heads.columns.reshape(-1)]
             for array, branch in zip(arrays, branches, strict=True)]
    return np.ascontiguousarray(np.concatenate(parts, axis=-1))


def _narrow(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """A bias [B, N, S, T] with a batch of one where all are the same."""
    return bias[:1] if (bias == bias[:1]).all() else bias
