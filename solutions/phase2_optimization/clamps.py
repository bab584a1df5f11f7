"""Relu and Clip behind a layer: part of the range of its integers, no operator of their own.

    conv -> relu -> Q(low 0)         saturating at integer 0 is what the Relu does
    conv -> clip(-1, 1) -> Q         saturating at both ends is what the Clip does

A runtime leaves the clamp out, and computes the layer with integers, where the steps reach no
further than the clamp lets through; else it computes the whole layer in float. So the steps behind
a clamp must keep within its limits: they may not share the scale of tensors that reach further,
and they shrink by a hair where rounding would carry them beyond.

A Clip that lets no zero through (its lower limit is above 0, or its upper one below) is never
inside the steps, which always hold zero: the layer before it runs in float.
"""

import numpy as np

from solutions.phase2_optimization.affine import QuantParams
from solutions.phase2_optimization.calibration import Range
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

CLAMPS = frozenset({"Relu", "Clip"})
CLAMPED = frozenset({  # kernels that take a clamp in
    "Add", "AveragePool", "Concat", "Conv", "Gemm", "MatMul", "Mul",
})
EVERYTHING = Range(-np.inf, np.inf)
HAIR = 2.0**-20


def clamped_by(graph: OnnxGraph, node: Node) -> Node | None:
    """The Relu or Clip that alone reads a node's output, and so can be part of its range."""
    if node.op_type not in CLAMPED or not graph.is_private(node.output[0]):
        return None
    user = graph.uses(node.output[0])[0]
    behind = user.op_type in CLAMPS and user.input[0] == node.output[0]
    return user if behind and clamp_limits(graph, user) is not None else None


def clamp_limits(graph: OnnxGraph, clamp: Node) -> Range | None:
    """What a Relu or Clip lets through, None where it depends on the data."""
    if clamp.op_type == "Relu":
        return Range(0.0, np.inf)
    limits = list(EVERYTHING)
    for place, name in enumerate(clamp.input[1:]):
        known = graph.scalar(name) if name else limits[place]
        if known is None:
            return None
        limits[place] = known
    return Range(*limits)


def overlap(ranges: list[Range]) -> Range:
    """What lies in every range."""
    lows, highs = [EVERYTHING.low, *(r.low for r in ranges)], [EVERYTHING.high]
    return Range(max(lows), min([*highs, *(r.high for r in ranges)]))


def within_limits(params: QuantParams, limits: Range) -> QuantParams:
    """The steps, shrunk by up to one in 250 so that their ends saturate where the clamp does.

    The lowest step must be what ``limits.low`` rounds to, or above it, and the highest likewise.
    """
    zero_point, (low, high) = int(params.zero_point), (params.kind.low, params.kind.high)
    below, above = zero_point - low - 0.5, high - zero_point - 0.5  # steps from zero, inwards
    most = [float(params.scale)]
    if limits.low < 0 and below > 0:
        most.append(-limits.low / below * (1 - HAIR))
    if limits.high > 0 and above > 0:
        most.append(limits.high / above * (1 - HAIR))
    scale = np.asarray(min(most), np.float32)
    return QuantParams(scale, params.zero_point, params.kind)
