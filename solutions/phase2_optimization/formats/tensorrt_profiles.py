"""Optimization profiles: the range of input shapes that a TensorRT engine is built for.

TensorRT picks kernels for one shape ("opt") and guarantees a range (min..max). A wide range costs
speed at its ends, so batch sizes far apart get profiles of their own::

    sizes 1 8 32:   profile 0: min 1, opt 1, max 1      profile 1: min 2, opt 32, max 32
"""

from collections.abc import Sequence
from dataclasses import dataclass

from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase2_optimization.formats.compiled import Batch
from zoo.errors import InferenceError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeRange:
    """The shapes that one input may have, and the one to be fastest at."""

    name: str
    minimum: Shape
    best: Shape
    maximum: Shape

    def __post_init__(self) -> None:
        shapes = self.minimum, self.best, self.maximum
        assert len({len(shape) for shape in shapes}) == 1, shapes
        assert all(0 < a <= b <= c for a, b, c in zip(*shapes, strict=True)), shapes

    def takes(self, shape: Shape) -> bool:
        """Whether an input of that shape may be given."""
        return len(shape) == len(self.minimum) and all(
            low <= size <= high
            for low, size, high in zip(self.minimum, shape, self.maximum, strict=True)
        )


Profile = tuple[ShapeRange, ...]  # one range per input, in the order of the inputs


def batch_profiles(
    inputs: Sequence[TensorSpec], example: Batch, sizes: Sequence[int]
) -> tuple[Profile, ...]:
    """Profiles for these batch sizes: one for 1 alone (latency), one for the rest (throughput).

    Axis 0 is the batch; other free axes take the example's size. Raises InferenceError where a
    network with a fixed batch is to run with another one.
    """
    for spec in inputs:
        fixed = spec.shape[0] if spec.shape else 1
        if fixed is not None and set(sizes) != {fixed}:
            raise InferenceError(f"input {spec} takes batches of {fixed} alone, not {list(sizes)}")
    large = sorted({size for size in sizes if size > 1})
    groups = ([(1, 1, 1)] if 1 in sizes else []) + (
        [(min(2, large[0]) if 1 in sizes else large[0], large[-1], large[-1])] if large else [])
    return tuple(
        tuple(_range(spec, array.shape, group)
              for spec, array in zip(inputs, example, strict=True))
        for group in groups
    )


def choose_profile(profiles: Sequence[Profile], shapes: Sequence[Shape]) -> int:
    """The first profile that takes these input shapes; profiles are in order of preference.

    Raises InferenceError with the ranges where there is none.
    """
    for number, profile in enumerate(profiles):
        if len(profile) == len(shapes) and all(
            each.takes(shape) for each, shape in zip(profile, shapes, strict=True)
        ):
            return number
    known = "; ".join(
        f"{each.name} {list(each.minimum)} to {list(each.maximum)}"
        for profile in profiles for each in profile
    )
    raise InferenceError(f"inputs of {[list(shape) for shape in shapes]}: the engine was built "
                         f"for {known}")


def _range(spec: TensorSpec, example: Shape, group: tuple[int, int, int]) -> ShapeRange:
    rest = tuple(
        given if size is None else size
        for size, given in zip(spec.shape[1:], example[1:], strict=True)
    )
    if not spec.shape:
        return ShapeRange(spec.name, (), (), ())
    low, best, high = ((size, *rest) for size in group)
    return ShapeRange(spec.name, low, best, high)
