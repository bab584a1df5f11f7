"""A bias and the GELU after it as one of ONNX Runtime's operators: one way over the tensor.

Source: ONNX Runtime's contrib operators BiasGelu and FastGelu.
"""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute


def fuse_bias_gelu(graph: OnnxGraph) -> int:
    """GELU of a tensor plus a constant row in single precision: one operator; how many.

    Proof: BiasGelu(x, b) is defined as Gelu(x + b), FastGelu(x, b) as FastGelu(x + b), with b along
    the last axis.
    """
    changed = 0
    for node in list(graph.nodes):
        kind = _kind(node)
        add = graph.producer.get(node.input[0]) if kind else None
        if add is None or add.op_type != "Add" or add.domain:
            continue
        for place in (0, 1):
            if _is_row(graph, add.input[place], add.input[1 - place]):
                if graph.is_private(add.output[0]):
                    made = graph.add(
                        kind, [add.input[1 - place], add.input[place]], domain="com.microsoft")
                    changed += graph.replace(node.output[0], made.output[0])
                break
    return changed


def _kind(node: Node) -> str:
    """The operator that takes a bias as well, "" if the node is no GELU or has one already."""
    if node.op_type == "Gelu" and node.domain in ("", "com.microsoft"):
        return "FastGelu" if attribute(node, "approximate", "none") == "tanh" else "BiasGelu"
    fast = node.op_type == "FastGelu" and node.domain == "com.microsoft"
    return "FastGelu" if fast and len(node.input) == 1 else ""


def _is_row(graph: OnnxGraph, name: str, other: str) -> bool:
    """Whether a tensor is a constant along the last axis of the other one."""
    if name not in graph.constants or graph.constants.dtype_of(name) != np.float32:
        return False
    shape, around = graph.constants.shape_of(name), graph.shape(other)
    return around is not None and len(shape) == 1 and len(around) > 1 and shape[0] == around[-1]
