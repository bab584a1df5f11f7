"""Layers as a tree of their names, and the tree as a flame-like picture (an icicle).

Names such as ``layer1.0.conv1`` or ``/layer1/layer1.0/conv1/Conv`` say where a layer belongs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from solutions.phase1_basics.layers import Layer


@dataclass
class Frame:
    """A part of the network: its own time and its parts."""

    name: str
    own: float = 0.0  # seconds
    parts: dict[str, "Frame"] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Own time and that of all parts."""
        return self.own + sum(part.seconds for part in self.parts.values())


class Box(NamedTuple):
    """A rectangle of the picture: x and width in seconds, depth in rows."""

    name: str
    path: str
    x: float
    width: float
    depth: int


def name_parts(name: str) -> list[str]:
    """The places within the network that a layer's name tells of, outermost first."""
    if "/" in name:
        return [part for part in name.split("/") if part]
    return [part for part in re.split(r"\.", name) if part]


def call_tree(layers: Sequence[Layer]) -> Frame:
    """The tree of the layers' names; equal names are summed."""
    root = Frame("model")
    for layer in layers:
        frame = root
        for part in name_parts(layer.name) if layer.name != "(model)" else []:
            frame = frame.parts.setdefault(part, Frame(part))
        frame.own += layer.seconds
    return root


def icicle(root: Frame, smallest: float = 0.0) -> list[Box]:
    """The boxes of a tree, each below the one that it is part of, in the network's order.

    Boxes narrower than ``smallest`` seconds are left out with all their parts; own time is the
    gap at the right of a box's parts.
    """
    boxes: list[Box] = []

    def lay(frame: Frame, path: str, x: float, depth: int) -> None:
        if frame.seconds < smallest:
            return
        boxes.append(Box(frame.name, path, x, frame.seconds, depth))
        for part in frame.parts.values():
            lay(part, f"{path}.{part.name}" if path else part.name, x, depth + 1)
            x += part.seconds

    lay(root, "", 0.0, 0)
    return boxes
