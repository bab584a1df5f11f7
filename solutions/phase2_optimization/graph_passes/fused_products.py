"""Matrix products with what stands around them, as ONNX Runtime's fused operators.

An activation is applied to a Gemm's tile while it is in the cache (FusedGemm); a product reads a
transposed matrix as it lies and multiplies by a number on the way (FusedMatMul). Source: ONNX
Runtime, docs/ContribOperators.md.
"""

import numpy as np

from solutions.phase2_optimization.graph_passes.transposes import perm_of
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

DOMAIN = "com.microsoft"
ACTIVATIONS = {"Relu": None, "Sigmoid": None, "Tanh": None, "LeakyRelu": 0.01}


def fuse_gemm_activations(graph: OnnxGraph) -> int:
    """activation(Gemm) in single precision: one FusedGemm; how many.

    Proof: the kernel computes the same function of the same sums.
    """
    changed = 0
    for node in list(graph.nodes):
        gemm = graph.producer.get(node.input[0]) if node.op_type in ACTIVATIONS else None
        if gemm is None or node.domain or gemm.op_type != "Gemm" or gemm.domain \
                or not graph.is_private(gemm.output[0]) \
                or graph.dtype(gemm.output[0]) != np.float32:
            continue
        kept = {item.name: attribute(gemm, item.name) for item in gemm.attribute}
        default = ACTIVATIONS[node.op_type]
        alpha = None if default is None else float(attribute(node, "alpha", default))
        made = graph.add("FusedGemm", list(gemm.input), domain=DOMAIN, **kept,
                         activation=node.op_type, activation_alpha=alpha)
        changed += graph.replace(node.output[0], made.output[0])
    return changed


def fuse_matmul_transposes(graph: OnnxGraph) -> int:
    """A product of matrices of which one was transposed: one FusedMatMul; how many were.

    Proof: transA and transB exchange the last two axes, as the Transpose did.
    """
    changed = 0
    for node in list(graph.nodes):
        if not _is_product(graph, node):
            continue
        for place, key in ((0, "transA"), (1, "transB")):
            before = graph.producer.get(node.input[place])
            perm = None if before is None else perm_of(graph, before)
            if before is None or perm is None or not graph.is_private(before.output[0]) \
                    or len(perm) < 2 or perm != [*range(len(perm) - 2), len(perm) - 1,
                                                 len(perm) - 2]:
                continue
            names = list(node.input)
            names[place] = before.input[0]
            node = _replaced(graph, node, names, {key: 1 - int(attribute(node, key, 0))})
            changed += 1
    return changed


def fuse_matmul_scales(graph: OnnxGraph) -> int:
    """A product times a number: one FusedMatMul with alpha; how many were.

    Proof: (s A) B = A (s B) = s (A B) = alpha A B.
    """
    changed = 0
    for node in list(graph.nodes):
        if not _is_product(graph, node):
            continue
        for place in (0, 1):
            before = graph.producer.get(node.input[place])
            scaled = None if before is None or not graph.is_private(
                before.output[0]) else _scaled(graph, before)
            if scaled is not None:
                names = list(node.input)
                names[place] = scaled[0]
                node = _times(graph, node, names, scaled[1])
                changed += 1
        after = graph.uses(node.output[0])
        scaled = _scaled(graph, after[0]) if graph.is_private(node.output[0]) else None
        if scaled is not None and scaled[0] == node.output[0]:
            made = _times(graph, node, list(node.input), scaled[1])
            changed += graph.replace(after[0].output[0], made.output[0])
    return changed


def _is_product(graph: OnnxGraph, node: Node) -> bool:
    """Whether a node is a product of two computed matrices in single precision."""
    kind = (node.op_type, node.domain)
    if kind not in (("MatMul", ""), ("FusedMatMul", DOMAIN)) or not graph.has(node):
        return False
    ranks = [len(graph.shape(name) or ()) for name in node.input]
    computed = not any(name in graph.constants for name in node.input)
    return computed and min(ranks) >= 2 and graph.dtype(node.output[0]) == np.float32


def _scaled(graph: OnnxGraph, node: Node) -> tuple[str, float] | None:
    """The tensor that a node multiplies by a number, and the number."""
    if node.op_type not in ("Mul", "Div") or node.domain:
        return None
    for place in (0, 1) if node.op_type == "Mul" else (0,):
        number = graph.scalar(node.input[1 - place])
        if number and len(graph.shape(node.input[1 - place]) or ()) <= 2:
            return node.input[place], number if node.op_type == "Mul" else 1 / number
    return None


def _times(graph: OnnxGraph, node: Node, names: list[str], factor: float) -> Node:
    alpha = float(attribute(node, "alpha", 1.0)) * factor
    return _replaced(graph, node, names, {"alpha": alpha})


def _replaced(graph: OnnxGraph, node: Node, names: list[str], changed: dict[str, object]) -> Node:
    """A FusedMatMul in place of a product, with other inputs and attributes."""
    kept = {item.name: attribute(node, item.name) for item in node.attribute}
    made = graph.add("FusedMatMul", names, domain=DOMAIN, **kept | changed)
    graph.replace(node.output[0], made.output[0])
    return made
