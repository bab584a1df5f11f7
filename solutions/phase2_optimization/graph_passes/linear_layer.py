"""Linear operators in one form: weights [out, ...] and bias [out].

Conv, ConvTranspose, Gemm and MatMul all multiply by constant weights and may add a bias, but each
stores its weights otherwise. A fold that scales and shifts the output channels is written once
for :class:`~solutions.phase2_optimization.batch_norm.Layer`; the two functions here read a node
into that form and write it back.

    Conv            W [out, in / groups, ...]
    ConvTranspose   W [in, out / groups, ...]    the groups lie along ``in``
    Gemm            B [in, out], or [out, in] with transB; alpha * A B + beta * C
    MatMul          B [in, out]; no bias

Source: the ONNX operator specification of the four operators.
"""

import numpy as np

from solutions.phase2_optimization.batch_norm import Layer
from solutions.phase2_optimization.onnx_rewrite import (
    Array,
    Node,
    OnnxGraph,
    attribute,
    set_attribute,
)

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FLOATS = frozenset({"float16", "float32", "float64"})


def read_layer(graph: OnnxGraph, node: Node) -> Layer | None:
    """A linear operator's weights [out, ...] and bias [out]; None where they are no constants."""
    if node.op_type not in LINEAR or node.domain not in ("", "ai.onnx"):
        return None
    stored = graph.constants.get(node.input[1])
    if stored is None or stored.dtype.name not in FLOATS or stored.ndim < 2:
        return None
    weights = _output_first(node, stored)
    bias = None if weights is None else _bias(graph, node, weights)
    return None if weights is None or bias is None else Layer(weights, bias)


def write_layer(graph: OnnxGraph, node: Node, layer: Layer) -> bool:
    """Let the node compute ``layer``; False, and nothing changed, where it cannot.

    It cannot where a number would not be finite any more (in half precision, say), or where a
    MatMul would need a bias.
    """
    if not (np.isfinite(layer.weights).all() and np.isfinite(layer.bias).all()):
        return False
    if node.op_type == "MatMul" and layer.bias.any():
        return False
    names = [node.input[0], graph.constant("weights", _stored_form(node, layer.weights))]
    if node.op_type != "MatMul":
        names.append(graph.constant("bias", layer.bias))
    if node.op_type == "Gemm":
        set_attribute(node, "alpha", 1.0)
        set_attribute(node, "beta", 1.0)
    graph.set_inputs(node, names)
    return True


def _output_first(node: Node, stored: Array) -> Array | None:
    """Weights as the operator stores them, as [out, ...]."""
    if node.op_type == "Conv":
        return stored
    if node.op_type == "ConvTranspose":
        groups = int(attribute(node, "group", 1))
        split = stored.reshape(groups, -1, *stored.shape[1:])
        return np.swapaxes(split, 1, 2).reshape(-1, split.shape[1], *stored.shape[2:])
    if stored.ndim != 2:
        return None
    if node.op_type == "MatMul":
        return stored.T
    alpha = stored.dtype.type(attribute(node, "alpha", 1.0))
    scaled = stored if alpha == 1 else stored * alpha
    return scaled if attribute(node, "transB", 0) else scaled.T


def _stored_form(node: Node, weights: Array) -> Array:
    """The inverse of :func:`_output_first`, with alpha = 1."""
    if node.op_type == "Conv":
        return weights
    if node.op_type == "ConvTranspose":
        groups = int(attribute(node, "group", 1))
        split = weights.reshape(groups, -1, *weights.shape[1:])
        return np.ascontiguousarray(
            np.swapaxes(split, 1, 2).reshape(-1, split.shape[1], *weights.shape[2:]))
    keep = node.op_type == "Gemm" and attribute(node, "transB", 0)
    return weights if keep else np.ascontiguousarray(weights.T)


def _bias(graph: OnnxGraph, node: Node, weights: Array) -> Array | None:
    """The constant bias [out], zeros where there is none, None where it depends on the data."""
    channels = len(weights)
    if node.op_type == "MatMul" or len(node.input) < 3 or not node.input[2]:
        return np.zeros(channels, weights.dtype)
    bias = graph.constants.get(node.input[2])
    whole = bias is not None and bias.size == channels and bias.shape[-1] == channels
    if bias is None or not (bias.size == 1 or whole):
        return None
    if node.op_type == "Gemm":
        bias = bias * bias.dtype.type(attribute(node, "beta", 1.0))
    return np.broadcast_to(bias.reshape(-1), (channels,)).astype(weights.dtype)
