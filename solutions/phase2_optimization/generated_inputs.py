"""Inputs for a model that nobody gave data for: drawn from the element types and shapes alone.

An axis of free size has the same size wherever its symbol occurs. Which sizes a network can take
is not written in it, so there are several proposals, to be tried in turn: a batch of 2 shows more
faults than a batch of 1, but not every graph can take it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from solutions.phase2_optimization.graph_types import Shape, tensor_type
from solutions.phase2_optimization.onnx_protobuf import Array, Model
from zoo.errors import InferenceError

Feeds = dict[str, Array]


class FreeSizes(NamedTuple):
    """What axes of free size become."""

    batch: int  # first axes
    side: int  # rows and columns of pictures: axes behind the second of a tensor of rank 4 or 5
    other: int


PROPOSALS = (
    FreeSizes(2, 64, 8), FreeSizes(1, 64, 8), FreeSizes(1, 224, 16), FreeSizes(1, 1, 1),
    FreeSizes(4, 4, 4), FreeSizes(1, 32, 128),
)


def proposed_inputs(model: Model, seed: int = 0) -> Iterator[Feeds]:
    """Feeds for each proposal of free sizes, those that are equal given once."""
    seen = set()
    for sizes in PROPOSALS:
        feeds = generated_inputs(model, np.random.default_rng(seed), sizes)
        shapes = tuple(values.shape for values in feeds.values())
        if shapes not in seen:
            seen.add(shapes)
            yield feeds


def generated_inputs(
    model: Model, rng: np.random.Generator, sizes: FreeSizes = PROPOSALS[0]
) -> Feeds:
    """An array for every input that has no default: floats are standard normal, integers 0 or 1.

    Raises InferenceError for an input that is no tensor, or whose shape is not told at all.
    """
    defaults = {tensor.name for tensor in model.graph.initializer}
    symbols: dict[str, int] = {}
    feeds = {}
    for value in model.graph.input:
        if value.name in defaults:
            continue
        kind = tensor_type(value)
        if kind is None:
            raise InferenceError(f"input {value.name!r} is no tensor: it cannot be fed")
        shape = resolved(kind.shape or (), sizes, symbols)
        feeds[value.name] = _drawn(rng, kind.dtype, shape)
    return feeds


def resolved(shape: Shape, sizes: FreeSizes, symbols: dict[str, int]) -> tuple[int, ...]:
    """A shape without free axes; ``symbols`` remembers what each symbol became."""
    found = []
    for axis, dim in enumerate(shape):
        if isinstance(dim, int):
            found.append(dim)
            continue
        picture = len(shape) in (4, 5) and axis > 1
        size = sizes.batch if axis == 0 else sizes.side if picture else sizes.other
        found.append(symbols.setdefault(dim, size) if dim else size)
    return tuple(found)


def _drawn(rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    if dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "OSU":
        return np.full(shape, "a", object)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)
