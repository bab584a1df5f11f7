"""Space to depth and a convolution are one convolution: the "Focus" layer of YOLO detectors.

The problem: some detectors begin by cutting the image into its even and odd rows and columns,
stack the four parts as channels and convolve those. Cutting and stacking move every pixel twice,
and a quantizer finds Slice and Concat where it could quantize the image itself, for which 256
steps are exact. The idea: part (a, b) of a window's position (u, v) is the pixel (2u + a, 2v + b),
so the kernel of twice the size and stride 2, its weights interlaced, computes the same:

    W[o, c, 2u + a, 2v + b] = w[o, part(a, b) * channels + c, u, v]      padding 2 p, stride 2

Source: the layer is that of Ge et al., arXiv:2107.08430 (YOLOX); the identity follows from the
definition of both.
"""

from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import (
    Array,
    Node,
    OnnxGraph,
    attribute,
    set_attribute,
)

BLOCK = 2


class Part(NamedTuple):
    """Every second row and column of an image, from (row, column) on."""

    source: str
    row: int
    column: int


def interlace(weights: Array, parts: list[tuple[int, int]]) -> Array:
    """Weights [out, parts * c, r, s] of stacked parts as weights [out, c, 2r, 2s] of the image.

    ``parts``: the first row and column (0 or 1) of each stacked part, in stacking order.
    """
    out, stacked, rows, columns = weights.shape
    channels = stacked // len(parts)
    joined = np.zeros((out, channels, BLOCK * rows, BLOCK * columns), weights.dtype)
    for place, (row, column) in enumerate(parts):
        own = weights[:, place * channels : (place + 1) * channels]
        joined[:, :, row::BLOCK, column::BLOCK] = own
    return joined


def join_focus(graph: OnnxGraph) -> int:
    """Replace slices, concatenation and convolution by one convolution; how many were found."""
    joined = 0
    for node in list(graph.nodes):
        joined += node.op_type == "Conv" and _join(graph, node)
    graph.remove_unread()
    return joined


def _join(graph: OnnxGraph, conv: Node) -> bool:
    stack = graph.producer.get(conv.input[0])
    if stack is None or stack.op_type != "Concat" or attribute(stack, "axis") != 1:
        return False
    if not graph.is_private(stack.output[0]) or not _is_plain(graph, conv):
        return False
    found = [_part(graph, name) for name in stack.input]
    parts = [part for part in found if part is not None]
    places = {(part.row, part.column) for part in parts}
    whole = places == {(0, 0), (0, 1), (1, 0), (1, 1)} and len(found) == len(parts) == 4
    if not whole or len({part.source for part in parts}) != 1:
        return False
    weights = interlace(graph.constants[conv.input[1]], [(p.row, p.column) for p in parts])
    conv.input[0] = parts[0].source
    conv.input[1] = graph.set_constant(graph.fresh("interlaced_weight"), weights)
    pads = attribute(conv, "pads", [0, 0, 0, 0])
    set_attribute(conv, "kernel_shape", list(weights.shape[2:]))
    set_attribute(conv, "strides", [BLOCK, BLOCK])
    set_attribute(conv, "pads", [BLOCK * pad for pad in pads])
    graph.refresh()
    return True


def _is_plain(graph: OnnxGraph, conv: Node) -> bool:
    """Whether a convolution has constant weights [o, i, r, s], stride 1 and no other tricks."""
    weights = graph.constants.get(conv.input[1])
    return (
        weights is not None
        and weights.ndim == 4
        and attribute(conv, "group", 1) == 1
        and attribute(conv, "auto_pad", "NOTSET") == "NOTSET"
        and set(attribute(conv, "strides", [1])) == {1}
        and set(attribute(conv, "dilations", [1])) == {1}
    )


def _part(graph: OnnxGraph, name: str) -> Part | None:
    """Which rows and columns of which tensor a tensor is, behind one Slice or two."""
    starts = {2: 0, 3: 0}
    seen: set[int] = set()
    while seen != {2, 3}:
        cut = graph.producer.get(name)
        axes = _halved(graph, cut) if cut is not None else None
        if cut is None or axes is None or seen & set(axes):
            return None
        starts |= axes
        seen |= set(axes)
        name = cut.input[0]
    return Part(name, starts[2], starts[3])


def _halved(graph: OnnxGraph, cut: Node) -> dict[int, int] | None:
    """Axis and start of a Slice that takes every second row or column up to the end."""
    if cut.op_type != "Slice" or len(cut.input) != 5:
        return None
    numbers = [graph.constants.get(name) for name in cut.input[1:]]
    if any(array is None for array in numbers):
        return None
    starts, ends, axes, steps = (array.tolist() for array in numbers if array is not None)
    fits = all(
        axis in (2, 3) and start in (0, 1) and step == BLOCK and end >= 1 << 30
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    )
    return dict(zip(axes, starts, strict=True)) if fits else None
