"""Cross-layer equalization: channels of very different size, made alike before quantizing.

The problem: one scale serves a whole activation, but a channel that reaches 0.1 beside one that
reaches 100 gets no steps at all. The idea: ReLU lets positive factors through, relu(s x) =
s relu(x), so the rows of one layer may be divided by s and the columns of the next multiplied by
it; nothing changes in floats:

    W2 relu(W1 x + b1) = (W2 S) relu(S^-1 W1 x + S^-1 b1)        s_i = sqrt(r1_i * r2_i) / r2_i

makes the ranges r1 of the first layer's rows and r2 of the second layer's columns equal.

Source: Nagel et al., arXiv:1906.04721, section 4.1, equations 7 to 11.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.graph_preparation import infer_shapes
from solutions.phase2_optimization.onnx_rewrite import Model, Node, OnnxGraph, attribute

Floats = NDArray[np.floating]
ROUNDS = 20
CLOSE = 1e-3  # stop when no factor is further from 1
LARGEST = 1e4  # a factor beyond is a dead channel's


def equalization_factors(first: Floats, second: Floats) -> Floats:
    """The factor s of each channel: rows of the first layer are divided, columns multiplied.

    ``first``: largest magnitude of each output channel's weights, [channels]; ``second``: of the
    next layer's weights for that channel. Channels that are zero on a side keep factor 1.
    """
    alive = (first > 0) & (second > 0)
    ratio = np.divide(first, second, out=np.ones_like(first), where=alive)
    factors: Floats = np.where(alive, np.clip(np.sqrt(ratio), 1 / LARGEST, LARGEST), 1.0)
    return factors


@dataclass
class _Pair:
    """Two layers with nothing but a ReLU between them."""

    first: Node
    second: Node


def equalize(model: Model) -> Model:
    """A copy of a prepared model with every pair of such layers equalized; it computes the same.

    Chains of layers are gone through until the factors settle.
    """
    graph = OnnxGraph(model)
    pairs = [pair for pair in (_pair(graph, n) for n in graph.nodes) if pair is not None]
    for node in {id(node): node for pair in pairs for node in (pair.first, pair.second)}.values():
        _own_weights(graph, node)
    for _ in range(ROUNDS):
        if max((_equalize_pair(graph, pair) for pair in pairs), default=0.0) < CLOSE:
            break
    return infer_shapes(graph.to_model())


def _pair(graph: OnnxGraph, first: Node) -> _Pair | None:
    """The pair that a layer begins, if only one layer reads its output, behind a ReLU or none."""
    if not _is_layer(graph, first) or not graph.is_private(first.output[0]):
        return None
    after = graph.uses(first.output[0])[0]
    if after.op_type == "Relu":
        if not graph.is_private(after.output[0]):
            return None
        name, after = after.output[0], graph.uses(after.output[0])[0]
    else:
        name = first.output[0]
    fits = _is_layer(graph, after) and after.input[0] == name
    return _Pair(first, after) if fits and _channels_fit(graph, first, after) else None


def _is_layer(graph: OnnxGraph, node: Node) -> bool:
    if node.op_type not in ("Conv", "Gemm") or node.input[1] not in graph.constants:
        return False
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return False
    return len(node.input) < 3 or not node.input[2] or node.input[2] in graph.constants


def _channels_fit(graph: OnnxGraph, first: Node, second: Node) -> bool:
    """Whether the second layer reads each channel with weights of its own."""
    rows = _rows(graph, first).shape[0]
    group = attribute(second, "group", 1)
    depthwise = group == rows == _rows(graph, second).shape[0]
    return bool((group == 1 and _columns(graph, second).shape[0] == rows) or depthwise)


def _rows(graph: OnnxGraph, node: Node) -> Floats:
    """The weights with one row per output channel."""
    weights = graph.constants[node.input[1]]
    if node.op_type == "Gemm" and not attribute(node, "transB", 0):
        return weights.T
    return weights.reshape(len(weights), -1)


def _columns(graph: OnnxGraph, node: Node) -> Floats:
    """The weights with one row per input channel."""
    weights = graph.constants[node.input[1]]
    if node.op_type == "Gemm":
        return weights.T if attribute(node, "transB", 0) else weights
    if attribute(node, "group", 1) > 1:  # depthwise
        return weights.reshape(len(weights), -1)
    return weights.swapaxes(0, 1).reshape(weights.shape[1], -1)


def _own_weights(graph: OnnxGraph, node: Node) -> None:
    """Constants under names of their own, whoever else reads them now."""
    for place in range(1, min(len(node.input), 3)):
        if node.input[place]:
            name = graph.fresh(f"{node.name}/equalized")
            node.input[place] = graph.set_constant(name, graph.constants[node.input[place]])


def _equalize_pair(graph: OnnxGraph, pair: _Pair) -> float:
    """Equalize once; how far the furthest factor was from 1."""
    first, second = pair.first, pair.second
    largest = [np.abs(w).max(axis=1) for w in (_rows(graph, first), _columns(graph, second))]
    factors = equalization_factors(*largest)
    _scale(graph, first.input[1], 1 / factors, _axis(first, is_output=True))
    _scale(graph, second.input[1], factors, _axis(second, is_output=False))
    if len(first.input) > 2 and first.input[2]:
        _scale(graph, first.input[2], 1 / factors, -1)
    return float(np.abs(factors - 1).max(initial=0.0))


def _axis(layer: Node, is_output: bool) -> int:
    """The axis of a layer's output or input channels in its weights."""
    if layer.op_type == "Gemm":
        return int(is_output != bool(attribute(layer, "transB", 0)))
    return 0 if is_output or attribute(layer, "group", 1) > 1 else 1


def _scale(graph: OnnxGraph, name: str, factors: Floats, axis: int) -> None:
    """Multiply a constant along an axis; a bias that was one number becomes one per channel."""
    values = graph.constants[name]
    shape = [1] * max(values.ndim, 1)
    shape[axis] = -1
    graph.set_constant(name, (values * factors.reshape(shape)).astype(values.dtype))
