"""safetensors by hand: a format that can carry nothing but tensors.

The layout (github.com/huggingface/safetensors, "Format")::

    | header length, uint64 | header, JSON                          | data                     |
                              {"name": {"dtype": "F32",               ^ offsets count from here
                                        "shape": [2, 3],
                                        "data_offsets": [0, 24]}}

Nothing in it runs, so that all that is left to check is arithmetic: every tensor's offsets match
its shape, the tensors cover the data without overlap and without a hole (where something else
could hide), and the data ends with the file.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.file_bytes import FileBytes
from zoo.errors import InferenceError

HEADER_LIMIT = 32 << 20  # bytes: some 200,000 tensors
DTYPES: dict[str, tuple[int, str]] = {  # bits, NumPy dtype as stored
    "BOOL": (8, "?"), "U8": (8, "u1"), "I8": (8, "i1"), "U16": (16, "<u2"), "I16": (16, "<i2"),
    "U32": (32, "<u4"), "I32": (32, "<i4"), "U64": (64, "<u8"), "I64": (64, "<i8"),
    "F16": (16, "<f2"), "F32": (32, "<f4"), "F64": (64, "<f8"), "C64": (64, "<c8"),
    "BF16": (16, "<u2"), "F8_E4M3": (8, "u1"), "F8_E5M2": (8, "u1"), "F8_E8M0": (8, "u1"),
}


class TensorEntry(NamedTuple):
    """One tensor: its type and shape, and its bytes [start, end) in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a file, by name, in file order.

    Types that NumPy lacks (BF16 and the three F8) come as float32, which holds each of their
    values exactly.

    Raises InferenceError for a damaged file and an unknown dtype.
    """
    with FileBytes(path) as file:
        return {
            name: _read_tensor(file, name, entry)
            for name, entry in read_safetensors_header(file).items()
        }


def read_safetensors_header(file: FileBytes) -> dict[str, TensorEntry]:
    """The table of tensors, in the order of their bytes, every entry checked.

    Raises InferenceError for a header that is too large or no JSON, twice the same name, an
    unknown dtype, offsets that disagree with the shape, an overlap, a hole, a file that is cut
    off or goes on after the last tensor.
    """
    length = file.integer(0, 8, "header length")
    if length > HEADER_LIMIT:
        raise InferenceError(f"model {file.path}: a safetensors header of {length} bytes")
    header = _parse(file.read(8, length, "header"), file.path)
    header.pop("__metadata__", None)
    entries = {
        name: _entry(name, fields, 8 + length, file.path) for name, fields in header.items()
    }
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)))
    reached = 8 + length
    for name, entry in ordered.items():
        if entry.start != reached:
            kind = "overlaps the one before it" if entry.start < reached else "follows a hole"
            raise InferenceError(
                f"model {file.path}: tensor {name[:100]!r} starts at byte {entry.start} and "
                f"{kind}, which ends at {reached}"
            )
        file.require(entry.start, entry.end - entry.start, f"tensor {name[:100]!r}")
        reached = entry.end
    if reached != file.size:
        raise InferenceError(
            f"model {file.path}: {file.size - reached} bytes follow the last tensor"
        )
    return ordered


def bfloat16_to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 is the upper half of a float32: uint16 [...] -> float32 [...]."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def float8_table(dtype: str) -> NDArray[np.float32]:
    """What each of the 256 bytes means, float32 [256].

    E4M3 (no infinities, NaN where all other bits are set) and E5M2 (the upper byte of a
    float16): Micikevicius et al., "FP8 Formats for Deep Learning", 2022, table 1. E8M0 (a power
    of two): OCP Microscaling Formats 1.0, section 5.4.1.
    """
    byte = np.arange(256)
    if dtype == "F8_E5M2":
        return (byte.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    if dtype == "F8_E8M0":
        return np.append(np.exp2(byte[:255] - 127.0), np.nan).astype(np.float32)
    exponent, mantissa = (byte >> 3) & 15, byte & 7
    normal = np.exp2(exponent - 7.0) * (1 + mantissa / 8)
    value = np.where(exponent > 0, normal, np.exp2(-6.0) * mantissa / 8)
    value = np.where((byte & 0x7F) == 0x7F, np.nan, value)
    return np.where(byte >> 7, -value, value).astype(np.float32)


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise InferenceError(f"model {path}: damaged safetensors header: {error}") from error
    if not isinstance(header, dict):
        raise InferenceError(f"model {path}: the safetensors header is not an object")
    return header


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name appears twice")
    return names


def _entry(name: str, fields: Any, base: int, path: Path) -> TensorEntry:
    what = f"model {path}: tensor {name[:100]!r}"
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise InferenceError(f"{what} lacks dtype, shape or data_offsets, or has more")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InferenceError(f"{what} has the unknown dtype {str(dtype)[:50]!r}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or len(shape) > 64:
        raise InferenceError(f"{what} has a shape or offsets that are no lists of sizes")
    needed = math.prod(shape) * DTYPES[dtype][0] // 8
    start, end = offsets
    if end - start != needed:
        raise InferenceError(
            f"{what} of shape {shape} needs {needed} bytes and has those from {start} to {end}"
        )
    return TensorEntry(dtype, tuple(shape), base + start, base + end)


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 1 << 60 for value in values
    )


def _read_tensor(file: FileBytes, name: str, entry: TensorEntry) -> NDArray[Any]:
    stored = np.empty(entry.end - entry.start, np.uint8)
    file.read_into(entry.start, memoryview(stored.data), f"tensor {name[:100]!r}")
    values: NDArray[Any] = stored.view(DTYPES[entry.dtype][1]).reshape(entry.shape)
    if entry.dtype == "BF16":
        return bfloat16_to_float32(values)
    if entry.dtype.startswith("F8"):
        table = float8_table(entry.dtype)
        return np.asarray(table[values])
    return values
