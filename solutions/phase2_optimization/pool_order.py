"""Relu before MaxPool, not behind it: relu(max(a, b)) = max(relu(a), relu(b)).

The problem: ``relu(max_pool(conv(x)))`` is how many write it, since it computes less. With integers
it is the other way round: behind a convolution a Relu costs nothing (``clamps``), behind a pooling
it has no integer kernel. The idea: both only keep the order of numbers, so they can change places,
exactly.
"""

from solutions.phase2_optimization.clamps import CLAMPED, CLAMPS, clamp_limits
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph


def clamps_before_pools(graph: OnnxGraph) -> int:
    """Exchange max poolings behind a layer with the Relu or Clip that alone reads them."""
    exchanged = 0
    for clamp in list(graph.nodes):
        pool = graph.producer.get(clamp.input[0]) if clamp.op_type in CLAMPS else None
        if pool is None or not _may_exchange(graph, pool, clamp):
            continue
        name = graph.fresh(f"{clamp.output[0]}/before_pool")
        made = clamp.output[0]
        graph.set_inputs(clamp, [pool.input[0], *clamp.input[1:]])
        graph.set_output(clamp, 0, name)
        graph.set_inputs(pool, [name])
        graph.set_output(pool, 0, made)
        exchanged += 1
    return exchanged


def _may_exchange(graph: OnnxGraph, pool: Node, clamp: Node) -> bool:
    layer = graph.producer.get(pool.input[0])
    return (
        pool.op_type == "MaxPool"
        and len(pool.output) == 1
        and layer is not None
        and layer.op_type in CLAMPED
        and graph.is_private(pool.input[0])
        and graph.is_private(pool.output[0])
        and clamp_limits(graph, clamp) is not None
    )
