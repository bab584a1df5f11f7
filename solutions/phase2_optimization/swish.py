"""The range in front of x * sigmoid(x) (swish, SiLU), which is almost flat on its left.

The problem: what a convolution computes may reach from -70 to 17, but below -6 swish makes about
zero of all of it: a range of that width spends four fifths of its steps on nothing. The idea: cut
the range on the left, where the error of clipping is as small as that of rounding:

    |swish(low)| = half a step = (high - low) / (2 * 255)

Source: Hendrycks and Gimpel, arXiv:1606.08415, and Ramachandran et al., arXiv:1710.05941, for the
function; the bound follows from its monotony below -1.28.
"""

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.calibration import Range
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph
from solutions.phase2_optimization.quantized_types import UINT8

MINIMUM = -1.2785  # where swish has its lowest value, -0.2785


def swish(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """x * sigmoid(x), without overflow."""
    return np.asarray(x * 0.5 * (1 + np.tanh(0.5 * x)))


def clipped_for_swish(found: Range, levels: int = UINT8.levels) -> Range:
    """The range of a tensor that only swish reads, cut on the left where that costs nothing."""
    if found.low >= MINIMUM:
        return found
    lows = np.linspace(found.low, MINIMUM, 1024)
    half_step = (max(found.high, 0.0) - lows) / (2 * levels)
    fitting = lows[np.abs(swish(lows)) <= half_step]
    return Range(float(fitting.max(initial=found.low)), found.high)


def is_swish(graph: OnnxGraph, node: Node) -> bool:
    """Whether a Sigmoid or Mul is a part of x * sigmoid(x)."""
    if node.op_type == "Sigmoid":
        return any(is_swish(graph, user) for user in graph.uses(node.output[0]))
    if node.op_type != "Mul":
        return False
    makers = [graph.producer.get(name) for name in node.input]
    return any(
        maker is not None and maker.op_type == "Sigmoid" and maker.input[0] == other
        for maker, other in zip(makers, reversed(list(node.input)), strict=True)
    )


def feeds_only_swish(graph: OnnxGraph, name: str) -> bool:
    """Whether nothing but one x * sigmoid(x) reads a tensor."""
    users = graph.uses(name)
    outside = name in graph.outputs or name in graph.captured
    return len(users) == 2 and not outside and all(is_swish(graph, user) for user in users)
