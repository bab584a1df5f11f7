"""TFLite: a FlatBuffer, in which everything is an offset.

The reader follows offsets without asking, so a file with a wrong one reads memory that is not its
own. Here each offset, vector and index is followed with the file's size in hand. A table starts
with the distance back to its vtable, and the vtable says where each field stands, or that it is
left out (0)::

    vtable: | own size | table size | field 0 | field 1 | ...      uint16 each
    table:  | int32 to vtable | inline fields ... |                offsets are uint32, forwards

Sources: FlatBuffers, "Internals"; TensorFlow, ``schema.fbs`` version 3, whose field numbers these
are.
"""

import math
from typing import NamedTuple

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from zoo.errors import InferenceError

ELEMENT_LIMIT = 4_000_000  # tables and vector elements that one file may make us look at
CUSTOM = 32  # BuiltinOperator.CUSTOM
HARMLESS_CUSTOM = {"TFLite_Detection_PostProcess"}  # built into the runtime
SUBGRAPH_CALLS = {118: (0, 1), 119: (0, 1), 129: (0,)}  # IF, WHILE, CALL_ONCE: option fields
# TensorType -> bits of one element (STRING, RESOURCE and VARIANT have no fixed size)
TYPE_BITS = {0: 32, 1: 16, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 8: 64, 9: 8, 10: 64, 11: 128, 12: 64,
             15: 32, 16: 16, 17: 4, 18: 16, 19: 2}


class Vector(NamedTuple):
    """A vector in the file: where its elements start and how many there are."""

    start: int
    length: int


class FlatTable(NamedTuple):
    """A table: where it stands, and where each of its fields does (0: left out)."""

    position: int
    fields: tuple[int, ...]

    def place(self, index: int) -> int:
        """The position of a field in the file; 0 where it is left out."""
        offset = self.fields[index] if index < len(self.fields) else 0
        return self.position + offset if offset else 0


class FlatBuffer:
    """Tables and vectors of a FlatBuffer, every one of them inside the file."""

    def __init__(self, file: FileBytes) -> None:
        self.file = file
        self._left = ELEMENT_LIMIT

    def table(self, position: int, what: str) -> FlatTable:
        """The table at a position. Raises InferenceError where it leaves the file."""
        self._spend(1, what)
        vtable = position - self.file.integer(position, 4, what, signed=True)
        size = self.file.integer(vtable, 2, f"vtable of {what}")
        length = self.file.integer(vtable + 2, 2, f"vtable of {what}")
        if size < 4 or size % 2 or length < 4:
            raise InferenceError(f"model {self.file.path}: {what} has a damaged vtable")
        raw = self.file.read(vtable, size, f"vtable of {what}")
        self.file.require(position, length, what)
        fields = tuple(
            int.from_bytes(raw[at : at + 2], "little") for at in range(4, size, 2)
        )
        if any(offset >= length for offset in fields):
            raise InferenceError(f"model {self.file.path}: a field outside of {what}")
        return FlatTable(position, fields)

    def number(self, table: FlatTable, index: int, length: int, what: str, default: int = 0) -> int:
        """A field that is an integer."""
        place = table.place(index)
        return self.file.integer(place, length, what, signed=True) if place else default

    def follow(self, place: int, what: str) -> int:
        """Where the offset at ``place`` leads."""
        return place + self.file.integer(place, 4, what)

    def vector(self, table: FlatTable, index: int, width: int, what: str) -> Vector:
        """A field that is a vector of ``width``-byte elements; empty where it is left out."""
        place = table.place(index)
        if not place:
            return Vector(0, 0)
        start = self.follow(place, what)
        count = self.file.integer(start, 4, what)
        self.file.require(start + 4, count * width, what)
        return Vector(start + 4, count)

    def tables(self, table: FlatTable, index: int, what: str) -> list[FlatTable]:
        """A field that is a vector of tables."""
        start, count = self.vector(table, index, 4, what)
        self._spend(count, what)
        return [self.table(self.follow(start + 4 * each, what), what) for each in range(count)]

    def integers(self, table: FlatTable, index: int, what: str) -> list[int]:
        """A field that is a vector of int32."""
        start, count = self.vector(table, index, 4, what)
        self._spend(count, what)
        return [
            self.file.integer(start + 4 * each, 4, what, signed=True) for each in range(count)
        ]

    def text(self, table: FlatTable, index: int, what: str) -> str:
        """A field that is a string."""
        start, count = self.vector(table, index, 1, what)
        return self.file.read(start, min(count, 1000), what).decode("utf-8", errors="replace")

    def _spend(self, count: int, what: str) -> None:
        self._left -= count
        if self._left < 0:
            raise InferenceError(f"model {self.file.path}: more than {ELEMENT_LIMIT} {what}s")


def check_tflite(file: FileBytes, trust: bool = False) -> None:
    """Follow every offset and index of a TFLite model.

    Raises InferenceError for an offset, vector or index that leads out, tensors whose constants
    do not fit, subgraphs that call themselves; UnsafeModelError for custom operators, which run
    code that is not the runtime's (unless ``trust``).
    """
    buffer = FlatBuffer(file)
    root = buffer.table(buffer.follow(0, "the model"), "the model")
    if buffer.number(root, 0, 4, "version") != 3:
        raise InferenceError(f"model {file.path}: not version 3 of TFLite's schema")
    codes = [
        _operator_code(buffer, code, trust) for code in buffer.tables(root, 1, "operator code")
    ]
    sizes = [_buffer_size(buffer, each) for each in buffer.tables(root, 4, "buffer")]
    subgraphs = buffer.tables(root, 2, "subgraph")
    if not subgraphs:
        raise InferenceError(f"model {file.path}: no subgraph")
    calls = [
        _check_subgraph(buffer, subgraph, codes, sizes, len(subgraphs)) for subgraph in subgraphs
    ]
    _check_no_cycle(calls, file)
    for metadata in buffer.tables(root, 6, "metadata entry"):
        _require_index(file, buffer.number(metadata, 1, 4, "metadata"), len(sizes), "a buffer")


