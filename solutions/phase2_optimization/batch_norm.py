"""Batch-norm folding: at inference a normalisation is a scale and a shift per channel.

    norm(conv(x)) = gamma * (W x + b - mean) / sqrt(var + eps) + beta
                  = (W * k) x + (b - mean) * k + beta        k = gamma / sqrt(var + eps)

A quantizer must see the folded weights: they are what is multiplied. Source: Jacob et al.,
arXiv:1712.05877, section 3.2 and equation 14.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

Floats = NDArray[np.floating]


class Norm(NamedTuple):
    """The numbers of a trained batch normalisation: arrays [channels]."""

    gamma: Floats
    beta: Floats
    mean: Floats
    variance: Floats
    epsilon: float


class Layer(NamedTuple):
    """A linear or convolution layer: weights [out, ...] and bias [out]."""

    weights: Floats
    bias: Floats


def fold_batch_norm(layer: Layer, norm: Norm) -> Layer:
    """The layer that computes ``norm(layer(x))``."""
    factor = norm.gamma / np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
    beside = factor.reshape(-1, *[1] * (layer.weights.ndim - 1))
    weights, bias = layer.weights * beside, (layer.bias - norm.mean) * factor + norm.beta
    return Layer(weights.astype(layer.weights.dtype), bias.astype(layer.weights.dtype))


def fold_batch_norms(graph: OnnxGraph) -> int:
    """Fold every batch norm that alone reads a convolution's output; how many there were."""
    folded = [node for node in graph.nodes if _fold(graph, node)]
    graph.remove(folded)
    return len(folded)


def _fold(graph: OnnxGraph, norm: Node) -> bool:
    """Put a batch norm into the convolution before it, if there is one that can take it."""
    if norm.op_type != "BatchNormalization" or attribute(norm, "training_mode", 0):
        return False
    conv = graph.producer.get(norm.input[0])
    numbers = [graph.constants.get(name) for name in norm.input[1:]]
    if conv is None or conv.op_type != "Conv" or not graph.is_private(conv.output[0]):
        return False
    weights = graph.constants.get(conv.input[1])
    bias = _bias(graph, conv)
    if weights is None or bias is None or any(array is None for array in numbers):
        return False
    gamma, beta, mean, variance = (array for array in numbers if array is not None)
    epsilon = float(attribute(norm, "epsilon", 1e-5))
    layer = fold_batch_norm(Layer(weights, bias), Norm(gamma, beta, mean, variance, epsilon))
    del conv.input[1:]
    conv.input.append(graph.set_constant(graph.fresh("folded_weight"), layer.weights))
    conv.input.append(graph.set_constant(graph.fresh("folded_bias"), layer.bias))
    conv.output[0] = norm.output[0]
    graph.refresh()
    return True


def _bias(graph: OnnxGraph, conv: Node) -> Floats | None:
    """The constant bias, zeros where there is none, None where it depends on the data."""
    if len(conv.input) > 2 and conv.input[2]:
        return graph.constants.get(conv.input[2])
    weights = graph.constants.get(conv.input[1])
    return None if weights is None else np.zeros(len(weights), weights.dtype)
