"""GGUF: a header of counted things, each count held against the file.

Layout (github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3)::

    "GGUF" version | number of tensors, of key-value pairs | pairs | tensor infos | pad | data
"""

import math
from typing import NamedTuple

from solutions.phase1_basics.file_bytes import FileBytes
from zoo.errors import InferenceError

PAIR_LIMIT, TENSOR_LIMIT, ARRAY_LIMIT = 65_536, 1_000_000, 4_000_000
NAME_LIMIT, DIMENSION_LIMIT, DEPTH_LIMIT = 65_535, 4, 4
STRING, ARRAY = 8, 9
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# ggml type -> elements in a block, bytes of a block (ggml-common.h)
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4),
    27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}


class GgufTensor(NamedTuple):
    """One tensor: its name, and its bytes [start, end) counted from the start of the data."""

    name: str
    start: int
    end: int


def check_gguf(file: FileBytes) -> list[GgufTensor]:
    """The tensors of a GGUF file, once every count, offset and length fits into it.

    Raises InferenceError for an unknown version, an impossible count, a string, array or tensor
    beyond the file, an unknown type, tensors that overlap, twice the same name.
    """
    version = file.integer(4, 4, "version")
    if version not in (2, 3):
        raise InferenceError(f"model {file.path}: GGUF version {version}, known are 2 and 3")
    tensors = file.integer(8, 8, "number of tensors")
    pairs = file.integer(16, 8, "number of key-value pairs")
    if tensors > TENSOR_LIMIT or pairs > PAIR_LIMIT:
        raise InferenceError(f"model {file.path}: {tensors} tensors and {pairs} pairs in a header")
    cursor = _Cursor(file, 24)
    alignment, keys = 32, set()
    for _ in range(pairs):
        key = cursor.text("key")
        kind = cursor.integer(4, f"type of {key!r}")
        position = cursor.position
        cursor.skip_value(kind, f"value of {key!r}")
        if key in keys:
            raise InferenceError(f"model {file.path}: the key {key!r} appears twice")
        keys.add(key)
        if key == "general.alignment" and kind == 4:
            alignment = file.integer(position, 4, "alignment")
    if not 8 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise InferenceError(f"model {file.path}: alignment of {alignment} bytes")
    infos = [_tensor(cursor, alignment) for _ in range(tensors)]
    data = -(-cursor.position // alignment) * alignment
    _check_tensors(file, infos, data)
    return infos


class _Cursor:
    """A position that moves on with every read."""

    def __init__(self, file: FileBytes, position: int) -> None:
        self.file, self.position = file, position
        self._left = ARRAY_LIMIT

    def integer(self, length: int, what: str) -> int:
        value = self.file.integer(self.position, length, what)
        self.position += length
        return value

    def text(self, what: str) -> str:
        length = self.integer(8, f"length of a {what}")
        if length > NAME_LIMIT:
            raise InferenceError(f"model {self.file.path}: a {what} of {length} bytes")
        raw = self.file.read(self.position, length, what)
        self.position += length
        return raw.decode("utf-8", errors="replace")

    def skip_value(self, kind: int, what: str, depth: int = 0) -> None:
        """Move past one value, in time that does not depend on what it claims to hold."""
        if kind == STRING:
            self._skip(self.integer(8, what), what)
        elif kind == ARRAY and depth < DEPTH_LIMIT:
            inner = self.integer(4, what)
            count = self.integer(8, what)
            if inner in SCALAR_BYTES:
                self._skip(count * SCALAR_BYTES[inner], what)
                return
            self._left -= count
            if self._left < 0:
                raise InferenceError(f"model {self.file.path}: {what} has {count} elements")
            for _ in range(count):
                self.skip_value(inner, what, depth + 1)
        elif kind in SCALAR_BYTES:
            self._skip(SCALAR_BYTES[kind], what)
        else:
            raise InferenceError(f"model {self.file.path}: {what} has the unknown type {kind}")

    def _skip(self, length: int, what: str) -> None:
        self.file.require(self.position, length, what)
        self.position += length


def _tensor(cursor: _Cursor, alignment: int) -> GgufTensor:
    name = cursor.text("tensor name")
    where = f"model {cursor.file.path}: tensor {name[:100]!r}"
    dimensions = cursor.integer(4, "number of dimensions")
    if dimensions > DIMENSION_LIMIT:
        raise InferenceError(f"{where} has {dimensions} dimensions")
    shape = [cursor.integer(8, f"shape of {name[:100]!r}") for _ in range(dimensions)]
    kind = cursor.integer(4, f"type of {name[:100]!r}")
    offset = cursor.integer(8, f"offset of {name[:100]!r}")
    if kind not in BLOCKS:
        raise InferenceError(f"{where} has the unknown type {kind}")
    elements, size = BLOCKS[kind]
    count = math.prod(shape)
    if (shape and shape[0] % elements) or offset % alignment:
        raise InferenceError(f"{where} of shape {shape} at byte {offset} does not fill its blocks")
    return GgufTensor(name, offset, offset + count // elements * size)


def _check_tensors(file: FileBytes, infos: list[GgufTensor], data: int) -> None:
    reached = 0
    for tensor in sorted(infos, key=lambda each: (each.start, each.end)):
        what = f"tensor {tensor.name[:100]!r}"
        file.require(data + tensor.start, tensor.end - tensor.start, what)
        if tensor.start < reached and tensor.end > tensor.start:
            raise InferenceError(f"model {file.path}: {what} overlaps another")
        reached = max(reached, tensor.end)
    if len({tensor.name for tensor in infos}) != len(infos):
        raise InferenceError(f"model {file.path}: two tensors of the same name")
