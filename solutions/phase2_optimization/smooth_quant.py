"""SmoothQuant: moving the trouble of transformers from the activations into the weights.

The problem: behind a layer norm a few channels are a hundred times larger than the rest, in every
token, and one scale per tensor leaves nothing for the others; weights are even and easy. The idea:
divide channel j of the activations by s_j and multiply row j of the weights by it:

    (X diag(s)^-1) (diag(s) W) = X W        s_j = max|X_j|^alpha / max|W_j|^(1 - alpha)

The division costs nothing: it goes into the layer norm's own scale and shift.

Source: Xiao et al., arXiv:2211.10438, equation 3 and 4, section 4.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.graph_preparation import infer_shapes
from solutions.phase2_optimization.observation import Batches, activations
from solutions.phase2_optimization.onnx_rewrite import Model, Node, OnnxGraph, attribute
from zoo.errors import InferenceError

Floats = NDArray[np.floating]
TINY = 1e-5


def smoothing_factors(activation: Floats, weights: Floats, alpha: float = 0.5) -> Floats:
    """The factor s of each channel, [channels].

    ``activation``: largest magnitude of each channel, ``weights``: of each row that it meets;
    ``alpha``: how much of the trouble moves, 0..1. Channels that are zero on a side keep 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
    alive = (activation > TINY) & (weights > TINY)
    large, heavy = np.where(alive, activation, 1.0), np.where(alive, weights, 1.0)
    factors: Floats = np.where(alive, large**alpha / heavy ** (1 - alpha), 1.0)
    return factors


@dataclass
class _Smoothed:
    """A normalisation and the linear layers that read it."""

    norm: Node
    output: str
    layers: list[Node]


def smooth(model: Model, batches: Batches, alpha: float = 0.5) -> Model:
    """A copy of a prepared model whose layer norms hand on smoother activations.

    Only where nothing but MatMul and Gemm nodes with constant weights read a norm's values. The
    model computes the same. Raises InferenceError where there is no data.
    """
    graph = OnnxGraph(model)
    found = [one for one in (_smoothed(graph, node) for node in graph.nodes) if one is not None]
    if not found:
        return infer_shapes(graph.to_model())
    largest: dict[str, Floats] = {}
    for values in activations(model, batches, [one.output for one in found]):
        for name, value in values.items():
            most = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            largest[name] = np.maximum(largest.get(name, most), most)
    if not largest:
        raise InferenceError("smoothing got no data: give at least one batch")
    for one in found:
        rows = [np.abs(_rows(graph, layer)).max(axis=1) for layer in one.layers]
        factors = smoothing_factors(largest[one.output], np.max(rows, axis=0), alpha)
        _divide_norm(graph, one.norm, factors)
        for layer in one.layers:
            _multiply_rows(graph, layer, factors)
    return infer_shapes(graph.to_model())


def _smoothed(graph: OnnxGraph, norm: Node) -> _Smoothed | None:
    """The layers that a LayerNormalization feeds, where it may be changed for their sake."""
    if norm.op_type != "LayerNormalization" or norm.input[1] not in graph.constants:
        return None
    if len(norm.input) > 2 and norm.input[2] and norm.input[2] not in graph.constants:
        return None
    layers = _linear_readers(graph, norm.output[0])
    width = graph.constants[norm.input[1]].shape
    fits = len(width) == 1 and not any(norm.output[1:])
    return _Smoothed(norm, norm.output[0], layers) if layers and fits else None


def _linear_readers(graph: OnnxGraph, name: str) -> list[Node] | None:
    """The linear layers that alone read a tensor, also behind a Transpose of its other axes.

    None where somebody else reads the values (who reads the shape does not count).
    """
    if name in graph.outputs or name in graph.captured:
        return None
    layers: list[Node] = []
    for node in graph.uses(name):
        if node.op_type == "Transpose" and _keeps_last_axis(node):
            further = _linear_readers(graph, node.output[0])
            if further is None:
                return None
            layers += further
        elif _reads_as_rows(graph, node, name):
            layers.append(node)
        elif node.op_type not in ("Shape", "Size"):
            return None
    return layers


def _keeps_last_axis(turn: Node) -> bool:
    order = attribute(turn, "perm", [])
    return bool(order) and order[-1] == len(order) - 1


def _reads_as_rows(graph: OnnxGraph, node: Node, name: str) -> bool:
    if node.op_type not in ("MatMul", "Gemm") or list(node.input).count(name) != 1:
        return False
    weights = graph.constants.get(node.input[1])
    return (
        node.input[0] == name and weights is not None and weights.ndim == 2
        and not attribute(node, "transA", 0)
    )


def _rows(graph: OnnxGraph, layer: Node) -> Floats:
    """Weights with one row per input channel."""
    weights = graph.constants[layer.input[1]]
    return weights.T if layer.op_type == "Gemm" and attribute(layer, "transB", 0) else weights


def _divide_norm(graph: OnnxGraph, norm: Node, factors: Floats) -> None:
    for place in range(1, len(norm.input)):
        if norm.input[place]:
            values = graph.constants[norm.input[place]]
            smaller = (values / factors).astype(values.dtype)
            norm.input[place] = graph.set_constant(graph.fresh(f"{norm.name}/smooth"), smaller)


def _multiply_rows(graph: OnnxGraph, layer: Node, factors: Floats) -> None:
    weights = graph.constants[layer.input[1]]
    larger = (_rows(graph, layer) * factors[:, None]).astype(weights.dtype)
    if _rows(graph, layer) is not weights:
        larger = np.ascontiguousarray(larger.T)
    layer.input[1] = graph.set_constant(graph.fresh(f"{layer.name}/smooth_weight"), larger)
