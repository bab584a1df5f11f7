"""Dead code: nodes whose results nobody reads."""

from solutions.phase2_optimization.onnx_rewrite import OnnxGraph


def drop_dead_nodes(graph: OnnxGraph) -> int:
    """Take out nodes from which no path leads to an output; how many.

    Proof: an output is a function of the nodes on the paths that lead to it. ONNX's operators have
    no effect but their results. Constants that nobody reads are left out when the model is written.
    """
    return graph.remove_unread()
