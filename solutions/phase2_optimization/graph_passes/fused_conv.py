"""Conv with its activation and its residual addition in one operator of ONNX Runtime.

    y = activation(conv(x, w) + b + z)

As separate operators the picture goes through memory three times; FusedConv applies the activation
while a tile is in the cache. Only for ONNX Runtime's CPU kernels, single precision.
Source: ONNX Runtime, docs/ContribOperators.md, com.microsoft.FusedConv.
"""

from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute, set_attribute

DOMAIN, FUSED = "com.microsoft", "FusedConv"
PARAMETERS: dict[str, tuple[tuple[str, float], ...]] = {
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "HardSwish": (),
    "LeakyRelu": (("alpha", 0.01),),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
}


class Activation(NamedTuple):
    """An activation as FusedConv names it."""

    name: str
    parameters: list[float]


def fuse_residuals(graph: OnnxGraph) -> int:
    """conv(x) + z of equal shapes: one FusedConv that starts from z; how many.

    Proof: convolution is a sum; the kernel begins it with z in place of zero. Shapes must be known
    to be equal, since Add would broadcast and FusedConv does not.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type != "Add" or node.domain:
            continue
        for place in (1, 0):  # most exporters write x + branch(x): the branch is the later one
            conv, other = graph.producer.get(node.input[place]), node.input[1 - place]
            if conv is not None and _takes_residual(graph, conv, other):
                names = [*conv.input, ""][:3]
                fused = _fused(graph, conv, [*names, other])
                changed += graph.replace(node.output[0], fused.output[0])
                break
    return changed


def fuse_activations(graph: OnnxGraph) -> int:
    """activation(conv(x)): one FusedConv; how many.

    Proof: the kernel computes the same function of the same sums, element by element.
    """
    changed = 0
    for node in list(graph.nodes):
        activation = activation_of(graph, node)
        conv = None if activation is None else graph.producer.get(node.input[0])
        if activation is None or conv is None or not _is_open(graph, conv):
            continue
        fused = _fused(graph, conv, list(conv.input))
        set_attribute(fused, "activation", activation.name)
        if activation.parameters:
            set_attribute(fused, "activation_params", activation.parameters)
        changed += graph.replace(node.output[0], fused.output[0])
    return changed


def activation_of(graph: OnnxGraph, node: Node) -> Activation | None:
    """What FusedConv calls this node's function; None where it does not know it."""
    if node.domain:
        return None
    if node.op_type == "Clip":
        bounds = _bounds(graph, node)
        return None if bounds is None else Activation("Clip", bounds)
    if node.op_type not in PARAMETERS:
        return None
    wanted = PARAMETERS[node.op_type]
    return Activation(node.op_type, [float(attribute(node, n, d)) for n, d in wanted])


def _bounds(graph: OnnxGraph, node: Node) -> list[float] | None:
    """A Clip's constant bounds [min, max]."""
    limits = np.finfo(np.float32)
    bounds = [float(attribute(node, "min", limits.min)), float(attribute(node, "max", limits.max))]
    for place, name in enumerate(node.input[1:3]):
        if name:
            value = graph.scalar(name)
            if value is None:
                return None
            bounds[place] = value
    return bounds if bounds[0] <= bounds[1] else None


def _is_open(graph: OnnxGraph, conv: Node) -> bool:
    """Whether a convolution in single precision can take an activation."""
    plain = conv.op_type == "Conv" and not conv.domain
    fused = conv.op_type == FUSED and conv.domain == DOMAIN
    if not (plain or fused) or attribute(conv, "activation"):
        return False
    weights = graph.constants.dtype_of(conv.input[1]) if conv.input[1] in graph.constants else None
    return weights == np.float32 and graph.is_private(conv.output[0])


def _takes_residual(graph: OnnxGraph, conv: Node, other: str) -> bool:
    """Whether a convolution can add ``other``: the same shape, and not itself."""
    if conv.op_type != "Conv" or not _is_open(graph, conv) or other == conv.output[0]:
        return False
    shape = graph.shape(conv.output[0])
    known = shape is not None and None not in shape
    return known and other not in graph.constants and graph.shape(other) == shape


def _fused(graph: OnnxGraph, conv: Node, inputs: list[str]) -> Node:
    """A FusedConv with a convolution's attributes; the convolution itself may be one."""
    attributes = {item.name: attribute(conv, item.name) for item in conv.attribute}
    return graph.add(FUSED, inputs, domain=DOMAIN, **attributes)
