"""Duplicate weights: equal constants are stored once."""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Array, OnnxGraph

SAMPLE = 64  # values that are compared before all are


def merge_duplicate_weights(graph: OnnxGraph) -> int:
    """Let all readers of equal constants read the first; how many constants went.

    Proof: element type, shape and every bit are equal (so NaN merges with the same NaN, and +0
    not with -0). Only weights that have a companion of their type and shape are looked at.
    """
    alike: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name in graph.constants:
        if not graph.is_pinned(name) and graph.uses(name):
            kind = str(graph.constants.dtype_of(name)), graph.constants.shape_of(name)
            alike.setdefault(kind, []).append(name)
    merged = 0
    for names in alike.values():
        if len(names) > 1 and graph.constants.dtype_of(names[0]).kind != "O":
            merged += _merge(graph, names)
    return merged


def _merge(graph: OnnxGraph, names: list[str]) -> int:
    first: dict[bytes, list[str]] = {}
    merged = 0
    for name in names:
        same_start = first.setdefault(_sample(graph, name), [])
        kept = next((other for other in same_start if _equal(graph, name, other)), None)
        if kept is None:
            same_start.append(name)
            continue
        graph.replace(name, kept)
        del graph.constants[name]
        merged += 1
    return merged


def _sample(graph: OnnxGraph, name: str) -> bytes:
    values = graph.constants.peek(name).reshape(-1)
    return values[:: max(values.size // SAMPLE, 1)].tobytes()


def _equal(graph: OnnxGraph, first: str, second: str) -> bool:
    a, b = graph.constants.peek(first), graph.constants.peek(second)
    return a.size <= SAMPLE or np.array_equal(_bytes(a), _bytes(b))


def _bytes(values: Array) -> Array:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)
