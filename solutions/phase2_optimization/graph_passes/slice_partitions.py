"""Slices that cut a tensor into all its parts, as one Split.

Each Slice walks over the tensor anew; Split writes all parts on one way.
"""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

SIZES_ARE_INPUTS = 13  # the opset from which Split takes its sizes as an input


def join_partitions(graph: OnnxGraph) -> int:
    """Slices of one tensor along one axis that follow each other from end to end: one Split; how
    many were joined.

    Proof: the parts are the same, since their bounds are 0, a, a + b, ... up to the axis's size.
    """
    changed = 0
    if graph.opset < SIZES_ARE_INPUTS:
        return 0
    sources = dict.fromkeys(node.input[0] for node in graph.nodes
                            if node.op_type == "Slice" and not node.domain)
    for source in sources:
        for axis, parts in _parts(graph, source).items():
            shape = graph.shape(source)
            size = None if shape is None else shape[axis]
            bounds = sorted((begin, end, place) for place, (_, begin, end) in enumerate(parts))
            edges = [0, *(end for _, end, _ in bounds)]
            if len(parts) < 2 or edges[-1] != size or edges[:-1] != [b for b, _, _ in bounds]:
                continue
            _split(graph, source, axis, [parts[place] for *_, place in bounds])
            changed += len(parts)
    return changed


def _parts(graph: OnnxGraph, source: str) -> dict[int, list[tuple[Node, int, int]]]:
    """The Slices of a tensor along one axis each, with begin and end, by axis."""
    found: dict[int, list[tuple[Node, int, int]]] = {}
    shape = graph.shape(source) or ()
    for node in graph.uses(source):
        if node.op_type != "Slice" or node.domain or node.input[0] != source:
            continue
        numbers = [graph.constants.get(name) for name in node.input[1:] if name]
        if len(numbers) < 3 or any(n is None or n.size != 1 for n in numbers):
            continue
        begin, end, axis, step = [int(n.reshape(())) for n in numbers if n is not None] + [1] * (
            4 - len(numbers))
        size = shape[axis] if -len(shape) <= axis < len(shape) else None
        if step != 1 or not isinstance(size, int):
            continue
        begin, end, _ = slice(begin, end).indices(size)
        found.setdefault(axis % len(shape), []).append((node, begin, end))
    return found


def _split(
    graph: OnnxGraph, source: str, axis: int, parts: list[tuple[Node, int, int]]
) -> None:
    sizes = graph.constant("sizes", np.array([end - begin for _, begin, end in parts], np.int64))
    names = [graph.fresh("part") for _ in parts]
    graph.add("Split", [source, sizes], names, axis=axis)
    for (node, _, _), name in zip(parts, names, strict=True):
        graph.replace(node.output[0], name)
