"""Kernels that only move numbers: slices, transposes, parts of concatenations, changes of layout.

All are one loop nest over a box, with steps of its own for reading and for writing.
"""

from collections.abc import Sequence
from typing import NamedTuple

from solutions.phase2_optimization.c_backend.blocks import Blocks
from solutions.phase2_optimization.c_backend.program import NAME


class Axis(NamedTuple):
    """A loop: how often, and how many floats on reading and writing go on each time."""

    turns: int
    read: int
    write: int


class Box(NamedTuple):
    """A loop nest, outermost first, from two starts in floats."""

    axes: tuple[Axis, ...]
    read: int = 0
    write: int = 0


def contiguous(shape: Sequence[int]) -> list[int]:
    """The steps of a plain tensor's dimensions."""
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    return steps[::-1]


def joined(axes: Sequence[Axis]) -> list[Axis]:
    """The same box with fewer loops: those of one turn left out, those that run on joined."""
    found: list[Axis] = []
    for axis in axes:
        if axis.turns == 1:
            continue
        outer = found[-1] if found else None
        if outer is not None and (outer.read, outer.write) == (
            axis.turns * axis.read, axis.turns * axis.write
        ):
            found[-1] = Axis(outer.turns * axis.turns, axis.read, axis.write)
        else:
            found.append(axis)
    return found


def copy_kernel(box: Box) -> str:
    """C that copies a box from ``x`` to ``y``; the starts are the caller's."""
    axes = joined(box.axes)
    lines = [f"static void {NAME}(const float *x, float *y)", "{"]
    whole = axes[-1].turns if axes and axes[-1][1:] == (1, 1) else 0
    loops = axes[:-1] if whole else axes
    for depth, axis in enumerate(loops):
        i = "ijklmnop"[depth]
        lines.append("    " * (depth + 1) + f"for (int {i} = 0; {i} < {axis.turns}; {i}++)")
    read = _index([axis.read for axis in loops])
    write = _index([axis.write for axis in loops])
    if whole:
        body = f"memcpy(y{write and ' + ' + write}, x{read and ' + ' + read}, {4 * whole});"
    else:
        body = f"y[{write or 0}] = x[{read or 0}];"
    return "\n".join([*lines, "    " * (len(loops) + 1) + body, "}"])


def _index(steps: Sequence[int]) -> str:
    terms = [
        "ijklmnop"[depth] if step == 1 else f"{'ijklmnop'[depth]} * {step}"
        for depth, step in enumerate(steps) if step
    ]
    return " + ".join(terms)


def from_blocks(channels: int, pixels: int, lanes: int) -> list[Box]:
    """The boxes that turn a blocked image into a plain one."""
    return _boxes(channels, pixels, lanes)


def to_blocks(channels: int, pixels: int, lanes: int) -> list[Box]:
    """The boxes that turn a plain image into a blocked one; the filling is left as it is."""
    return [
        Box(tuple(Axis(a.turns, a.write, a.read) for a in box.axes), box.write, box.read)
        for box in _boxes(channels, pixels, lanes)
    ]


def _boxes(channels: int, pixels: int, lanes: int) -> list[Box]:
    parts = Blocks(channels, lanes).parts
    full = channels // lanes
    found = []
    if full:
        step = lanes * pixels
        found.append(Box((Axis(full, step, step), Axis(lanes, 1, pixels),
                          Axis(pixels, lanes, 1))))
    for block in parts[full:]:
        start = block.start * pixels
        found.append(Box((Axis(block.channels, 1, pixels), Axis(pixels, block.width, 1)),
                         start, start))
    return found
