"""What is handed to a TensorRT engine: arrays of the right type, contiguous, in a known shape.

TensorRT gets bare addresses. A wrong type or a view with strides would be read as other numbers,
without an error; so everything is checked before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from solutions.phase1_basics.tensor_spec import TensorSpec, check_batch
from solutions.phase2_optimization.formats.compiled import Array, Batch
from solutions.phase2_optimization.formats.tensorrt_profiles import Profile, choose_profile
from zoo.errors import InferenceError


class Prepared(NamedTuple):
    """Inputs ready for an engine."""

    arrays: tuple[Array, ...]  # contiguous
    profile: int


def prepare_inputs(
    batch: Batch, inputs: Sequence[TensorSpec], profiles: Sequence[Profile]
) -> Prepared:
    """Check and arrange a batch. Raises InferenceError for what the engine cannot take."""
    if len(batch) != len(inputs):
        raise InferenceError(f"{len(batch)} inputs given, the engine takes {len(inputs)}")
    fitting = tuple(
        np.ascontiguousarray(check_batch(array, spec))
        for array, spec in zip(batch, inputs, strict=True)
    )
    return Prepared(fitting, choose_profile(profiles, [array.shape for array in fitting]))