def _operator_code(buffer: FlatBuffer, table: FlatTable, trust: bool) -> int:
    old = buffer.number(table, 0, 1, "operator code")
    code = max(old, buffer.number(table, 3, 4, "operator code"))
    name = buffer.text(table, 1, "custom operator")
    if code == CUSTOM and name not in HARMLESS_CUSTOM and not trust:
        what = "runs TensorFlow's" if name.startswith("Flex") else "is not the runtime's own"
        raise UnsafeModelError(f"model {buffer.file.path}: the custom operator {name!r} {what}")
    return code


def _buffer_size(buffer: FlatBuffer, table: FlatTable) -> int:
    """Bytes of a constant: inline, or after the FlatBuffer at an offset (fields 1 and 2)."""
    inline = buffer.vector(table, 0, 1, "buffer").length
    offset = buffer.number(table, 1, 8, "buffer offset")
    size = buffer.number(table, 2, 8, "buffer size")
    if offset > 1:  # 0: none; 1: marks a file without data
        buffer.file.require(offset, size, "buffer")
        return size
    return inline


def _check_subgraph(
    buffer: FlatBuffer, table: FlatTable, codes: list[int], sizes: list[int], subgraphs: int
) -> set[int]:
    """One subgraph's indices; which other subgraphs it calls."""
    file = buffer.file
    tensors = buffer.tables(table, 0, "tensor")
    for tensor in tensors:
        _check_tensor(buffer, tensor, sizes)
    for index in buffer.integers(table, 1, "input") + buffer.integers(table, 2, "output"):
        _require_index(file, index, len(tensors), "a tensor")
    called: set[int] = set()
    for operator in buffer.tables(table, 3, "operator"):
        code = buffer.number(operator, 0, 4, "operator")
        _require_index(file, code, len(codes), "an operator code")
        for field in (1, 2, 8):  # inputs, outputs, intermediates
            for index in buffer.integers(operator, field, "operand"):
                if index != -1:
                    _require_index(file, index, len(tensors), "a tensor")
        if not operator.place(4):
            continue
        options = buffer.table(buffer.follow(operator.place(4), "options"), "options")
        for field in SUBGRAPH_CALLS.get(codes[code], ()):
            called.add(buffer.number(options, field, 4, "called subgraph"))
    for index in called:
        _require_index(file, index, subgraphs, "a subgraph")
    return called


def _check_tensor(buffer: FlatBuffer, tensor: FlatTable, sizes: list[int]) -> None:
    file = buffer.file
    name = buffer.text(tensor, 3, "tensor name")
    shape = buffer.integers(tensor, 0, "shape")
    bits = TYPE_BITS.get(buffer.number(tensor, 1, 1, "tensor type"))
    index = buffer.number(tensor, 2, 4, "tensor buffer")
    _require_index(file, index, len(sizes), "a buffer")
    if len(shape) > 16 or any(size < 0 for size in shape) or math.prod(shape) > 1 << 40:
        raise InferenceError(f"model {file.path}: tensor {name!r} has the shape {shape[:16]}")
    if tensor.place(4):
        _check_quantization(buffer, tensor, name, shape)
    needed = -(-math.prod(shape) * bits // 8) if bits is not None else 0
    sparse = tensor.place(6) != 0
    if sizes[index] and bits is not None and not sparse and sizes[index] != needed:
        raise InferenceError(
            f"model {file.path}: tensor {name!r} of shape {shape} needs {needed} bytes, its "
            f"buffer has {sizes[index]}"
        )


def _check_quantization(
    buffer: FlatBuffer, tensor: FlatTable, name: str, shape: list[int]
) -> None:
    """One scale and zero point for the tensor, or one for each slice along a dimension."""
    table = buffer.table(buffer.follow(tensor.place(4), "quantization"), "quantization")
    for field in (0, 1):  # min, max
        buffer.vector(table, field, 4, "quantization range")
    scales = buffer.vector(table, 2, 4, "scales").length
    zeros = buffer.vector(table, 3, 8, "zero points").length
    dimension = buffer.number(table, 6, 4, "quantized dimension")
    slices = shape[dimension] if 0 <= dimension < len(shape) else 1
    if scales not in (0, 1, slices) or zeros not in (0, 1, scales):
        raise InferenceError(
            f"model {buffer.file.path}: tensor {name!r} of shape {shape} has {scales} scales and "
            f"{zeros} zero points along dimension {dimension}"
        )


def _require_index(file: FileBytes, index: int, count: int, what: str) -> None:
    if not 0 <= index < count:
        raise InferenceError(f"model {file.path}: index {index} of {what}, there are {count}")


def _check_no_cycle(calls: list[set[int]], file: FileBytes) -> None:
    """Raise InferenceError where subgraphs call each other in a circle, which never ends."""
    open_: dict[int, set[int]] = {index: set(called) for index, called in enumerate(calls)}
    while open_:
        done = {index for index, called in open_.items() if not called}
        if not done:
            raise InferenceError(
                f"model {file.path}: the subgraphs {sorted(open_)[:9]} call each other in a circle"
            )
        open_ = {
            index: called - done for index, called in open_.items() if index not in done
        }
