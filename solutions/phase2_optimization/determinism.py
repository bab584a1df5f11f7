"""Which nodes give the same outputs whenever they get the same inputs.

Only those may be computed beforehand or shared. A random operator draws anew at every run, and so
does Dropout in training; about operators that are not ONNX's own, nothing is known.
"""

from solutions.phase2_optimization.graph_index import GraphIndex
from solutions.phase2_optimization.onnx_protobuf import (
    Node,
    attribute,
    operator,
    subgraphs,
)
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph

RANDOM = frozenset({
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
    "Bernoulli",
})
OWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
TRAINING_INPUT = 12  # the opset from which Dropout is told to train by an input


def is_function_of_inputs(graph: OnnxGraph, node: Node) -> bool:
    """Whether a node's outputs follow from its listed inputs alone."""
    if node.domain not in OWN_DOMAINS or operator(node) in RANDOM:
        return False
    if graph.captured and any(True for _ in subgraphs(node)):
        return False  # If, Loop and Scan read tensors that they do not list
    if (node.domain, node.op_type) in own_functions(graph):
        return False
    return operator(node) != "Dropout" or not may_train(graph, node)


def own_functions(graph: GraphIndex) -> set[tuple[str, str]]:
    """Domain and name of the functions that the model brings."""
    return {(function.domain, function.name) for function in graph.model.functions}


def may_train(graph: OnnxGraph, node: Node) -> bool:
    """Whether a Dropout may drop anything: it does so in training only.

    Training is asked for by the third input; before opset 7 by the attribute is_test.
    """
    if graph.opset >= TRAINING_INPUT:
        if len(node.input) < 3 or not node.input[2]:
            return False
        flag = graph.constants.get(node.input[2])
        return flag is None or bool(flag.any())
    return graph.opset < 7 and not attribute(node, "is_test", 0)
