"""Pools, and whatever else treats every channel by itself."""

from math import prod

import numpy as np

from solutions.phase2_optimization.c_backend.blocks import Blocks, Floats
from solutions.phase2_optimization.c_backend.fusion import Group
from solutions.phase2_optimization.c_backend.lowering import Lowering
from solutions.phase2_optimization.c_backend.parts import (
    REGISTERS,
    Part,
    kernel_call,
    parts_of,
    same_place,
    title,
    window_of,
)
from solutions.phase2_optimization.c_backend.program import Value
from solutions.phase2_optimization.c_backend.tiled import (
    MAX_POOL,
    SUM_POOL,
    PerChannel,
    TiledKernel,
)
from solutions.phase2_optimization.c_backend.window import Window
from solutions.phase2_optimization.onnx_rewrite import Node, attribute
from zoo.errors import InferenceError


def max_pool(low: Lowering, group: Group) -> Value:
    """A MaxPool with what follows it."""
    node = group.node
    if len(node.output) > 1 and node.output[1]:
        raise InferenceError(f"{node.name or 'MaxPool'}: the C back end gives no indices")
    window = window_of(low, node)
    return per_channel(low, group, node, MAX_POOL, window, low.blocked(node.input[0]))


def average_pool(low: Lowering, group: Group) -> Value:
    """An AveragePool with what follows it."""
    node = group.node
    window = window_of(low, node)
    frame = (0, 0)
    if attribute(node, "count_include_pad", 0):
        pads = attribute(node, "pads", [0, 0, 0, 0])
        frame = (pads[2], pads[3])
    counts = tuple(
        tuple(_inside(window, axis, place, attribute(node, "count_include_pad", 0), frame[axis])
              for place in range(window.out[axis]))
        for axis in range(2)
    )
    x = low.blocked(node.input[0])
    return per_channel(low, group, node, SUM_POOL, window, x, counts=(counts[0], counts[1]))


def _inside(window: Window, axis: int, place: int, padded: int, after: int) -> int:
    """How many taps of an output row or column count; with ``padded``, those on the frame, too."""
    start = place * window.strides[axis] - window.pads[axis]
    taps = [start + tap * window.dilations[axis] for tap in range(window.kernel[axis])]
    low, high = (-window.pads[axis], window.size[axis] + after) if padded else (
        0, window.size[axis])
    return sum(low <= tap < high for tap in taps)


def global_average_pool(low: Lowering, group: Group) -> Value:
    """A GlobalAveragePool: one window over the whole image."""
    pixels = prod(low.shape(group.node.input[0])[2:])
    return _global(low, group, SUM_POOL, ((1,), (pixels,)))


def global_max_pool(low: Lowering, group: Group) -> Value:
    """A GlobalMaxPool."""
    return _global(low, group, MAX_POOL)


def _global(
    low: Lowering, group: Group, layer: PerChannel,
    counts: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> Value:
    node = group.node
    if len(low.shape(node.input[0])) != 4:
        raise InferenceError(f"{node.name or node.op_type}: the C back end pools images only")
    x = low.blocked(node.input[0])
    one, size = (1, 1), (1, x.pixels)
    window = Window(size, one, size, one, one, (0, 0))
    return per_channel(low, group, node, layer, window, x, counts=counts)


def per_channel(
    low: Lowering, group: Group, node: Node, layer: PerChannel, window: Window, x: Value,
    constants: tuple[Floats, Floats] | None = None,
    counts: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> Value:
    y = low.new(group.output, low.shape(node.output[0]), True)
    extras = low.operands(group.chain, y.shape, True)
    longest = REGISTERS[low.lanes] // 2
    calls = []
    for part in parts_of(Blocks(y.shape[1], low.lanes).parts, 1):
        kernel = TiledKernel(window, layer, len(part.blocks), 1, part.blocks[0].width, longest,
                             group.chain, counts)
        sources = [low.program.pointer(x, part.blocks[0].start * prod(window.size))]
        if constants is not None:
            sources += [low.program.constant(_lanes(values, part)) for values in constants]
        calls.append(kernel_call(low, kernel, part, sources, extras, y))
    low.program.add(title(group), calls, [x, *extras], y, same_place(extras, y, x))
    return y


def _lanes(values: Floats, part: Part) -> Floats:
    """Values per channel [c, ...] as [block, ..., lane]."""
    flat = values.reshape(len(values), -1)
    width = part.blocks[0].width
    found = np.zeros((len(part.blocks), flat.shape[1], width), np.float32)
    for number, block in enumerate(part.blocks):
        found[number, :, : block.channels] = flat[block.start : block.start + block.channels].T
    return found


