"""A product of many rows between two reshapes, with its bias, as one Gemm.

Attention cuts pictures into windows and heads, so its linear layers stand between reshapes:

    Reshape [N, 7, 7, C] -> [N, 49, C] - MatMul [C, D] - Add [D] - Reshape [N, 49, H, D / H]
    Reshape [N, 7, 7, C] -> [49 N, C]  - Gemm                    - Reshape [N, 49, H, D / H]

Gemm takes matrices only; here both reshapes are there already and lay the rows out at no cost.
ONNX Runtime does the same when it loads a graph (MatMulAddFusion).
"""

import numpy as np

from solutions.phase2_optimization.graph_passes.matrix_products import FLOATS
from solutions.phase2_optimization.graph_passes.reshapes import RESHAPES, reshape_target
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph


def join_bias_between_reshapes(graph: OnnxGraph) -> int:
    """Reshape, MatMul by a constant matrix, Add of a constant row, Reshape: with Gemm; how many.

    Proof: a row of the product depends on one row of the input, so how the rows are laid out in
    axes does not matter; reshapes keep their order. The bias is added to each row.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type != "MatMul" or node.domain or not graph.has(node):
            continue
        add = _bias_of(graph, node)
        if add is None:
            continue
        before, after = graph.producer.get(node.input[0]), graph.uses(add.output[0])[0]
        target = reshape_target(None, graph.shape(after.output[0]))
        if _is_reshape(graph, before) and _is_reshape(graph, after) and target is not None:
            _rewrite(graph, node, add, target)
            changed += 1
    return changed


def _bias_of(graph: OnnxGraph, product: Node) -> Node | None:
    """The Add of a constant row that alone reads a product by a constant matrix."""
    weights, name = product.input[1], product.output[0]
    if weights not in graph.constants or len(graph.constants.shape_of(weights)) != 2:
        return None
    dtype, columns = graph.dtype(name), graph.constants.shape_of(weights)[1]
    if dtype is None or dtype.name not in FLOATS:
        return None
    if not (graph.is_private(name) and graph.is_private(product.input[0])):
        return None
    add = graph.uses(name)[0]
    if add.op_type != "Add" or add.domain or not graph.is_private(add.output[0]):
        return None
    row = add.input[1] if add.input[0] == name else add.input[0]
    fits = row in graph.constants and graph.constants.shape_of(row) == (columns,)
    return add if fits else None


def _is_reshape(graph: OnnxGraph, node: Node | None) -> bool:
    """Whether a node is a reshape by a known target whose result nobody else needs."""
    if node is None or node.op_type not in RESHAPES or node.domain:
        return False
    return len(node.input) < 2 or node.input[1] in graph.constants


def _rewrite(graph: OnnxGraph, product: Node, add: Node, target: list[int]) -> None:
    before, after = graph.producer[product.input[0]], graph.uses(add.output[0])[0]
    weights = product.input[1]
    row = add.input[1] if add.input[0] == product.output[0] else add.input[0]
    rows = np.array([-1, graph.constants.shape_of(weights)[0]], np.int64)
    flat = graph.add("Reshape", [before.input[0], graph.constant("rows", rows)])
    gemm = graph.add("Gemm", [flat.output[0], weights, row])
    shape = graph.constant("shape", np.array(target, np.int64))
    made = graph.add("Reshape", [gemm.output[0], shape])
    graph.replace(after.output[0], made.output[0])
