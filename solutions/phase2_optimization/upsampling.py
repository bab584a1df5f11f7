"""Doubling an image is copying: each pixel beside itself, then each row below itself.

The problem: between integer layers ONNX Runtime keeps the channels of a pixel together, and for
that order its Resize has only the general kernel, which computes the place of every byte. The idea:
in that order a pixel is a run of bytes, so doubling the columns is a concatenation of the tensor
with itself along the channels, and doubling the rows one along the columns:

    [n, h, w, c]  -> concat c ->  [n, h, w, 2c]  = [n, h, 2w, c]
                  -> concat w ->  [n, h, 4w, c]  = [n, 2h, 2w, c]

The transpositions before and behind meet those of the layers around and vanish.
"""

from typing import Any

import numpy as np

from solutions.phase2_optimization.clamps import CLAMPED, CLAMPS
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

TO_PIXELS, TO_PLANES = [0, 2, 3, 1], [0, 3, 1, 2]


def doublings_as_copies(graph: OnnxGraph) -> int:
    """Replace each doubling between layers by concatenations; how many there were."""
    doubled = 0
    for node in list(graph.nodes):
        shape = graph.shape(node.input[0]) if _doubles(graph, node) else None
        if shape is None or len(shape) != 4 or not _lies_between_layers(graph, node):
            continue
        channels, height, width = (size if isinstance(size, int) else 0 for size in shape[1:])
        if not channels * height * width:
            continue  # the caller chooses the size
        pixels = graph.add("Transpose", [node.input[0]], perm=TO_PIXELS)
        wide = _twice(graph, pixels, 3, [0, height, 2 * width, channels])
        high = _twice(graph, wide, 2, [0, 2 * height, 2 * width, channels])
        planes = graph.add("Transpose", [high.output[0]], perm=TO_PLANES)
        doubled += graph.replace(node.output[0], planes.output[0])
    return doubled


def _twice(graph: OnnxGraph, node: Node, axis: int, shape: list[Any]) -> Node:
    """What a node makes, [n, h, w, c], beside itself and read as another shape."""
    joined = graph.add("Concat", [node.output[0]] * 2, axis=axis)
    return graph.add("Reshape", [joined.output[0], graph.constant("doubled", np.array(shape))])


def _doubles(graph: OnnxGraph, node: Node) -> bool:
    """Whether a node gives each pixel twice in both directions, and no other way of rounding."""
    if node.op_type != "Resize" or len(node.input) != 3:
        return False
    scales = graph.constants.get(node.input[2])
    return (
        scales is not None
        and scales.tolist() == [1, 1, 2, 2]
        and attribute(node, "mode", "nearest") == "nearest"
        and attribute(node, "coordinate_transformation_mode") == "asymmetric"
        and attribute(node, "nearest_mode") == "floor"
        and attribute(node, "axes") is None
    )


def _lies_between_layers(graph: OnnxGraph, node: Node) -> bool:
    before = graph.producer.get(node.input[0])
    users = [user.op_type for user in graph.uses(node.output[0])]
    fed = before is not None and before.op_type in CLAMPED | CLAMPS
    return fed and bool(users) and set(users) <= CLAMPED and not graph.is_pinned(node.output[0])
