"""Common subexpressions: what is computed twice from the same is computed once."""

from solutions.phase2_optimization.determinism import is_function_of_inputs
from solutions.phase2_optimization.graph_passes.constant_folding import QUANTIZING
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal", "Max", "Min", "Sum"})
Key = tuple[str, tuple[str, ...], tuple[bytes, ...], int]


def merge_common_subexpressions(graph: OnnxGraph) -> int:
    """Let one node serve the readers of all that compute the same; how many went.

    Proof: operator, attributes and inputs are equal and the operator is a function of its inputs,
    so the outputs are equal. Going in order, the inputs of later nodes have been merged before
    they are compared: equal chains are merged as a whole in one walk. Never merged: random
    operators and Dropout in training (equal only in distribution), operators that are not ONNX's
    own, and quantizers (runtimes fuse each with its neighbour).
    """
    first: dict[Key, Node] = {}
    merged = 0
    for node in list(graph.ordered()):
        if not graph.has(node) or operator(node) in QUANTIZING:
            continue
        if not node.input or not is_function_of_inputs(graph, node):
            continue
        kept = first.setdefault(_key(node), node)
        if kept is not node:
            merged += _merge(graph, kept, node)
    return merged


def _key(node: Node) -> Key:
    inputs = tuple(node.input)
    if operator(node) in COMMUTATIVE:
        inputs = tuple(sorted(inputs))
    attributes = tuple(sorted(item.SerializeToString() for item in node.attribute))
    return operator(node), inputs, attributes, len(node.output)


def _merge(graph: OnnxGraph, kept: Node, node: Node) -> bool:
    if len(node.output) == 1:
        return graph.replace(node.output[0], kept.output[0])
    if any(map(graph.is_pinned, node.output)):
        return False
    pairs = list(zip(node.output, kept.output, strict=True))
    if any(graph.is_read(own) and not other for own, other in pairs):
        return False
    for own, other in pairs:
        if own and other:
            graph.replace(own, other)
    return True
