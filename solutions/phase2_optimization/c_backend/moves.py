"""Operators that move numbers and compute none."""

from dataclasses import replace
from math import prod

import numpy as np

from solutions.phase2_optimization.c_backend.blocks import Blocks
from solutions.phase2_optimization.c_backend.copying import Axis, Box, contiguous, copy_kernel
from solutions.phase2_optimization.c_backend.fusion import Group
from solutions.phase2_optimization.c_backend.lowering import Lowering
from solutions.phase2_optimization.c_backend.program import NAME, Call, Pointer, Value
from solutions.phase2_optimization.onnx_rewrite import Node, attribute
from zoo.errors import InferenceError


def _copied(
    low: Lowering, title: str, x: Value, y: Value, axes: list[Axis], read: int = 0, write: int = 0
) -> None:
    call = Call(copy_kernel(Box(tuple(axes))),
                (_from(x, read), _from(y, write)))
    low.program.add(title, [call], [x], y)


def _from(value: Value, floats: int) -> Pointer:
    """A pointer ``floats`` into a value."""
    return Pointer(value.buffer, value.offset + floats)


def view(low: Lowering, group: Group) -> Value:
    """Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout: the same numbers."""
    node = group.node
    x = low.plain(node.input[0])
    return replace(x, shape=low.shape(node.output[0]))


def same(low: Lowering, group: Group) -> Value:
    """Identity, and Dropout as it is at inference: the same value, in any layout."""
    node = group.node
    trains = len(node.input) > 2 and node.input[2] and low.constant(node.input[2]).any()
    if trains or (len(node.output) > 1 and node.output[1]):
        raise InferenceError(f"{node.name or node.op_type}: the C back end knows no training")
    return low.value(node.input[0])


def transpose(low: Lowering, group: Group) -> Value:
    """Transpose."""
    node = group.node
    x = low.plain(node.input[0])
    order = attribute(node, "perm") or list(reversed(range(len(x.shape))))
    shape = [x.shape[axis] for axis in order]
    steps = contiguous(x.shape)
    y = low.new(group.output, shape, False)
    axes = [Axis(count, steps[axis], write)
            for count, axis, write in zip(shape, order, contiguous(shape), strict=True)]
    _copied(low, f"Transpose -> {group.output}", x, y, axes)
    return y


