"""Constant nodes become constants of the graph, where every other pass can see them."""

import numpy as np

from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import (
    Array,
    Node,
    OnnxGraph,
    attribute,
    require_onnx,
)

KINDS = {"value_float": np.float32, "value_floats": np.float32,
         "value_int": np.int64, "value_ints": np.int64}


def lift_constants(graph: OnnxGraph) -> int:
    """Turn Constant nodes into initializers; how many.

    Proof: a Constant gives the same values at every run, as an initializer does. Texts and sparse
    values stay nodes, as does what the caller reads by name.
    """
    done = []
    for node in graph.nodes:
        if operator(node) != "Constant" or node.output[0] in graph.outputs:
            continue
        values = constant_value(node)
        if values is not None:
            graph.set_constant(node.output[0], values)
            done.append(node)
    graph.discard(done)
    return len(done)


def constant_value(node: Node) -> Array | None:
    """The numbers that a Constant node holds, None for texts and sparse values."""
    value = attribute(node, "value")
    if value is not None:
        return np.asarray(require_onnx().numpy_helper.to_array(value))
    for name, kind in KINDS.items():
        value = attribute(node, name)
        if value is not None:
            return np.asarray(value, kind)
    return None
