"""Constants of a quantized graph: integer weights and biases, scales and zero points.

    weights  int8, a scale per output channel, symmetric
    bias     int32, in units of the layer's sums: scale of the input * scale of the weights

Source: Jacob et al., arXiv:1712.05877, section 2.4 (bias); Krishnamoorthi, arXiv:1806.08342,
section 3 (per-channel weights).
"""

from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.affine import QuantParams, quantize, weight_params
from solutions.phase2_optimization.integer_layers import quantize_bias
from solutions.phase2_optimization.onnx_rewrite import Array, Node, OnnxGraph, require_onnx
from solutions.phase2_optimization.placement import layer_axis
from solutions.phase2_optimization.quantized_types import INT8, QuantizedType
from zoo.errors import InferenceError

BIAS_STEPS = 2.0**30  # a bias takes no more than half of int32; the sums need the rest
LEAST_PRODUCT, MOST_PRODUCT = 2.0**-120, 2.0**120  # of two scales, so that float32 holds it


class Rounded(NamedTuple):
    """A layer's weights as integers, found by a better search than rounding to nearest."""

    integers: Array  # in the shape of the weights
    params: QuantParams


def store_layer(
    graph: OnnxGraph, node: Node, inputs: QuantParams, kind: QuantizedType,
    rounded: Rounded | None = None, bias: Array | None = None,
) -> None:
    """Let a layer read integer weights and an int32 bias; a product of activations stays.

    ``inputs``: how its input is stored; ``rounded``, ``bias``: better ones than its own. Weights
    that several layers read are stored once. Raises InferenceError where the numbers are too large.
    """
    name = node.input[1]
    weights = graph.constants.get(name)
    if weights is None:
        return
    reader = biased_node(graph, node)
    if bias is None and reader is not None:
        bias = graph.constants[reader.node.input[reader.place]]
    bias = None if bias is None else bias.reshape(-1)  # it may be a row
    params = roomy_weight_params(weights, bias, layer_axis(node, weights), inputs, kind)
    if float(params.scale.max()) * float(inputs.scale) > MOST_PRODUCT:
        raise InferenceError(f"{node.name}: its numbers are too large for integers (input steps of "
                             f"{inputs.scale:.3g}): keep it in float")
    if rounded is not None and np.array_equal(rounded.params.scale, params.scale):
        integers = rounded.integers
    else:
        integers = quantize(weights, params)
    stem = f"{node.name}/weight" if graph.is_private(name) else name
    node.input[1] = _stored(graph, stem, f"{node.name}/weight", integers, params)
    if bias is not None and reader is not None:
        scale = np.asarray(inputs.scale * params.scale, np.float32)
        steps = QuantParams(scale, np.zeros(scale.shape, np.int32), INT8, 0)
        stem, values = f"{node.name}/bias", quantize_bias(bias, inputs, params)
        reader.node.input[reader.place] = _stored(graph, stem, stem, values, steps)


class Bias(NamedTuple):
    """Where a layer's bias is read."""

    node: Node
    place: int  # among the node's inputs


def biased_node(graph: OnnxGraph, layer: Node) -> Bias | None:
    """The layer itself, or for a MatMul, which has no bias, the Add behind it; None without bias.

    ONNX Runtime makes one operator of the two, of integers if both constants are.
    """
    if len(layer.input) > 2 and layer.input[2]:
        return Bias(layer, 2) if layer.input[2] in graph.constants else None
    if layer.op_type != "MatMul" or not graph.is_private(layer.output[0]):
        return None
    after = graph.uses(layer.output[0])[0]
    place = 1 if after.input[0] == layer.output[0] else 0
    known = graph.constants.get(after.input[place]) if after.op_type == "Add" else None
    width = graph.constants[layer.input[1]].shape[-1]
    return Bias(after, place) if known is not None and known.shape == (width,) else None


def roomy_weight_params(
    weights: Array, bias: Array | None, axis: int, inputs: QuantParams, kind: QuantizedType
) -> QuantParams:
    """Weight parameters per channel, with a scale large enough for the bias to fit into int32."""
    params = weight_params(weights, axis, kind)
    least = np.full(params.scale.shape, LEAST_PRODUCT)
    if bias is not None:
        least = np.maximum(least, np.abs(bias.astype(np.float64)) / BIAS_STEPS)
    scale = np.maximum(params.scale, (least / float(inputs.scale)).astype(np.float32))
    return QuantParams(scale, params.zero_point, kind, axis)


def _stored(
    graph: OnnxGraph, stem: str, node_stem: str, integers: Array, params: QuantParams
) -> str:
    """Constant integers and the node that makes real numbers of them; the name of those."""
    steps = stored_steps(graph, stem, params)
    if integers.dtype == np.int32:
        steps = steps[:1]  # a bias has no zero point
    stored = _constant(graph, f"{stem}/integer", integers)
    real = graph.unused(f"{node_stem}/stepped")
    graph.nodes.append(require_onnx().helper.make_node(
        "DequantizeLinear", [stored, *steps], [real], name=f"{node_stem}/dequantize",
        axis=params.axis,
    ))
    return real


def stored_steps(graph: OnnxGraph, stem: str, params: QuantParams) -> list[str]:
    """Names of scale and zero point as constants; equal ones are stored once."""
    zeros = params.zero_point.astype(params.kind.storage)
    label = f"zero_{params.kind.name}_{zeros.size}x{zeros.flat[0]}"
    scale = f"scale_{params.scale}" if params.axis is None else f"{stem}/scale"
    axis = "" if params.axis is None else "_per_channel"
    return [_constant(graph, scale, params.scale), _constant(graph, label + axis, zeros)]


def _constant(graph: OnnxGraph, name: str, values: Array) -> str:
    """A constant of this name, or of another where the name is taken by something else."""
    known = graph.constants.get(name)
    if known is not None and known.dtype == values.dtype and np.array_equal(known, values):
        return name
    return graph.set_constant(graph.unused(name), values)
