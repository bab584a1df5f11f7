"""Detours: chains of moves that put every number back where it was, and reshapes around a product.

Attention modules of several libraries compute with the sequence first and transpose before and
after, which for a batch of one moves nothing. The index map of such a chain (index_maps.py) is the
identity. And a matrix product with bias is exported as Gemm, which knows two axes, between two
reshapes; MatMul takes any number of axes as they are.
"""

import numpy as np

from solutions.phase2_optimization.graph_passes.index_maps import (
    SHAPED,
    origin_of,
    static_shape,
)
from solutions.phase2_optimization.graph_passes.linear_layer import read_layer
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

MOVES = SHAPED | {"Transpose"}


def drop_detours(graph: OnnxGraph) -> int:
    """A chain of moves that keeps the order of all numbers: one Reshape, or nothing; how many.

    Proof: the chain's index map is computed and is 0, 1, 2, ...
    """
    changed = 0
    for node in list(graph.nodes):
        if not graph.has(node) or node.op_type not in MOVES or node.domain:
            continue
        if any(reader.op_type in MOVES for reader in graph.uses(node.output[0])):
            continue  # the chain goes on
        changed += _straighten(graph, node.output[0])
    return changed


def drop_gemm_reshapes(graph: OnnxGraph) -> int:
    """Reshape to a matrix, Gemm, Reshape back: MatMul, and Add where there is a bias; how many.

    Proof: MatMul multiplies the rows along the last axis by the same matrix whatever the other
    axes are called, and both reshapes keep the rows' order. Fires where the axes in front are the
    same before and after, so that no Reshape is needed any more.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type == "Gemm" and not node.domain and graph.has(node):
            changed += _as_product(graph, node)
    return changed


def _straighten(graph: OnnxGraph, name: str) -> bool:
    """Replace what a chain makes by its source, if it is the same numbers in the same order."""
    origin = origin_of(graph, name)
    if origin is None or origin.scale != 1 or all(n.op_type in SHAPED for n in origin.nodes):
        return False
    if any(node.op_type in ("Mul", "Div") for node in origin.nodes):
        return False
    flat = origin.places.reshape(-1)
    source, wanted = static_shape(graph, origin.source), static_shape(graph, name)
    if source is None or wanted is None or flat.size != np.prod(source) \
            or (flat != np.arange(flat.size)).any():
        return False
    if source == wanted:
        return graph.replace(name, origin.source)
    target = graph.constant("shape", np.array(wanted, np.int64))
    made = graph.add("Reshape", [origin.source, target])
    return graph.replace(name, made.output[0])


def _as_product(graph: OnnxGraph, gemm: Node) -> bool:
    before = graph.producer.get(gemm.input[0])
    after = graph.uses(gemm.output[0])
    if before is None or before.op_type != "Reshape" or not graph.is_private(gemm.output[0]) \
            or after[0].op_type != "Reshape" or attribute(gemm, "transA", 0):
        return False
    rows, result = graph.shape(before.input[0]), graph.shape(after[0].output[0])
    flat = graph.shape(gemm.input[0])
    if rows is None or result is None or flat is None or None in rows or rows[:-1] != result[:-1] \
            or rows[-1] != flat[-1] or not isinstance(rows[-1], int):
        return False
    layer = read_layer(graph, gemm)
    if layer is None or result[-1] != len(layer.weights):
        return False
    weights = graph.constant("weights", np.ascontiguousarray(layer.weights.T))
    made = graph.add("MatMul", [before.input[0], weights])
    graph.set_type(made.output[0], layer.weights.dtype, result)
    if layer.bias.any():
        made = graph.add("Add", [made.output[0], graph.constant("bias", layer.bias)])
    return graph.replace(after[0].output[0], made.output[0])
