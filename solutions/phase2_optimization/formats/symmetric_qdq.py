"""Explicit quantization as TensorRT wants it: int8, symmetric, biases in float.

The course's quantizer writes uint8 activations with a zero point and int32 biases, which CPUs
multiply fastest. TensorRT takes QuantizeLinear and DequantizeLinear with int8 and zero point 0
alone, and adds float biases itself. So the pairs are rewritten: a range [low, high] becomes
[-m, m] with m = max(-low, high), and a bias is multiplied out.

    uint8:  low |---0------------------| high      one step: (high - low) / 255
    int8:  -m |------------0------------| m        one step: m / 127, up to twice as wide
"""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Array, Model, Node, OnnxGraph
from zoo.errors import InferenceError


def symmetric_qdq(model: Model) -> Model:
    """A copy whose quantization is symmetric int8 throughout; float parts are untouched.

    Raises InferenceError where a scale or a zero point is computed and not constant.
    """
    graph = OnnxGraph(model)
    for node in list(graph.nodes):
        if node.op_type == "DequantizeLinear" and _is_bias(graph, node):
            _multiply_out(graph, node)
    for node in graph.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            _make_symmetric(graph, node)
    graph.refresh()
    return graph.to_model()


def symmetric_scale(scale: Array, zero_point: Array, low: int, high: int) -> Array:
    """The scale of int8 with zero point 0 that covers what (scale, zero_point) over
    low..high covers; float32 of the same shape."""
    zero = zero_point.astype(np.float64)
    reach = np.maximum(np.abs(low - zero), np.abs(high - zero))
    return np.asarray(scale.astype(np.float64) * reach / 127, np.float32)


def _is_bias(graph: OnnxGraph, node: Node) -> bool:
    found = graph.constants.get(node.input[0])
    return found is not None and found.dtype == np.int32


def _multiply_out(graph: OnnxGraph, node: Node) -> None:
    """A constant int32 bias as the float numbers that it stands for."""
    integers, scale = graph.constants[node.input[0]], _constant(graph, node, 1)
    values = (integers.astype(np.float64) * scale).astype(np.float32)
    name = graph.set_constant(f"{node.output[0]}/float", values)
    graph.rename_uses(node.output[0], name)
    graph.remove([node])


def _make_symmetric(graph: OnnxGraph, node: Node) -> None:
    """New constants for a QuantizeLinear or DequantizeLinear with uint8 or a zero point."""
    scale = _constant(graph, node, 1)
    zero = _constant(graph, node, 2) if len(node.input) > 2 and node.input[2] else (
        np.zeros_like(scale, np.uint8))
    if zero.dtype == np.int8 and not zero.any():
        return
    stored = graph.constants.get(node.input[0])
    if stored is not None:
        raise InferenceError(f"{node.name}: asymmetric weights: TensorRT takes symmetric ones")
    limits = np.iinfo(zero.dtype)
    wide = symmetric_scale(scale, zero, limits.min, limits.max)
    stem = f"{node.input[1]}/{node.input[2] if len(node.input) > 2 else ''}/symmetric"
    zeros = np.zeros(wide.shape, np.int8)
    del node.input[1:]
    node.input.extend([graph.set_constant(stem, wide),
                       graph.set_constant(f"{stem}/zero_{wide.size}", zeros)])


def _constant(graph: OnnxGraph, node: Node, place: int) -> Array:
    found = graph.constants.get(node.input[place])
    if found is None:
        raise InferenceError(f"{node.name}: its scale or zero point is no constant")
    return found
