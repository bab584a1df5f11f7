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
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, require_onnx
from solutions.phase2_optimization.quantized_types import UINT8

FUSED, DOMAIN = "QuickGelu", "com.microsoft"  # x * sigmoid(alpha * x), ONNX Runtime's kernel
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
        return any(gate_of(graph, user) is node for user in graph.uses(node.output[0]))
    return gate_of(graph, node) is not None


def gate_of(graph: OnnxGraph, node: Node) -> Node | None:
    """The Sigmoid of a Mul that is x * sigmoid(x), None where a node is something else."""
    if node.op_type != "Mul":
        return None
    for name, other in (tuple(node.input), tuple(node.input)[::-1]):
        maker = graph.producer.get(name)
        if maker is not None and maker.op_type == "Sigmoid" and maker.input[0] == other:
            return maker
    return None


def join_swish(graph: OnnxGraph) -> int:
    """Let one operator compute x * sigmoid(x), so that the data are read once, not three times.

    The operator is ONNX Runtime's; its meaning goes along as a function of the model, so every
    other runtime can run it, too. How many were joined.
    """
    pairs = [(node, gate_of(graph, node)) for node in graph.nodes]
    joined = [(node, gate) for node, gate in pairs
              if gate is not None and graph.is_private(gate.output[0])]
    for node, gate in joined:
        node.op_type, node.domain = FUSED, DOMAIN
        node.input[:] = [gate.input[0]]
        node.attribute.append(require_onnx().helper.make_attribute("alpha", 1.0))
    graph.remove(gate for _, gate in joined)
    if joined:
        _describe(graph)
    return len(joined)


def _describe(graph: OnnxGraph) -> None:
    """Add the fused operator's meaning to the model."""
    model, helper = graph.model, require_onnx().helper
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    steps = [helper.make_node("Sigmoid", ["X"], ["gate"]),
             helper.make_node("Mul", ["X", "gate"], ["Y"])]
    if not any(f.name == FUSED and f.domain == DOMAIN for f in model.functions):
        model.functions.append(helper.make_function(
            DOMAIN, FUSED, ["X"], ["Y"], steps, [helper.make_opsetid("", opset)], ["alpha"]))
    if DOMAIN not in {o.domain for o in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def feeds_only_swish(graph: OnnxGraph, name: str) -> bool:
    """Whether nothing but one x * sigmoid(x) reads a tensor."""
    users = graph.uses(name)
    if [user.op_type for user in users] == [FUSED] and graph.is_private(name):
        return True
    outside = name in graph.outputs or name in graph.captured
    return len(users) == 2 and not outside and all(is_swish(graph, user) for user in users)
