"""Convolutions: dense, grouped and depthwise."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np

from solutions.phase2_optimization.c_backend.blocks import Blocks, Floats
from solutions.phase2_optimization.c_backend.fusion import Group
from solutions.phase2_optimization.c_backend.lowering import Lowering
from solutions.phase2_optimization.c_backend.parts import (
    REGISTERS,
    Part,
    best_tiling,
    kernel_call,
    longest_tile,
    parts_of,
    same_place,
    title,
    window_of,
)
from solutions.phase2_optimization.c_backend.pools import per_channel
from solutions.phase2_optimization.c_backend.program import Value
from solutions.phase2_optimization.c_backend.tiled import DEPTHWISE, Dense, Segment, TiledKernel
from solutions.phase2_optimization.c_backend.window import Window
from solutions.phase2_optimization.onnx_rewrite import attribute

PLAIN_CHANNELS = 16  # a convolution reads at most so many from a plain image as they lie


def convolution(low: Lowering, group: Group) -> Value:
    """A Conv with what follows it."""
    node = group.node
    weights = low.constant(node.input[1]).astype(np.float32)
    outputs, channels = len(weights), low.shape(node.input[0])[1]
    bias = np.zeros(outputs, np.float32)
    if len(node.input) > 2 and node.input[2]:
        bias = low.constant(node.input[2]).astype(np.float32)
    groups = attribute(node, "group", 1)
    if groups == outputs == channels > 1:
        window, x = window_of(low, node), low.blocked(node.input[0])
        return per_channel(low, group, node, DEPTHWISE, window, x, (weights, bias))
    return _dense(low, group, weights, bias, groups)


def _dense(low: Lowering, group: Group, weights: Floats, bias: Floats, groups: int) -> Value:
    """Blocks of output channels, each over all the input channels of its groups."""
    node = group.node
    window = window_of(low, node).flat
    channels = low.shape(node.input[0])[1]
    plain = channels <= PLAIN_CHANNELS and not low.is_blocked(node.input[0])
    x = low.value(node.input[0]) if plain else low.blocked(node.input[0])
    y = low.new(group.output, low.shape(node.output[0]), True)
    extras = low.operands(group.chain, y.shape, True)
    calls = []
    for run in _runs(window, len(weights), groups, low.lanes):
        seen = _channels(run, len(weights) // groups, channels // groups)
        segments = _segments(seen, channels, window, low.lanes)
        if plain:
            pixels = prod(window.size)
            segments = (Segment(seen.start * pixels, len(seen), 1, pixels),)
        packed = _packed(weights, bias, run, segments, seen, groups)
        start = segments[0].offset  # the pointer's: blocks that lie alike share a kernel
        segments = tuple(replace(s, offset=s.offset - start) for s in segments)
        kernel = TiledKernel(
            window, Dense(segments), len(run.blocks) // run.together, run.together,
            run.blocks[0].width, longest_tile(run.together, REGISTERS[low.lanes]), group.chain,
        )
        sources = [low.program.pointer(x, start), *(low.program.constant(part) for part in packed)]
        calls.append(kernel_call(low, kernel, run, sources, extras, y))
    low.program.add(title(group), calls, [x, *extras], y, same_place(extras, y, x))
    return y


def _runs(window: Window, outputs: int, groups: int, lanes: int) -> Iterator[Part]:
    """The output blocks that calls compute: in grouped convolutions one by one."""
    blocks = Blocks(outputs, lanes).parts
    if groups > 1:
        yield from (Part([block], 1) for block in blocks)
    else:
        yield from parts_of(blocks, best_tiling(window, len(blocks), REGISTERS[lanes]).blocks)


def _channels(run: Part, outputs: int, inputs: int) -> range:
    """The input channels that some output channels read, in groups of so many each."""
    first = run.blocks[0].start // outputs
    last = (run.blocks[-1].start + run.blocks[-1].channels - 1) // outputs
    return range(first * inputs, (last + 1) * inputs)


def _segments(
    seen: range, channels: int, window: Window, lanes: int
) -> tuple[Segment, ...]:
    """Where some of a blocked image's channels lie."""
    layout, pixels = Blocks(channels, lanes), prod(window.size)
    found: list[Segment] = []
    channel = seen.start
    while channel < seen.stop:
        block = layout.parts[channel // lanes]
        count = min(seen.stop, block.start + block.channels) - channel
        segment = Segment(layout.position(channel, pixels), count, block.width, 1)
        before = found[-1] if found else None
        if (before is not None and before.channels == count == lanes == block.width
                and channel - lanes >= seen.start):
            step = lanes * pixels
            found[-1] = Segment(before.offset, lanes, lanes, 1, before.blocks + 1, step)
        else:
            found.append(segment)
        channel += count
    return tuple(found)


def _packed(
    weights: Floats, bias: Floats, run: Part, segments: tuple[Segment, ...], seen: range,
    groups: int,
) -> tuple[Floats, Floats]:
    """Weights in the order of the kernel's loops, and the bias, filled up to whole blocks.

    [group, vertical tap, segment, block of it, horizontal tap, channel, output block, lane]
    """
    width = run.blocks[0].width
    inputs, outputs = weights.shape[1], len(weights) // groups
    lanes = np.zeros((len(run.blocks), width, len(seen), *weights.shape[2:]), np.float32)
    sums = np.zeros((len(run.blocks), width), np.float32)
    for number, block in enumerate(run.blocks):
        for lane in range(block.channels):
            output = block.start + lane
            start = output // outputs * inputs - seen.start
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
