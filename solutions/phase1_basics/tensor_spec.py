"""What goes into a network and what comes out: names, shapes, dtypes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape (None: any size) and dtype of a network's input or output."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype. Raises InferenceError for one that NumPy lacks (strings, sequences)."""
        try:
            return np.dtype(self.dtype)
        except TypeError as error:
            raise InferenceError(f"{self}: arrays cannot hold {self.dtype}") from error

    def __str__(self) -> str:
        sizes = " x ".join("?" if size is None else str(size) for size in self.shape)
        return f"{printable(self.name)}: {self.dtype} [{sizes}]"


def printable(text: str, limit: int = 500) -> str:
    """A text out of a file that is not trusted, fit for a terminal: one line, nothing hidden."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:limit])


def check_batch(batch: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """The batch, ready for an input of that spec: float64 becomes float32, int64 int32.

    Raises InferenceError where a size differs, or where the dtype is of another kind: bytes for
    a network that takes floats are pixels that nobody normalised.
    """
    wanted = spec.shape
    if batch.ndim != len(wanted) or any(
        size is not None and size != given for size, given in zip(wanted, batch.shape, strict=True)
    ):
        raise InferenceError(f"input of shape {list(batch.shape)} does not fit {spec}")
    if batch.dtype.name == spec.dtype:
        return batch
    kind = spec.numpy_dtype.kind
    if batch.dtype.kind != kind:
        raise InferenceError(
            f"input of dtype {batch.dtype} does not fit {spec}: convert it"
            + (" (normalise makes floats of pixels)" if kind == "f" else "")
        )
    return batch.astype(spec.dtype)
