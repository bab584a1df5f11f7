"""Casts: two that follow each other are one where the first loses nothing."""

import numpy as np

from solutions.phase2_optimization.onnx_protobuf import operator, require_onnx
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph, attribute

NUMBERS = "biuf"  # numpy's kinds; how a number is written as text depends on its type


def merge_casts(graph: OnnxGraph) -> int:
    """Let a Cast read what the Cast before it read; how many were shortened.

    Proof: the middle type holds every value of the first type exactly, so that the second Cast
    sees the same numbers as without it. Texts are left alone: 0.1 is written with more digits as a
    double.
    """
    changed = 0
    for node in list(graph.nodes):
        before = graph.producer.get(node.input[0]) if operator(node) == "Cast" else None
        if before is None or operator(before) != "Cast" or not graph.has(node):
            continue
        source = graph.dtype(before.input[0])
        to_dtype = require_onnx().helper.tensor_dtype_to_np_dtype
        middle, last = to_dtype(attribute(before, "to")), to_dtype(attribute(node, "to"))
        if source is not None and holds_exactly(source, middle) and last.kind in NUMBERS:
            graph.set_inputs(node, [before.input[0]])
            graph.drop_unread(before)
            changed += 1
    return changed


def holds_exactly(source: np.dtype[np.generic], target: np.dtype[np.generic]) -> bool:
    """Whether a type holds all values of another: numpy knows, for plain numbers.

    >>> holds_exactly(np.dtype("float16"), np.dtype("float32"))
    True
    >>> holds_exactly(np.dtype("int64"), np.dtype("float32"))
    False
    """
    if source.kind not in NUMBERS or target.kind not in NUMBERS:
        return False
    if source.itemsize == 8 and source.kind in "iu" and target.kind == "f":
        return False  # numpy calls that safe, but float64 has 53 bits
    return bool(np.can_cast(source, target, "safe"))
