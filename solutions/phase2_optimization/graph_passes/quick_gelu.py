"""Swish, x * sigmoid(a x), as one operator of ONNX Runtime, QuickGelu.

The two operators read the picture three times and write it twice; the fused kernel reads and
writes it once. Sources: Ramachandran et al., arXiv:1710.05941; com.microsoft.QuickGelu.
"""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

DOMAIN, FUSED = "com.microsoft", "QuickGelu"


def fuse_swish(graph: OnnxGraph) -> int:
    """x * sigmoid(a x), or opset 24's Swish, to QuickGelu; how many.

    Proof: QuickGelu(x) = x * sigmoid(alpha x) by its definition.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.domain or not graph.has(node):
            continue
        found = _swish(graph, node)
        if found is not None and graph.dtype(found[0]) == np.float32:
            source, alpha = found
            fused = graph.add(FUSED, [source], domain=DOMAIN, alpha=alpha)
            changed += graph.replace(node.output[0], fused.output[0])
    return changed


def _swish(graph: OnnxGraph, node: Node) -> tuple[str, float] | None:
    """The argument of a swish that ends in ``node``, and its factor a."""
    if node.op_type == "Swish":
        return node.input[0], float(attribute(node, "alpha", 1.0))
    if node.op_type != "Mul":
        return None
    for place in (0, 1):
        gate, source = graph.producer.get(node.input[place]), node.input[1 - place]
        if gate is None or gate.op_type != "Sigmoid" or not graph.is_private(gate.output[0]):
            continue
        if gate.input[0] == source:
            return source, 1.0
        alpha = _factor(graph, gate.input[0], source)
        if alpha is not None:
            return source, alpha
    return None


def _factor(graph: OnnxGraph, name: str, source: str) -> float | None:
    """The constant a where ``name`` is a times ``source``; None where it is not."""
    node = graph.producer.get(name)
    if node is None or node.op_type != "Mul" or source not in node.input:
        return None
    other = node.input[1] if node.input[0] == source else node.input[0]
    shape = graph.shape(other)
    small = shape is not None and len(shape) <= len(graph.shape(source) or ())
    return graph.scalar(other) if small else None
