"""An ONNX file, walked on the wire before a runtime sees it.

ONNX carries no code, but it may point elsewhere: a tensor's bytes may lie in another file
("external data"), named relative to the model. Such a name must stay in the model's folder, the
way a reader of the file would expect: no ``..``, no absolute path, no link out of it. Tensors
stand in more places than the list of weights: in attributes, in sparse tensors, in the graphs
inside ``If`` and ``Loop``, in functions. The field numbers below are those of ``onnx.proto``.
"""

import math
import os
import stat
from pathlib import Path
from typing import NamedTuple

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.protobuf_wire import LENGTH, Span, WireReader, signed
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from zoo.errors import InferenceError

SIZE_LIMIT = (1 << 31) - 1  # bytes that protocol buffers allow in one message
MEMORY_TAG = "_ORT_MEM_ADDR_"  # ONNX Runtime takes such an offset for an address in memory
DEPTH_LIMIT = 64  # messages within messages; a graph within a graph takes three
RUNS_CODE = {"PythonOp": "runs Python", "PythonOpGrad": "runs Python",
             "EPContext": "loads a program for an accelerator"}
# Message -> {field number: message inside it}
CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor",
                  23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
# TensorProto.DataType -> bits of one element in raw_data
TENSOR_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64,
               14: 64, 15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8,
               25: 2, 26: 2}


class ExternalData(NamedTuple):
    """Where a tensor's bytes lie outside the model file."""

    location: str
    offset: int
    length: int | None  # None: to the end of that file


def check_onnx(file: FileBytes, trust: bool = False) -> None:
    """Walk every message of an ONNX model that may hold a tensor or a node.

    Raises UnsafeModelError for external data outside the model's folder and for operators that
    run code (unless ``trust``); InferenceError for a damaged file, tensors whose sizes do not
    fit, messages nested too deeply, too many fields.
    """
    if file.size > SIZE_LIMIT:
        raise InferenceError(f"model {file.path}: {file.size} bytes, more than ONNX allows (2 GiB)")
    reader = WireReader(file)
    _walk(reader, "model", reader.whole(), trust, 0)


def check_external_data(model: Path, data: ExternalData, tensor: str) -> None:
    """Raise UnsafeModelError unless external data is a plain file beside the model.

    Beside means in the model's folder or below it, reached without a link, and with no second
    name elsewhere (a hard link). Raises InferenceError where the file is missing or shorter than
    the tensor needs.
    """
    where = f"model {model}: tensor {tensor[:100]!r} takes its data from {data.location[:200]!r}"
    parts = Path(data.location).parts
    if not parts or ".." in parts or Path(data.location).is_absolute() or "\\" in data.location:
        raise UnsafeModelError(f"{where}, which is not beside the model")
    if "\0" in data.location or parts[0].endswith(":") or MEMORY_TAG in data.location:
        raise UnsafeModelError(f"{where}, which is no file name")
    place = model.parent
    status = None
    for part in parts:
        place = place / part
        try:
            status = os.lstat(place)
        except OSError as error:
            raise InferenceError(f"{where}: {error.strerror}") from error
        if stat.S_ISLNK(status.st_mode):
            raise UnsafeModelError(f"{where}, and {place} is a link")
    if status is None or not stat.S_ISREG(status.st_mode):
        raise UnsafeModelError(f"{where}, which is not a regular file")
    if status.st_nlink > 1:
        raise UnsafeModelError(f"{where}, which has {status.st_nlink} names (hard links)")
    end = data.offset + (data.length or 0)
    if data.offset < 0 or (data.length or 0) < 0 or end > status.st_size:
        raise InferenceError(f"{where}: bytes {data.offset} to {end} of {status.st_size}")


def _walk(reader: WireReader, kind: str, span: Span, trust: bool, depth: int) -> None:
    """One message and the messages inside it."""
    path = reader.file.path
    if depth > DEPTH_LIMIT:
        raise InferenceError(f"model {path}: graphs nested more than {DEPTH_LIMIT} deep")
    if kind == "tensor":
        _check_tensor(reader, span)
        return
    for field in reader.fields(span, f"the {kind}"):
        child = CHILDREN[kind].get(field.number)
        if field.wire_type != LENGTH:
            continue
        if child is not None:
            _walk(reader, child, field.span, trust, depth + 1)
        elif kind == "node" and field.number == 4:
            _check_operator(reader.text(field.span, "operator"), path, trust)


def _check_operator(name: str, path: Path, trust: bool) -> None:
    if name in RUNS_CODE and not trust:
        raise UnsafeModelError(f"model {path}: the operator {name} {RUNS_CODE[name]}")


def _check_tensor(reader: WireReader, span: Span) -> None:
    """A TensorProto: its external data, or its raw bytes against its shape."""
    name, kind, raw, dimensions = "", 0, None, []
    entries: list[tuple[str, str]] = []
    for field in reader.fields(span, "a tensor"):
        if field.number == 1:
            dimensions += [signed(value) for value in reader.varints(field, "dimensions")]
        elif field.number == 2:
            kind = field.value
        elif field.number == 8 and field.wire_type == LENGTH:
            name = reader.text(field.span, "tensor name")
        elif field.number == 9 and field.wire_type == LENGTH:
            raw = field.span.end - field.span.start
        elif field.number == 13 and field.wire_type == LENGTH:
            entries.append(_entry(reader, field.span))
    path = reader.file.path
    if len(dimensions) > 64 or any(size < 0 or size >= 1 << 48 for size in dimensions):
        raise InferenceError(f"model {path}: tensor {name[:100]!r} has impossible dimensions")
    bits = TENSOR_BITS.get(kind)
    if raw is not None and bits is not None and raw != -(-math.prod(dimensions) * bits // 8):
        raise InferenceError(
            f"model {path}: tensor {name[:100]!r} of shape {dimensions} has {raw} bytes"
        )
    if entries:
        _check_entries(reader.file.path, entries, name)


def _check_entries(path: Path, entries: list[tuple[str, str]], tensor: str) -> None:
    """Every location that any reader could pick, with the largest extent that is claimed."""
    numbers = {"offset": [0], "length": [0]}
    for key, value in entries:
        if key in numbers:
            if not value.isascii() or not value.isdigit() or len(value) > 18:
                raise InferenceError(
                    f"model {path}: tensor {tensor[:100]!r} has the {key} {value[:100]!r}"
                )
            numbers[key].append(int(value))
    extent = max(numbers["offset"]), max(numbers["length"]) or None
    locations = [value for key, value in entries if key == "location"]
    for location in locations:
        check_external_data(path, ExternalData(location, *extent), tensor)


def _entry(reader: WireReader, span: Span) -> tuple[str, str]:
    """A StringStringEntryProto: key and value."""
    texts = {1: "", 2: ""}
    for field in reader.fields(span, "external data"):
        if field.number in texts and field.wire_type == LENGTH:
            texts[field.number] = reader.text(field.span, "external data")
    return texts[1], texts[2]
