"""One number per channel, times and plus a tensor, in the blocked layout.

A scale and a shift per channel are a depthwise convolution of kernel 1: the scales are its weights,
the shifts its bias. So are a batch norm without a convolution before it (DenseNet) and a gate that
the network computes from the picture (squeeze and excitation): an operator's weights may be any
tensor. It is faster than leaving the layout, and it can take an activation along.
"""

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.graph_passes.blocked_tensors import BlockedTensors, Twin
from solutions.phase2_optimization.graph_passes.blocked_weights import DOMAIN
from solutions.phase2_optimization.graph_passes.norm_folding import constant_norm
from solutions.phase2_optimization.onnx_rewrite import Node

Numbers = NDArray[np.floating]


def convert_norm(tensors: BlockedTensors, node: Node) -> bool:
    """A BatchNormalization with constant numbers of a tensor that has a twin."""
    twin = tensors.twins.get(node.input[0])
    norm = None if twin is None else constant_norm(tensors.graph, node)
    if twin is None or norm is None or len(norm.gamma) != twin.channels:
        return False
    with np.errstate(all="ignore"):
        scale = norm.gamma / np.sqrt(norm.variance + norm.epsilon)
    return _depthwise(tensors, node, twin, scale, norm.beta - norm.mean * scale)


def scale_by_constant(tensors: BlockedTensors, node: Node) -> bool:
    """Mul, Add or Sub of a twin and a constant with one number per channel [C, 1, 1]."""
    for place in (0, 1) if node.op_type != "Sub" else (0,):
        twin, other = tensors.twins.get(node.input[place]), node.input[1 - place]
        if twin is None or other not in tensors.graph.constants:
            continue
        shape = tensors.shape(other)
        if shape not in ((twin.channels, 1, 1), (1, twin.channels, 1, 1)):
            continue
        values = tensors.graph.constants[other].reshape(-1)
        ones, zeros = np.ones_like(values), np.zeros_like(values)
        scale, shift = {"Mul": (values, zeros), "Add": (ones, values),
                        "Sub": (ones, -values)}[node.op_type]
        return _depthwise(tensors, node, twin, scale, shift)
    return False


def multiply_by_gate(tensors: BlockedTensors, node: Node) -> bool:
    """A tensor [1, C, H, W] times a gate [1, C, 1, 1], both with twins."""
    for place in (0, 1):
        name, gate_name = node.input[place], node.input[1 - place]
        twin, gate = tensors.twins[name], tensors.twins[gate_name]
        shape, gate_shape = tensors.shape(name), tensors.shape(gate_name)
        fits = len(shape) == len(gate_shape) == 4 and gate_shape == (1, shape[1], 1, 1)
        if node.op_type != "Mul" or not fits or shape[0] != 1 \
                or not np.array_equal(twin.places, gate.places) or twin.width != gate.width:
            continue
        graph = tensors.graph
        target = graph.constant("filter_shape", np.array([twin.width, 1, 1, 1], np.int64))
        weights = graph.add("Reshape", [gate.name, target])
        made = graph.add("Conv", [twin.name, weights.output[0]], domain=DOMAIN, group=twin.width)
        tensors.convert(node, twin._replace(name=made.output[0]))
        return True
    return False


def _depthwise(
    tensors: BlockedTensors, node: Node, twin: Twin, scale: Numbers, shift: Numbers
) -> bool:
    """Replace a node by a convolution with these weights [C] and this bias [C]."""
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return False
    weights, bias = np.zeros((2, twin.width), np.float32)
    weights[twin.places], bias[twin.places] = scale, shift
    graph = tensors.graph
    names = [twin.name, graph.constant("scale", weights.reshape(-1, 1, 1, 1)),
             graph.constant("shift", bias)]
    made = graph.add("Conv", names, domain=DOMAIN, group=twin.width)
    tensors.convert(node, twin._replace(name=made.output[0]))
    return True
