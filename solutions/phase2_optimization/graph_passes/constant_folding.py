"""Constant folding: what does not depend on the data is computed once, here.

The walk goes from the inputs on, and what it learns at one node serves the next: a constant
target gives a Reshape its shape, the shape makes a Shape node behind it constant, and so on
through the long chains of shape arithmetic that exporters write.
"""

import numpy as np

from solutions.phase2_optimization.constant_kernels import compute
from solutions.phase2_optimization.determinism import is_function_of_inputs
from solutions.phase2_optimization.graph_types import infer_node
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Array, Node, OnnxGraph
from solutions.phase2_optimization.shape_arithmetic import PartialValues

LARGEST = 1 << 20  # elements that folding may make where they do not replace as many bytes
HALVES = ("float16", "bfloat16")
STORED_SMALL = 64  # elements; larger weights in 16 bits are stored so on purpose
QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def fold_constants(graph: OnnxGraph) -> int:
    """Compute nodes whose inputs are constant, and shapes that are known; how many nodes.

    Proof: the operator is a function of its inputs alone, and these are the same at every run; a
    shape that inference gives without free sizes is the same at every run, too. Never folded:
    random operators, operators that are not ONNX's own, subgraphs, quantizers (their weights are
    stored in 8 bits on purpose), and what would make the file much larger.
    """
    partial = PartialValues(graph)
    done = []
    news: set[str] = set()  # of which more is known than at the beginning
    for node in list(graph.ordered()):
        values = folded(graph, node, partial)
        if values is None:
            partial.learn(node)
            if not news.isdisjoint(node.input):
                news.update(infer_node(graph, node))
            continue
        done.append(node)
        news.update(node.output)
        for name, array in zip(node.output, values, strict=False):
            if name:
                graph.set_constant(name, array)
    graph.discard(done)
    return len(done)


def folded(graph: OnnxGraph, node: Node, partial: PartialValues) -> list[Array] | None:
    """The outputs of a node where they are the same at every run, else None."""
    if not node.input or not is_function_of_inputs(graph, node):
        return None
    if operator(node) in QUANTIZING or any(name in graph.outputs for name in node.output):
        return None
    if all(not name or name in graph.constants for name in node.input):
        return _computed(graph, node)
    known = partial.whole(node)
    return None if known is None else [known]


def _computed(graph: OnnxGraph, node: Node) -> list[Array] | None:
    if _too_large(graph, node):
        return None
    inputs = [graph.constants[name] if name else None for name in node.input]
    values = compute(node, inputs, graph.model.opset_import)
    if values is None or len(values) < len(node.output):
        return None
    return values if _pays(graph, node, values) else None


def _too_large(graph: OnnxGraph, node: Node) -> bool:
    """Whether it can be told beforehand that the result is not wanted: seen in time, a network's
    largest weights are not even decoded."""
    first = node.input[0]
    if operator(node) == "Cast" and str(graph.dtype(first)) in HALVES:
        return int(np.prod(graph.constants.shape_of(first), dtype=np.int64)) > STORED_SMALL
    if operator(node) in ("ConstantOfShape", "Expand", "Tile"):
        target = graph.constants[node.input[-1]]
        return bool(np.prod(target, dtype=np.float64) > LARGEST)
    return False


def _pays(graph: OnnxGraph, node: Node, values: list[Array]) -> bool:
    """Whether the results are small, or no larger than the constants that they replace."""
    if sum(array.size for array in values) <= LARGEST:
        return True
    replaced = sum(graph.constants.bytes_of(name) for name in set(node.input)
                   if name and len(graph.uses(name)) == 1)
    return sum(array.nbytes for array in values) <= replaced
