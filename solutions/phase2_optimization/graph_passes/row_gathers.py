"""Many moves of whole rows as one Gather.

A Swin block shifts the picture (four Slices, two Concats), cuts it into windows (Reshape,
Transpose, Reshape) and later undoes both: some 18 operators and as many copies, though all that
happens is that rows of channels change places. The index map of the whole thing (index_maps.py)
says which row goes where, and one Gather with these numbers does it in one copy.

Source for the pattern: Liu et al., arXiv:2103.14030, section 3.2.
"""

from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.graph_passes.index_maps import (
    LARGEST,
    SHAPED,
    Places,
    moved,
    moves,
    static_shape,
)
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

MOST_NODES = 40
ADDED = 3  # Reshape, Gather, Reshape
# numbers in a row: with 8 or 16 a Gather takes up to 2.5 times as long as the Slices and Concats of
# a shift, with 32 0.9 times, with 96 0.6 times (measured in ONNX Runtime on one thread)
LEAST_ROW = 24


class Moves(NamedTuple):
    """All moving operators between one source and one result."""

    source: str
    nodes: list[Node]


def gather_rows(graph: OnnxGraph) -> int:
    """Moves of whole rows between one tensor and another: one Gather; how many.

    Proof: the result's index map is computed. It consists of whole rows of the source (its last
    axis), each in order, so the result is these rows in the map's order, under another shape.
    """
    changed = 0
    for node in list(graph.nodes):
        if not graph.has(node) or not (moves(graph, node) or node.op_type == "Concat"):
            continue
        name = node.output[0]
        readers = graph.uses(name)
        inner = readers and not graph.is_pinned(name) and all(
            moves(graph, reader) or reader.op_type == "Concat" for reader in readers)
        if not inner and len(node.output) == 1:
            changed += _gather(graph, name)
    return changed


def _gather(graph: OnnxGraph, name: str) -> bool:
    found = _moves_before(graph, name)
    if found is None:
        return False
    copies = [node for node in found.nodes if node.op_type not in SHAPED]
    if len(copies) < 2 or len(found.nodes) <= ADDED:
        return False
    shape, wanted = static_shape(graph, found.source), static_shape(graph, name)
    if shape is None or wanted is None or not shape or shape[-1] < LEAST_ROW:
        return False
    rows = _rows(graph, found, name, shape[-1])
    if rows is None:
        return False
    flat = graph.constant("rows_shape", np.array([-1, shape[-1]], np.int64))
    table = graph.add("Reshape", [found.source, flat])
    taken = graph.add("Gather", [table.output[0], graph.constant("rows", rows)], axis=0)
    target = graph.constant("shape", np.array(wanted, np.int64))
    made = graph.add("Reshape", [taken.output[0], target])
    dtype = graph.dtype(name)
    graph.set_type(table.output[0], dtype, (int(np.prod(shape[:-1])), shape[-1]))
    graph.set_type(taken.output[0], dtype, (len(rows), shape[-1]))
    return graph.replace(name, made.output[0])


def _moves_before(graph: OnnxGraph, name: str) -> Moves | None:
    """The moving operators that end in ``name``, if they start from one tensor and nobody else
    reads what is between."""
    nodes: list[Node] = []
    sources: set[str] = set()
    waiting = [name]
    seen: set[str] = set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        node = graph.producer.get(current)
        joins = node is not None and node.op_type == "Concat" and not node.domain
        if node is None or not (joins or moves(graph, node)):
            sources.add(current)
            continue
        if node not in nodes:
            nodes.append(node)
        waiting.extend(node.input if joins else node.input[:1])
        if len(nodes) > MOST_NODES or len(sources) > 1:
            return None
    if len(sources) != 1:
        return None
    (source,) = sources
    inside = {id(node) for node in nodes}
    for node in nodes:
        for made in node.output:
            outside = [user for user in graph.uses(made) if id(user) not in inside]
            if made != name and (outside or graph.is_pinned(made)):
                return None
    return None if source in graph.constants else Moves(source, nodes)


def _rows(graph: OnnxGraph, found: Moves, name: str, width: int) -> Places | None:
    """The source's row for each row of the result; None where rows are torn apart."""
    shape = static_shape(graph, found.source) or ()
    if np.prod(shape) > LARGEST:
        return None
    known: dict[str, Places | None] = {
        found.source: np.arange(np.prod(shape), dtype=np.int32).reshape(shape)}
    order = {id(node): place for place, node in enumerate(graph.ordered())}
    for node in sorted(found.nodes, key=lambda node: order[id(node)]):
        for made in node.output:
            if node.op_type == "Concat":
                parts = [known[part] for part in node.input]
                given = [part for part in parts if part is not None]
                known[made] = None if len(given) < len(parts) else np.concatenate(
                    given, axis=int(attribute(node, "axis", 0)))
            else:
                before = known[node.input[0]]
                known[made] = None if before is None else moved(graph, node, made, before)
    places = known[name]
    if places is None or places.size % width:
        return None
    table = places.reshape(-1, width)
    first = table[:, :1]
    whole = (first % width == 0).all() and (table == first + np.arange(width)).all()
    return (first[:, 0] // width).astype(np.int64) if whole else None
