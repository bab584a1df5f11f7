"""Channels in blocks: the layout in which one vector register holds neighbouring channels.

The problem: in NCHW a pixel's channels lie a whole plane apart, so that a convolution must gather
them. The idea (NCHWc): channels are cut into blocks as wide as a vector register, and a block
keeps the channels of a pixel together:

    plain    c0: p0 p1 p2 ...   c1: p0 p1 p2 ...
    blocked  p0: c0..c15   p1: c0..c15   ...          then c16..c31 in the same way

One load then fetches a pixel's block, and multiplying a row of weights with one input value gives
a block of output channels at once. A last block of few channels is only half as wide.

Source: Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD
Architectures", arXiv:1808.05567, section II-A; Liu et al. (NeoCPU), arXiv:1809.02697, section 3.1.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Block(NamedTuple):
    """Neighbouring channels that share a vector."""

    start: int  # first channel
    channels: int  # that there are
    width: int  # floats that they take: a vector's, or half


@dataclass(frozen=True)
class Blocks:
    """How ``channels`` are cut for vectors of ``lanes`` floats."""

    channels: int
    lanes: int

    @property
    def parts(self) -> list[Block]:
        """The blocks in order: full ones, then one of what is left."""
        found = []
        for start in range(0, self.channels, self.lanes):
            count = min(self.lanes, self.channels - start)
            width = self.lanes // 2 if 2 * count <= self.lanes else self.lanes
            found.append(Block(start, count, width))
        return found

    @property
    def width(self) -> int:
        """Floats per pixel, filling included."""
        return sum(block.width for block in self.parts)

    def position(self, channel: int, pixels: int) -> int:
        """Where in an image of ``pixels`` a channel's first pixel lies, in floats."""
        start = channel // self.lanes * self.lanes
        return start * pixels + channel - start

    def pixel_step(self, channel: int) -> int:
        """Floats from one pixel of a channel to the next."""
        return self.parts[channel // self.lanes].width


def pack(image: NDArray[Any], lanes: int) -> Floats:
    """Channels first [c, ...] to blocks, flat; the filling is 0."""
    flat = np.ascontiguousarray(image, np.float32).reshape(len(image), -1)
    parts = []
    for block in Blocks(len(image), lanes).parts:
        part = np.zeros((flat.shape[1], block.width), np.float32)
        part[:, : block.channels] = flat[block.start : block.start + block.channels].T
        parts.append(part.ravel())
    return np.concatenate(parts)
