"""The constants of a graph: arrays by name, decoded when somebody looks.

Most weights of a network pass through an optimizer unseen. They stay as they were stored (bytes,
element type, place in a file of external data) until their values are asked for, and are written
back untouched.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from solutions.phase2_optimization.onnx_protobuf import Array, Tensor, require_onnx
from zoo.errors import InferenceError

EXTERNAL = 1  # TensorProto.DataLocation
FLOAT = 1  # TensorProto.DataType


class Constants(MutableMapping[str, Array]):
    """Arrays by name; ``folder`` is where files of external data lie.

    An array that is given out is not to be changed in place: put a new one under its name.
    """

    def __init__(self, tensors: Iterable[Tensor] = (), folder: Path | None = None) -> None:
        self._tensors: dict[str, Tensor] = {tensor.name: tensor for tensor in tensors}
        self._arrays: dict[str, Array | None] = dict.fromkeys(self._tensors)
        self.folder = folder

    def __getitem__(self, name: str) -> Array:
        """The values. Raises InferenceError where they lie in a file that cannot be read."""
        values = self._arrays[name]
        if values is None:
            values = _decoded(self._tensors[name], self.folder)
            values.flags.writeable = False
            self._arrays[name] = values
        return values

    def __setitem__(self, name: str, values: Array) -> None:
        self._tensors.pop(name, None)
        self._arrays[name] = values

    def __delitem__(self, name: str) -> None:
        del self._arrays[name]
        self._tensors.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def copy(self) -> "Constants":
        """Another mapping of the same arrays."""
        other = Constants(folder=self.folder)
        other._tensors, other._arrays = dict(self._tensors), dict(self._arrays)
        return other

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape, without decoding."""
        tensor = self._tensors.get(name)
        return self[name].shape if tensor is None else tuple(tensor.dims)

    def dtype_of(self, name: str) -> np.dtype[Any]:
        """The element type, without decoding."""
        tensor = self._tensors.get(name)
        if tensor is None:
            return self[name].dtype
        kind: np.dtype[Any] = require_onnx().helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return kind

    def bytes_of(self, name: str) -> int:
        """The size in bytes, without decoding."""
        return prod(self.shape_of(name)) * self.dtype_of(name).itemsize

    def peek(self, name: str) -> Array:
        """The values, without keeping them decoded."""
        values = self._arrays[name]
        return _decoded(self._tensors[name], self.folder) if values is None else values

    def stored(self, name: str) -> Tensor:
        """The constant as ONNX writes it: as it was read, if nobody replaced it."""
        tensor = self._tensors.get(name)
        if tensor is None:
            values = self._arrays[name]
            assert values is not None
            return require_onnx().numpy_helper.from_array(np.asarray(values), name)
        return tensor

    def embedded(self, name: str) -> Tensor:
        """The constant as ONNX writes it, values inside."""
        tensor = self.stored(name)
        if tensor.data_location != EXTERNAL:
            return tensor
        return require_onnx().numpy_helper.from_array(self[name], name)

    def is_external(self, name: str) -> bool:
        """Whether the values lie in a file of their own."""
        tensor = self._tensors.get(name)
        return tensor is not None and tensor.data_location == EXTERNAL


def _decoded(tensor: Tensor, folder: Path | None) -> Array:
    onnx = require_onnx()
    try:
        if tensor.data_type == FLOAT and tensor.HasField("raw_data"):  # the usual: one copy less
            return np.frombuffer(tensor.raw_data, "<f4").reshape(tuple(tensor.dims))
        return np.asarray(onnx.numpy_helper.to_array(tensor, base_dir=str(folder or "")))
    except Exception as error:  # onnx's own, and the file system's
        place = "its external data" if tensor.data_location == EXTERNAL else "its bytes"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InferenceError(f"weight {tensor.name!r}: {place} cannot be read: {reason}") from error
