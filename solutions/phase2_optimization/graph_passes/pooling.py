"""The mean over a whole picture as the pooling operator it is.

Sources: Lin et al., arXiv:1312.4400, section 3.2; the ONNX operators ReduceMean and
GlobalAveragePool.
"""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

LEAST_RANK = 3
KERNELS = frozenset({"float16", "float32"})  # ONNX Runtime averages no float64 by pooling


def recognise_global_pool(graph: OnnxGraph) -> int:
    """ReduceMean over all axes behind the channels, axes kept, to GlobalAveragePool; how many.

    Proof: both divide the sum over the spatial axes by their size. Convolution kernels' layouts
    know the pool, not the mean.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type == "ReduceMean" and not node.domain and _is_spatial(graph, node):
            made = graph.add("GlobalAveragePool", [node.input[0]])
            changed += graph.replace(node.output[0], made.output[0])
    return changed


def _is_spatial(graph: OnnxGraph, node: Node) -> bool:
    """Whether exactly the axes from 2 on are averaged, and kept."""
    shape, dtype = graph.shape(node.input[0]), graph.dtype(node.input[0])
    if shape is None or len(shape) < LEAST_RANK or dtype is None or dtype.name not in KERNELS:
        return False
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        found = graph.constants.get(node.input[1])
        axes = None if found is None else np.atleast_1d(found).tolist()
    if not axes or not attribute(node, "keepdims", 1):
        return False
    return sorted(axis % len(shape) for axis in axes) == list(range(2, len(shape)))
