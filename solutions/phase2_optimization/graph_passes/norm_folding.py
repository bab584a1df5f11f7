"""Batch norms and per-channel constants go into the linear layer before them.

At inference a batch norm multiplies each channel by a constant and adds another, and so do Mul,
Div, Add and Sub with one number per channel. What follows a convolution or matrix product by
constant weights can be multiplied into these weights once:

    k * (W x + b) + s = (k W) x + (k b + s)

The result differs by rounding alone. Not folded: a norm in training mode (it uses the batch's own
statistics), a layer whose output somebody else reads, weights that would overflow or hold NaN.
Source: Jacob et al., arXiv:1712.05877, section 3.2.
"""

import numpy as np

from solutions.phase2_optimization.batch_norm import Layer, Norm, fold_batch_norm
from solutions.phase2_optimization.graph_passes.linear_layer import (
    LINEAR,
    read_layer,
    write_layer,
)
from solutions.phase2_optimization.onnx_rewrite import Array, Node, OnnxGraph, attribute

SCALES = frozenset({"Mul", "Div"})
ARITHMETIC = SCALES | {"Add", "Sub"}


def fold_norms(graph: OnnxGraph) -> int:
    """BatchNormalization after Conv, ConvTranspose or Gemm: folded; how many were.

    Proof: the module's equation with k = gamma / sqrt(variance + epsilon), s = beta - k mean.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type != "BatchNormalization" or node.domain:
            continue
        norm = constant_norm(graph, node)
        linear = _linear_before(graph, node.input[0])
        if norm is not None and linear is not None and linear.op_type != "MatMul":
            changed += _absorb(graph, linear, norm, node)
    return changed


def fold_scales(graph: OnnxGraph) -> int:
    """Mul, Div, Add, Sub with a constant per channel after a linear layer: folded; how many.

    Proof: the module's equation; with shift alone k = 1, with scale alone s = 0, and
    ``c - y`` has k = -1, s = c.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type not in ARITHMETIC or node.domain:
            continue
        for place in (0, 1):
            linear = _linear_before(graph, node.input[place])
            constant = graph.constants.get(node.input[1 - place])
            if linear is None or constant is None or not _can_take(linear, node):
                continue
            norm = _as_norm(graph, node, linear, constant, constant_first=place == 1)
            if norm is not None and _absorb(graph, linear, norm, node):
                changed += 1
                break
    return changed


def scale_products(graph: OnnxGraph) -> int:
    """(x W + b) * s per column, W, b and s constant: x (W s) + b s; how many.

    Proof: multiplication distributes over the sum. The product and its bias are two nodes here
    (MatMul, Add), so neither can take the scale alone.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type not in SCALES or node.domain or not graph.has(node):
            continue
        for place in (0, 1) if node.op_type == "Mul" else (0,):
            total, constant = _linear_before(graph, node.input[place]), node.input[1 - place]
            if total is None or total.op_type != "Add" or constant not in graph.constants:
                continue
            if _scale_both(graph, total, node, graph.constants[constant]):
                changed += 1
                break
    return changed


def _scale_both(graph: OnnxGraph, total: Node, node: Node, constant: Array) -> bool:
    """Move the scale of ``node`` into the product and the bias that ``total`` adds."""
    place = 0 if total.input[0] in graph.constants else 1
    bias, product = graph.constants.get(total.input[place]), _linear_before(
        graph, total.input[1 - place])
    if bias is None or product is None or product.op_type != "MatMul" or bias.ndim != 1:
        return False
    norm = _as_norm(graph, node, product, constant, constant_first=False)
    layer = read_layer(graph, product)
    if norm is None or layer is None or bias.shape != norm.gamma.shape:
        return False
    scaled = (bias * norm.gamma).astype(bias.dtype)
    with np.errstate(all="ignore"):
        folded = fold_batch_norm(layer, norm)
    if not np.isfinite(scaled).all() or not write_layer(graph, product, Layer(*folded)):
        return False
    names = list(total.input)
    names[place] = graph.constant("bias", scaled)
    graph.set_inputs(total, names)
    return graph.replace(node.output[0], total.output[0])


def _absorb(graph: OnnxGraph, linear: Node, norm: Norm, node: Node) -> bool:
    """Let ``linear`` compute what ``node``, its only reader, computes from it."""
    layer = read_layer(graph, linear)
    if layer is None or len(norm.gamma) != len(layer.weights):
        return False
    with np.errstate(all="ignore"):
        folded = fold_batch_norm(layer, norm)
    return write_layer(graph, linear, Layer(*folded)) and graph.replace(
        node.output[0], linear.output[0])


def _can_take(linear: Node, node: Node) -> bool:
    """Whether an operator can compute a scale or shift at all; a MatMul has no bias."""
    return linear.op_type in LINEAR and (linear.op_type != "MatMul" or node.op_type in SCALES)


def _linear_before(graph: OnnxGraph, name: str) -> Node | None:
    """The node that makes a tensor, if that one reader is all it has."""
    node = graph.producer.get(name)
    return node if node is not None and graph.is_private(name) else None


def constant_norm(graph: OnnxGraph, node: Node) -> Norm | None:
    """A batch norm's numbers, if they are constants and it does not train."""
    if attribute(node, "training_mode", 0) or sum(bool(name) for name in node.output) != 1:
        return None
    if not attribute(node, "spatial", 1):
        return None
    arrays = [graph.constants.get(name) for name in node.input[1:5]]
    found = [array.astype(np.float64) for array in arrays if array is not None]
    if len(found) != 4:
        return None
    gamma, beta, mean, variance = found
    return Norm(gamma, beta, mean, variance, float(attribute(node, "epsilon", 1e-5)))


def _as_norm(
    graph: OnnxGraph, node: Node, linear: Node, constant: Array, constant_first: bool
) -> Norm | None:
    """Arithmetic with a constant as a norm of mean 0 and variance 1; None where it is none."""
    layer = read_layer(graph, linear)
    values = None if layer is None else _per_channel(graph, linear, layer, constant)
    if values is None or (node.op_type == "Div" and (constant_first or not values.all())):
        return None
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    scale, shift = {
        "Mul": (values, zeros),
        "Div": (1 / values if node.op_type == "Div" else ones, zeros),
        "Add": (ones, values),
        "Sub": (-ones, values) if constant_first else (ones, -values),
    }[node.op_type]
    return Norm(scale, shift, zeros, ones, 0.0)


def _per_channel(
    graph: OnnxGraph, linear: Node, layer: Layer, constant: Array
) -> Array | None:
    """A constant as one number per output channel [out], if that is all it is."""
    channels = len(layer.weights)
    axis, rank = -1, _output_rank(graph, linear, layer)
    if linear.op_type in ("Conv", "ConvTranspose"):
        axis = 1 - layer.weights.ndim
    if constant.ndim > rank or constant.dtype != layer.weights.dtype:
        return None
    along = constant.shape[axis] if constant.ndim >= -axis else 1
    if constant.size != along or along not in (1, channels):
        return None
    return np.broadcast_to(constant.reshape(-1), (channels,)).astype(np.float64)


def _output_rank(graph: OnnxGraph, linear: Node, layer: Layer) -> int:
    """The rank of the output, or the least that it can be."""
    if linear.op_type != "MatMul":
        return layer.weights.ndim
    shape = graph.shape(linear.output[0])
    return 1 if shape is None else len(shape)
