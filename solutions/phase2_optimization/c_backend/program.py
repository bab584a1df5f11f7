"""What is lowered to C: values in memory, calls of kernels in order, constants.

A kernel is the text of one C function; equal texts become one function. A call gives it pointers.
A value lies in a buffer, perhaps behind an offset: a view of another value, or a part of one that
is concatenated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from solutions.phase2_optimization.c_backend.blocks import Blocks, Floats
from zoo.errors import InferenceError

FLOAT = 4  # bytes
LARGEST = 2**31 - 1  # floats of a buffer
NAME = "KERNEL"  # stands in a kernel's text for the function's name


@dataclass(frozen=True)
class Value:
    """A float32 tensor of the network while it runs."""

    buffer: str
    shape: tuple[int, ...]
    blocked: bool = False
    offset: int = 0  # floats from the buffer's start

    @property
    def batch(self) -> int:
        """The images that a kernel treats one by one."""
        return self.shape[0] if self.shape else 1

    @property
    def pixels(self) -> int:
        """Height times width, of a blocked value."""
        return prod(self.shape[2:])

    def image_floats(self, lanes: int) -> int:
        """Floats from one image to the next."""
        if self.blocked:
            return Blocks(self.shape[1], lanes).width * self.pixels
        return prod(self.shape[1:])

    def floats(self, lanes: int) -> int:
        """All its floats, filling included."""
        return self.batch * self.image_floats(lanes) if self.shape else 1


@dataclass(frozen=True)
class Pointer:
    """An argument of a call: floats in a buffer, and how far the next image is."""

    buffer: str
    offset: int = 0  # floats
    stride: int = 0  # floats per image of the batch; 0: the same for all


@dataclass(frozen=True)
class Call:
    """One run of a kernel, once for each image of the batch."""

    kernel: str  # C, with NAME for the function's name
    arguments: tuple[Pointer, ...]
    batch: int = 1


@dataclass(frozen=True)
class Stage:
    """The calls of one fused group of nodes: what memory planning counts as a step."""

    title: str  # for readers of the C file
    calls: tuple[Call, ...]
    reads: tuple[str, ...]  # buffers
    writes: tuple[str, ...]
    overwrites: tuple[str, ...] = ()  # read buffers that the written one may take the place of


@dataclass
class Program:
    """A network as stages over buffers; grows while it is lowered."""

    lanes: int
    stages: list[Stage] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)  # floats of each buffer
    weights: list[Floats] = field(default_factory=list)
    weight_floats: int = 0
    inputs: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)  # the caller's
    outputs: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    _known: dict[bytes, int] = field(default_factory=dict)

    def new_value(self, name: str, shape: Sequence[int], blocked: bool) -> Value:
        """A value with a buffer of its own."""
        value = Value(name, tuple(shape), blocked)
        self.sizes[name] = value.floats(self.lanes)
        if self.sizes[name] > LARGEST:
            raise InferenceError(f"{name!r} has the shape {value.shape}: too large for the C back "
                                 "end, which counts floats in 31 bits")
        return value

    def constant(self, values: Floats) -> Pointer:
        """A pointer to constants, which are stored once, each from a cache line's start."""
        flat = np.ascontiguousarray(values, np.float32).ravel()
        key = flat.tobytes()
        if key not in self._known:
            filled = np.zeros(-(-len(flat) // 16) * 16, np.float32)
            filled[: len(flat)] = flat
            self._known[key] = self.weight_floats
            self.weights.append(filled)
            self.weight_floats += len(filled)
        return Pointer("weights", self._known[key])

    def pointer(self, value: Value, offset: int = 0) -> Pointer:
        """A pointer to a value's first image, ``offset`` floats in."""
        return Pointer(value.buffer, value.offset + offset, value.image_floats(self.lanes))

    def whole(self, value: Value) -> Pointer:
        """A pointer for a kernel that treats all images at once."""
        return Pointer(value.buffer, value.offset)

    def add(
        self, title: str, calls: Sequence[Call], reads: Sequence[Value], write: Value,
        overwrites: Sequence[Value] = (),
    ) -> None:
        """Append a stage; ``overwrites`` are inputs read only where the output is written."""
        whole = [
            v for v in overwrites
            if v.offset == write.offset == 0
            and v.floats(self.lanes) == self.sizes.get(v.buffer)  # constants are in none
        ]
        self.stages.append(Stage(
            title, tuple(calls), tuple(dict.fromkeys(v.buffer for v in reads)), (write.buffer,),
            tuple(dict.fromkeys(v.buffer for v in whole)),
        ))

    def weight_bytes(self) -> bytes:
        """All constants, as the C code expects them."""
        return b"".join(part.tobytes() for part in self.weights)


def moved(value: Value, buffer: str, offset: int) -> Value:
    """The value as a part of another buffer."""
    return replace(value, buffer=buffer, offset=offset)
