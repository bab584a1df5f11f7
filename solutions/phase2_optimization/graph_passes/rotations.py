"""Rotations: parts of one tensor put together in another order are gathered at once.

    roll(x, 2) = Concat(x[2:], x[:2])      three operators, every row copied twice
               = Gather(x, [2, 3, ..., 0, 1])

Windowed attention (Liu et al., "Swin Transformer", arXiv:2103.14030, section 3.2) rolls its images
along two axes in every second block.
"""

from math import prod

import numpy as np

from solutions.phase2_optimization.graph_passes.slices import cuts_of
from solutions.phase2_optimization.onnx_protobuf import operator
from solutions.phase2_optimization.onnx_rewrite import Array, Node, OnnxGraph, attribute

SHORTEST_ROW = 16  # elements behind one place: a Gather copies row by row


def gather_slices(graph: OnnxGraph) -> int:
    """Make one Gather of a Concat whose inputs are Slices of one tensor along its axis; how many.

    Proof: a Slice takes the places start, start + step, ... of an axis; the Concat puts those
    of all its inputs behind each other; a Gather takes the places of that list in that order.
    """
    changed = 0
    for node in list(graph.nodes):
        if operator(node) != "Concat" or len(node.input) < 2 or not graph.has(node):
            continue
        parts = [graph.producer.get(name) for name in node.input]
        places = gathered_places(graph, node, [part for part in parts if part is not None])
        if places is None or parts[0] is None:
            continue
        source, name = parts[0].input[0], graph.constant("places", places)
        made = graph.add("Gather", [source, name], axis=int(attribute(node, "axis")))
        graph.set_type(made.output[0], graph.dtype(source), graph.shape(node.output[0]))
        changed += graph.replace(node.output[0], made.output[0])
        graph.drop_unread(made)
    return changed


def gathered_places(graph: OnnxGraph, node: Node, parts: list[Node]) -> Array | None:
    """The places that a Concat of Slices takes; None where it is no such Concat."""
    if len(parts) != len(node.input) or any(operator(part) != "Slice" for part in parts):
        return None
    source, shape = parts[0].input[0], graph.shape(parts[0].input[0])
    if any(part.input[0] != source or not graph.is_private(part.output[0]) for part in parts):
        return None
    if shape is None:
        return None
    axis = int(attribute(node, "axis")) % len(shape)
    size, row = shape[axis], [dim for dim in shape[axis + 1:] if isinstance(dim, int)]
    if not isinstance(size, int) or prod(row) < SHORTEST_ROW:
        return None
    found = []
    for part in parts:
        cuts = cuts_of(graph, part)
        if cuts is None or len(cuts) != 1 or cuts[0][2] != axis or cuts[0][3] < 1:
            return None
        start, end, _, step = cuts[0]
        found.append(np.arange(size, dtype=np.int64)[start:end:step])
    return np.concatenate(found)
