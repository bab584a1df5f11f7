"""Convolutions, pools and matrix products as kernels."""

from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.c_backend.blocks import Block, Blocks, Floats
from solutions.phase2_optimization.c_backend.fusion import Group
from solutions.phase2_optimization.c_backend.lowering import Lowering
from solutions.phase2_optimization.c_backend.program import Call, Pointer, Value
from solutions.phase2_optimization.c_backend.tiled import (
    DEPTHWISE,
    MAX_POOL,
    SUM_POOL,
    Dense,
    PerChannel,
    Segment,
    TiledKernel,
)
from solutions.phase2_optimization.c_backend.window import Window, tiles
from solutions.phase2_optimization.onnx_rewrite import Node, attribute
from zoo.errors import InferenceError

PLAIN_CHANNELS = 16  # a convolution reads at most so many from a plain image as they lie
REGISTERS = {16: 32, 8: 16, 4: 16}  # vector registers by lanes: AVX-512, AVX, SSE


def window_of(low: Lowering, node: Node) -> Window:
    """The geometry of a Conv or pool; raises InferenceError where it is not of two dimensions."""
    shape, out = low.shape(node.input[0]), low.shape(node.output[0])
    if len(shape) != 4:
        raise InferenceError(
            f"{node.name or node.op_type}: the C back end knows {node.op_type} of images only, "
            f"not of shape {shape}"
        )
    kernel = attribute(node, "kernel_shape") or low.shape(node.input[1])[2:]
    strides = attribute(node, "strides", [1, 1])
    dilations = attribute(node, "dilations", [1, 1])
    pads = tuple(attribute(node, "pads", [0, 0, 0, 0]))
    padding = attribute(node, "auto_pad", "NOTSET")
    if padding in ("SAME_UPPER", "SAME_LOWER"):
        begin = []
        for axis in range(2):
            reach = (out[2 + axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
            missing = max(0, reach - shape[2 + axis])
            begin.append(missing // 2 if padding == "SAME_UPPER" else missing - missing // 2)
        pads = (*begin, 0, 0)
    elif padding == "VALID":
        pads = (0, 0, 0, 0)
    return Window((shape[2], shape[3]), (out[2], out[3]), (kernel[0], kernel[1]),
                  (strides[0], strides[1]), (dilations[0], dilations[1]), (pads[0], pads[1]))


class Tiling(NamedTuple):
    """Channel blocks at once, and the most pixels beside each other."""

    blocks: int
    pixels: int


def best_tiling(window: Window, blocks: int, registers: int) -> Tiling:
    """The tile whose sums fit the registers and that loads least for what it computes.

    A step of a tile takes a product for each sum, but not less than the latency of one, and a load
    for each block's weights and each pixel's input.
    """
    def cost(tiling: Tiling) -> float:
        steps = 0.0
        for count in [tiling.blocks] * (blocks // tiling.blocks) + [1] * (blocks % tiling.blocks):
            for tile in tiles(window, tiling.pixels):
                sums = count * tile.pixels
                steps += tile.repeat * (max(sums, 6) + 0.5 * (count + tile.pixels) + 1)
        return steps

    fitting = [
        Tiling(k, (registers - 2 - k) // k - (k > 1)) for k in range(1, min(4, blocks) + 1)
    ]
    return min(fitting, key=cost)


def convolution(low: Lowering, group: Group) -> Value:
    """A Conv with what follows it; dense, grouped or depthwise."""
    node = group.layer
    assert node is not None
    weights = low.constant(node.input[1]).astype(np.float32)
    shape = low.shape(node.output[0])
    bias = np.zeros(shape[1], np.float32)
    if len(node.input) > 2 and node.input[2]:
        bias = low.constant(node.input[2]).astype(np.float32)
    groups = attribute(node, "group", 1)
    layer = _depthwise if groups == shape[1] == low.shape(node.input[0])[1] > 1 else _dense
    return layer(low, group, node, weights, bias, groups)


class Part(NamedTuple):
    """Neighbouring channel blocks of one width that one call of a kernel computes."""

    blocks: list[Block]
    together: int  # blocks of a tile


def _parts(found: list[Block], together: int) -> list[Part]:
    """Blocks in runs of equal width: as many multiples of ``together`` as there are, the rest."""
    parts = []
    for width in dict.fromkeys(block.width for block in found):
        run = [block for block in found if block.width == width]
        whole = len(run) // together * together
        parts += [Part(run[:whole], together)] if whole else []
        parts += [Part(run[whole:], len(run) - whole)] if len(run) > whole else []
    return parts


def _dense(
    low: Lowering, group: Group, node: Node, weights: Floats, bias: Floats, groups: int
) -> Value:
    window = window_of(low, node).flat
    channels, outputs = low.shape(node.input[0])[1], len(weights)
    plain = channels <= PLAIN_CHANNELS and not low.is_blocked(node.input[0])
    x = low.value(node.input[0]) if plain else low.blocked(node.input[0])
    y = low.new(group.output, low.shape(node.output[0]), True)
    extras = low.operands(group.chain, y.shape, True)
    blocks = Blocks(outputs, low.lanes).parts
    tiling = best_tiling(window, len(blocks), REGISTERS[low.lanes])
    calls = []
    for part in _parts(blocks, tiling.blocks if groups == 1 else 1):
        for run in [part] if groups == 1 else [Part([b], 1) for b in part.blocks]:
            first = run.blocks[0].start // (outputs // groups)
            end = run.blocks[-1].start + run.blocks[-1].channels
            last = (end - 1) // (outputs // groups) + 1
            low_channel, high_channel = (g * (channels // groups) for g in (first, last))
            segments = (
                (Segment(low_channel * prod(window.size), high_channel - low_channel, 1,
                         prod(window.size)),)
                if plain else _segments(low_channel, high_channel, channels, window, low.lanes)
            )
            packed = _packed(weights, bias, run, segments, (low_channel, high_channel), groups)
            longest = (REGISTERS[low.lanes] - 2 - run.together) // run.together - (run.together > 1)
            kernel = TiledKernel(
                window, Dense(segments), len(run.blocks) // run.together, run.together,
                run.blocks[0].width, longest, group.chain,
            )
            calls.append(_call(low, kernel, run, [
                low.program.pointer(x), low.program.constant(packed[0]),
                low.program.constant(packed[1])], extras, y))
    low.program.add(_title(group), calls, [x, *extras], y, _same_place(extras, y, x))
    return y


def _segments(
    first: int, last: int, channels: int, window: Window, lanes: int
) -> tuple[Segment, ...]:
    """Where channels ``first`` to ``last`` of a blocked image lie."""
    layout, pixels = Blocks(channels, lanes), prod(window.size)
    found: list[Segment] = []
    channel = first
    while channel < last:
        block = layout.parts[channel // lanes]
        count = min(last, block.start + block.channels) - channel
        segment = Segment(layout.position(channel, pixels), count, block.width, 1)
        before = found[-1] if found else None
        if (before is not None and before.channels == count == lanes == block.width
                and channel - lanes >= first):
            step = lanes * pixels
            found[-1] = Segment(before.offset, lanes, lanes, 1, before.blocks + 1, step)
        else:
            found.append(segment)
        channel += count
    return tuple(found)


def _packed(
    weights: Floats, bias: Floats, run: Part, segments: tuple[Segment, ...],
    channels: tuple[int, int], groups: int,
) -> tuple[Floats, Floats]:
    """Weights in the order of the kernel's loops, and the bias, filled up to whole blocks.

    [group, vertical tap, segment, block of it, horizontal tap, channel, output block, lane]
    """
    width = run.blocks[0].width
    first, last = channels
    inputs, outputs = weights.shape[1], len(weights) // groups
    lanes = np.zeros((len(run.blocks), width, last - first, *weights.shape[2:]), np.float32)
    sums = np.zeros((len(run.blocks), width), np.float32)
    for number, block in enumerate(run.blocks):
        for lane in range(block.channels):
            output = block.start + lane
            start = output // outputs * inputs - first
            lanes[number, lane, start : start + inputs] = weights[output]
            sums[number, lane] = bias[output]
    tiled = lanes.reshape(-1, run.together, width, *lanes.shape[2:])
    # group, block, lane, channel, ky, kx -> group, ky, kx, channel, block, lane
    ordered = tiled.transpose(0, 4, 5, 3, 1, 2)
    ends = np.cumsum([0, *(s.channels for s in segments for _ in range(s.blocks))])
    parts = [
        ordered[:, :, :, a:b].reshape(*ordered.shape[:2], -1)
        for a, b in pairwise(ends)
    ]
    return np.concatenate(parts, axis=2), sums


def _depthwise(
    low: Lowering, group: Group, node: Node, weights: Floats, bias: Floats, groups: int
) -> Value:
    x = low.blocked(node.input[0])
    window = window_of(low, node)
    return _per_channel(low, group, node, DEPTHWISE, window, x, (weights, bias))


def max_pool(low: Lowering, group: Group) -> Value:
    """A MaxPool with what follows it."""
    node = group.layer
    assert node is not None
    if len(node.output) > 1 and node.output[1]:
        raise InferenceError(f"{node.name or 'MaxPool'}: the C back end gives no indices")
    window = window_of(low, node)
    return _per_channel(low, group, node, MAX_POOL, window, low.blocked(node.input[0]))


def average_pool(low: Lowering, group: Group) -> Value:
    """An AveragePool with what follows it."""
    node = group.layer
    assert node is not None
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
    return _per_channel(low, group, node, SUM_POOL, window, x, counts=(counts[0], counts[1]))


def _inside(window: Window, axis: int, place: int, padded: int, after: int) -> int:
    """How many taps of an output row or column count; with ``padded``, those on the frame, too."""
    start = place * window.strides[axis] - window.pads[axis]
    taps = [start + tap * window.dilations[axis] for tap in range(window.kernel[axis])]
    low, high = (-window.pads[axis], window.size[axis] + after) if padded else (
        0, window.size[axis])
    return sum(low <= tap < high for tap in taps)


def global_average_pool(low: Lowering, group: Group) -> Value:
    """A GlobalAveragePool: one window over the whole image."""
    node = group.layer
    assert node is not None
    x = low.blocked(node.input[0])
    size = (x.shape[2], x.shape[3])
    window = Window((1, prod(size)), (1, 1), (1, prod(size)), (1, 1), (1, 1), (0, 0))
    counts = ((1,), (prod(size),))
    return _per_channel(low, group, node, SUM_POOL, window, x, counts=counts)


def _per_channel(
    low: Lowering, group: Group, node: Node, layer: PerChannel, window: Window, x: Value,
    constants: tuple[Floats, Floats] | None = None,
    counts: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> Value:
    y = low.new(group.output, low.shape(node.output[0]), True)
    extras = low.operands(group.chain, y.shape, True)
    longest = REGISTERS[low.lanes] // 2
    calls = []
    for part in _parts(Blocks(y.shape[1], low.lanes).parts, 1):
        kernel = TiledKernel(window, layer, len(part.blocks), 1, part.blocks[0].width, longest,
                             group.chain, counts)
        sources = [low.program.pointer(x, part.blocks[0].start * prod(window.size))]
        if constants is not None:
            sources += [low.program.constant(_lanes(values, part)) for values in constants]
        calls.append(_call(low, kernel, part, sources, extras, y))
    low.program.add(_title(group), calls, [x, *extras], y, _same_place(extras, y, x))
    return y


def _lanes(values: Floats, part: Part) -> Floats:
    """Values per channel [c, ...] as [block, ..., lane]."""
    flat = values.reshape(len(values), -1)
    width = part.blocks[0].width
    found = np.zeros((len(part.blocks), flat.shape[1], width), np.float32)
    for number, block in enumerate(part.blocks):
        found[number, :, : block.channels] = flat[block.start : block.start + block.channels].T
    return found


def _call(
    low: Lowering, kernel: TiledKernel, part: Part, sources: list[Pointer], extras: list[Value],
    y: Value,
) -> Call:
    start = part.blocks[0].start
    others = [low.operand_pointer(value, start * value.pixels) for value in extras]
    return Call(kernel.text(), (*sources, *others, low.program.pointer(y, start * y.pixels)),
                y.batch)


def _same_place(extras: list[Value], y: Value, x: Value) -> list[Value]:
    """Operands that the result may overwrite: of its shape, and not the layer's input."""
    return [v for v in extras if v.shape == y.shape and v.buffer != x.buffer]


def _title(group: Group) -> str:
    kinds = " + ".join(node.op_type for node in group.nodes)
    return f"{kinds} -> {group.output}"
