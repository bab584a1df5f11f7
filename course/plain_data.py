"""Results as bytes and back: plain data only, nothing that could run.

What an exercise returns crosses a pipe from a process that is not trusted. So there is no pickle:
a JSON tree says what is where, and the bytes of arrays follow it::

    | length of the tree, 4 bytes | tree | array | array | ...

The reader believes nothing: sizes, depths, dtypes and counts are checked before anything is
built. The writer takes exact types only, since a subclass can lie about what it is.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DTYPES = frozenset(
    ["bool", "complex64", "complex128", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
MAX_DEPTH = 64
MAX_NODES = 1 << 18
MAX_TREE = 8 << 20  # bytes of the tree: as text, before it becomes a hundred times as much
MAX_BYTES = 256 << 20
MAX_DIGITS = 400  # of an integer


class NotPlainError(Exception):
    """A value that is no plain data; the text says what and where."""


class Record(NamedTuple):
    """A named tuple or dataclass on the other side of the pipe: its name and its fields."""

    name: str
    fields: dict[str, Any]


def encode(value: Any) -> bytes:
    """Bytes for None, bool, int, float, str, bytes, list, tuple, dict with str keys, NumPy arrays
    and scalars, named tuples and dataclasses. Raises NotPlainError for anything else."""
    writer = _Writer()
    tree = writer.tree(value, "", 0)
    text = json.dumps(tree, separators=(",", ":"), allow_nan=True).encode()
    if len(text) > MAX_TREE or len(text) + writer.size > MAX_BYTES:
        raise NotPlainError(f"the result is larger than {MAX_BYTES >> 20} MB or of too many parts")
    return b"".join([len(text).to_bytes(4, "little"), text, *writer.blobs])


class _Writer:
    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self.size = 0
        self.nodes = 0

    def tree(self, value: Any, where: str, depth: int) -> Any:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise NotPlainError(f"{where or 'the result'} is nested more than {MAX_DEPTH} deep")
        if self.nodes > MAX_NODES:
            raise NotPlainError(f"the result has more than {MAX_NODES} parts")
        kind = type(value)
        if value is None or kind in (bool, float, str):
            return value
        if kind is int:
            if value.bit_length() > 3 * MAX_DIGITS:
                raise NotPlainError(f"{where or 'the result'} is an integer of "
                                    f"{value.bit_length()} bits")
            return value
        if kind is bytes:
            return ["b", self._blob(value)]
        if kind is np.ndarray:
            return self._array(value, where)
        if isinstance(value, np.generic) and kind.__module__ == "numpy":
            return ["s", *self._array(np.asarray(value), where)[1:]]
        if kind in (list, tuple):
            items = [self.tree(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
            return ["l" if kind is list else "t", items]
        if kind is dict:
            return ["d", self._items(value, where, depth)]
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            fields = dict(zip(kind._fields, tuple.__iter__(value), strict=True))
            return ["r", kind.__name__, self._items(fields, where, depth)]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return ["r", kind.__name__, self._items(fields, where, depth)]
        if issubclass(kind, str) and hasattr(kind, "__members__"):  # a StrEnum is its text
            return str.__str__(value)
        raise NotPlainError(f"{where or 'the result'} is {_article(kind)}, not plain data")

    def _items(self, fields: Mapping[Any, Any], where: str, depth: int) -> list[Any]:
        for key in fields:
            if type(key) is not str:
                raise NotPlainError(f"{where or 'the result'} has the key {key!r:.40}: keys are "
                                    "texts here")
        return [[k, self.tree(v, f"{where}.{k}" if where else k, depth + 1)]
                for k, v in fields.items()]

    def _array(self, array: NDArray[Any], where: str) -> list[Any]:
        name = array.dtype.name
        if name not in DTYPES:
            raise NotPlainError(f"{where or 'the result'} is an array of {array.dtype}, which is "
                                "not plain data")
        native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        return ["a", name, list(array.shape), self._blob(native.tobytes())]

    def _blob(self, data: bytes) -> int:
        self.size += len(data)
        if self.size > MAX_BYTES:
            raise NotPlainError(f"the result has more than {MAX_BYTES >> 20} MB")
        self.blobs.append(data)
        return len(data)


def _article(kind: type) -> str:
    return f"{'an' if kind.__name__[:1].lower() in 'aeiou' else 'a'} {kind.__name__[:60]}"


def decode(data: bytes) -> Any:
    """The value in bytes that nobody vouches for. Raises NotPlainError where they are no result.

    Named tuples and dataclasses become :class:`Record`.
    """
    length = int.from_bytes(data[:4], "little")
    if len(data) < 4 or length > min(len(data) - 4, MAX_TREE) or len(data) > MAX_BYTES + 4:
        raise NotPlainError("a result of impossible length")
    try:
        tree = json.loads(data[4 : 4 + length].decode("utf-8"))
        reader = _Reader(data, 4 + length)
        value = reader.value(tree, 0)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise NotPlainError(f"a result that cannot be read ({type(error).__name__})") from error
    if reader.position != len(data):
        raise NotPlainError("a result with something left over")
    return value


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position, self.nodes = data, position, 0

    def value(self, tree: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise NotPlainError("a result that is nested too deep or too large")
        if tree is None or type(tree) in (bool, int, float, str):
            return tree
        tag, *rest = tree
        match tag, rest:
            case "b", [size]:
                return self._take(size)
            case "a", [name, shape, size]:
                return self._array(name, shape, size)
            case "s", [name, [], size]:
                return self._array(name, [], size)[()]
            case "l", [items]:
                return [self.value(item, depth + 1) for item in items]
            case "t", [items]:
                return tuple(self.value(item, depth + 1) for item in items)
            case "d", [items]:
                return {str(k): self.value(v, depth + 1) for k, v in items}
            case "r", [name, items]:
                fields = {str(k): self.value(v, depth + 1) for k, v in items}
                return Record(str(name)[:80], fields)
        raise NotPlainError("a result with an unknown part")

    def _take(self, size: Any) -> bytes:
        if type(size) is not int or not 0 <= size <= len(self.data) - self.position:
            raise NotPlainError("a result with an array beyond its end")
        start, self.position = self.position, self.position + size
        return self.data[start : self.position]

    def _array(self, name: Any, shape: Any, size: Any) -> NDArray[Any]:
        sizes_fit = isinstance(shape, list) and len(shape) <= 32 and all(
            type(n) is int and 0 <= n < 1 << 40 for n in shape
        )
        if name not in DTYPES or not sizes_fit:
            raise NotPlainError("a result with an impossible array")
        dtype = np.dtype(name)
        if math.prod(shape) * dtype.itemsize != size:
            raise NotPlainError("a result with an array of another size than it says")
        return np.frombuffer(self._take(size), dtype).reshape(shape).copy()