def slices(low: Lowering, group: Group) -> Value:
    """Slice with constant bounds."""
    node = group.node
    x = low.plain(node.input[0])
    picks = [slice(None)] * len(x.shape)
    given = [low.constant(name).tolist() if name else None for name in node.input[1:]]
    if len(node.input) == 1:  # attributes, before opset 10
        given = [attribute(node, "starts"), attribute(node, "ends"), attribute(node, "axes")]
    starts, ends = given[0] or [], given[1] or []
    axes = given[2] if len(given) > 2 and given[2] else list(range(len(starts)))
    steps = given[3] if len(given) > 3 and given[3] else [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        end = None if step < 0 and end < -size else end
        picks[axis] = slice(start, end, step)
    return _picked(low, f"Slice -> {group.output}", x, group.output, picks)


def _picked(low: Lowering, title: str, x: Value, name: str, picks: list[slice]) -> Value:
    """The numbers that slices pick out of a plain value."""
    ranges = [range(size)[pick] for size, pick in zip(x.shape, picks, strict=True)]
    steps = contiguous(x.shape)
    shape = [len(r) for r in ranges]
    y = low.new(name, shape, False)
    start = sum(r.start * step for r, step in zip(ranges, steps, strict=True))
    axes = [Axis(len(r), r.step * step, write)
            for r, step, write in zip(ranges, steps, contiguous(shape), strict=True)]
    _copied(low, title, x, y, axes, start)
    return y


def split(low: Lowering, group: Group) -> Value:
    """Split, each part a copy."""
    node = group.node
    x = low.plain(node.input[0])
    axis = attribute(node, "axis", 0) % len(x.shape)
    start = 0
    for name in node.output:
        end = start + low.shape(name)[axis]
        picks = [slice(None)] * len(x.shape)
        picks[axis] = slice(start, end)
        low.values[name] = _picked(low, f"Split -> {name}", x, name, picks)
        start = end
    return low.values[group.output]


def concat(low: Lowering, group: Group) -> Value:
    """Concat: of blocked channels where they fit together, else plain."""
    node = group.node
    shape = low.shape(node.output[0])
    axis = attribute(node, "axis") % len(shape)
    names = list(node.input)
    if axis == 1 and len(shape) == 4 and all(low.is_blocked(name) for name in names) and all(
        low.shape(name)[1] % low.lanes == 0 for name in names[:-1]
    ):
        return _concat_blocks(low, group, names, shape)
    y = low.new(group.output, shape, False)
    steps, start = contiguous(shape), 0
    for name in names:
        x = low.plain(name)
        axes = [Axis(count, read, write) for count, read, write
                in zip(x.shape, contiguous(x.shape), steps, strict=True)]
        _copied(low, f"Concat {name} -> {group.output}", x, y, axes, 0, start * steps[axis])
        start += x.shape[axis]
    return y


def _concat_blocks(low: Lowering, group: Group, names: list[str], shape: tuple[int, ...]) -> Value:
    y = low.new(group.output, shape, True)
    start = 0
    for name in names:
        x = low.value(name)
        floats = Blocks(x.shape[1], low.lanes).width * x.pixels
        call = Call(copy_kernel(Box((Axis(floats, 1, 1),))),
                    (low.program.pointer(x), low.program.pointer(y, start * x.pixels)), x.batch)
        low.program.add(f"Concat {name} -> {group.output}", [call], [x], y)
        start += x.shape[1]
    return y


def pad(low: Lowering, group: Group) -> Value:
    """Pad with a constant."""
    node = group.node
    x = low.plain(node.input[0])
    before, value = _frame(low, node, len(x.shape))
    shape = low.shape(node.output[0])
    y = low.new(group.output, shape, False)
    filled = low.program.constant(np.array([value], np.float32))
    fill = Call(copy_kernel(Box((Axis(prod(shape), 0, 1),))), (filled, low.program.whole(y)))
    steps = contiguous(shape)
    start = sum(b * step for b, step in zip(before, steps, strict=True))
    axes = [Axis(count, read, write)
            for count, read, write in zip(x.shape, contiguous(x.shape), steps, strict=True)]
    copy = Call(copy_kernel(Box(tuple(axes))),
                (low.program.whole(x), _from(y, start)))
    low.program.add(f"Pad -> {group.output}", [fill, copy], [x], y)
    return y


def _frame(low: Lowering, node: Node, rank: int) -> tuple[list[int], float]:
    """How much a Pad puts before each axis, and which value."""
    given = [low.constant(name) if name else None for name in node.input[1:]]
    given += [None] * (3 - len(given))
    pads = attribute(node, "pads") if given[0] is None else given[0].tolist()
    value = attribute(node, "value", 0.0) if given[1] is None else given[1].item()
    axes = range(rank) if given[2] is None else given[2].tolist()
    if attribute(node, "mode", "constant") != "constant" or min(pads) < 0:
        raise InferenceError(f"{node.name or 'Pad'}: the C back end pads with a constant only")
    before = [0] * rank
    for axis, size in zip(axes, pads, strict=False):  # the second half is behind the axes
        before[axis] = size
    return before, float(value)


def resize(low: Lowering, group: Group) -> Value:
    """Resize of images to whole multiples of their size by repeating pixels."""
    node = group.node
    x = low.blocked(node.input[0]) if low.is_blocked(node.input[0]) else low.plain(node.input[0])
    shape = low.shape(node.output[0])
    factors = [out // size for out, size in zip(shape, x.shape, strict=True)]
    exact = all(f * size == out for f, size, out in zip(factors, x.shape, shape, strict=True))
    mode = attribute(node, "mode", "nearest")
    if len(shape) != 4 or not exact or factors[:2] != [1, 1] or mode != "nearest" \
            or not _repeats(node, max(factors)):
        raise InferenceError(
            f"{node.name or node.op_type}: the C back end repeats pixels a whole number of times "
            f"only, not {mode} from {x.shape} to {shape}"
        )
    y = low.new(group.output, shape, x.blocked)
    (height, width), (down, across) = x.shape[2:], factors[2:]
    title = f"{node.op_type} -> {group.output}"
    if not x.blocked:
        calls = [Call(repeat_kernel(x.shape[0] * x.shape[1], height, width, down, across, 1),
                      (low.program.whole(x), low.program.whole(y)))]
    else:
        calls = [
            Call(repeat_kernel(1, height, width, down, across, block.width),
                 (low.program.pointer(x, block.start * x.pixels),
                  low.program.pointer(y, block.start * y.pixels)), y.batch)
            for block in Blocks(shape[1], low.lanes).parts
        ]
    low.program.add(title, calls, [x], y)
    return y


def _repeats(node: Node, factor: int) -> bool:
    """Whether these settings of Resize, at a whole factor, repeat each pixel that often."""
    if node.op_type == "Upsample" or factor == 1:
        return True
    where = attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = attribute(node, "nearest_mode", "round_prefer_floor")
    if where == "asymmetric":
        return rounding == "floor" or (rounding == "round_prefer_floor" and factor == 2)
    return where in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")


def repeat_kernel(
    planes: int, height: int, width: int, down: int, across: int, block: int
) -> str:
    """C that repeats each pixel of ``block`` floats ``down`` times ``across`` times."""
    row = across * width * block
    lines = [
        f"for (int r = 0; r < {planes * height}; r++, x += {width * block}, y += {down * row}) {{",
        f"    for (int p = 0; p < {width}; p++)",
        f"        for (int k = 0; k < {across}; k++)",
        f"            memcpy(y + (p * {across} + k) * {block}, x + p * {block}, {4 * block});",
        f"    for (int k = 1; k < {down}; k++)",
        f"        memcpy(y + k * {row}, y, {4 * row});",
        "}",
    ]
    body = "\n".join("    " + line for line in lines)
    return f"static void {NAME}(const float *x, float *y)\n{{\n{body}\n}}"
