"""An average over a window is a convolution: each channel by itself, all weights 1 / window.

The problem: integer kernels for average pooling are an afterthought. ONNX Runtime's turns every
byte into a float and back, some ten times slower than its depthwise convolution; OpenVINO's
(2026.4) pads with the integer 0, whatever number that stands for. The idea: let the convolution do
it. All weights are equal, so eight bits hold them exactly: the largest integer times one scale.

Only windows that divide by a constant can be written so: padding must count, or not be there. What
cannot be written so stays a pooling (free channels, ceil_mode), with OpenVINO's fault where padding
counts and the tensor reaches below zero.
"""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute, set_attribute
from solutions.phase2_optimization.placement import LAYERS

KEPT = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")


def pools_as_convolutions(graph: OnnxGraph) -> int:
    """Replace average poolings in front of other layers by convolutions; how many there were.

    The node keeps its name and its outputs.
    """
    replaced = 0
    for node in graph.nodes:
        channels = _channels(graph, node) if _divides_by_a_constant(node) else None
        if channels is None or not _leads_to_a_layer(graph, node):
            continue
        window = tuple(attribute(node, "kernel_shape"))
        weights = np.full((channels, 1, *window), 1 / np.prod(window), np.float32)
        node.op_type = "Conv"
        node.input.append(graph.constant(f"{node.name}/average", weights))
        kept = [found for found in node.attribute if found.name in KEPT]
        del node.attribute[:]
        node.attribute.extend(kept)
        set_attribute(node, "group", channels)
        replaced += 1
    graph.refresh()
    return replaced


def _divides_by_a_constant(node: Node) -> bool:
    if node.op_type != "AveragePool" or attribute(node, "ceil_mode", 0):
        return False
    padded = any(attribute(node, "pads", [0])) or "SAME" in attribute(node, "auto_pad", "NOTSET")
    return bool(attribute(node, "count_include_pad", 0)) or not padded


def _channels(graph: OnnxGraph, node: Node) -> int | None:
    shape, kind = graph.shape(node.input[0]), graph.dtype(node.input[0])
    if shape is None or len(shape) < 3 or kind != np.float32:
        return None
    return shape[1] if isinstance(shape[1], int) else None


def _leads_to_a_layer(graph: OnnxGraph, node: Node) -> bool:
    """Whether a layer comes behind: at a network's end a convolution would gain nothing."""
    waiting, seen = [node], {id(node)}
    while waiting:
        users = [user for name in waiting.pop().output for user in graph.uses(name)]
        if any(user.op_type in LAYERS for user in users):
            return True
        fresh = [user for user in users if id(user) not in seen]
        seen.update(map(id, fresh))
        waiting += fresh
    return False
