"""Which format is this file? Asked of its bytes, never of its name.

The problem: names lie (a `.pth` that is a TorchScript program, a `.onnx` that is an error page
saved by a browser), and a format decides what a file may do. The idea: most formats open with a
signature; zip archives are told apart by the names inside; protocol buffers have no signature, so
that their first fields must fit one schema.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.file_signatures import MAGIC_NUMBER, known_file, starts_with_magic
from solutions.phase1_basics.protobuf_wire import LENGTH, VARINT, WireReader
from solutions.phase1_basics.zip_archive import ZipArchive
from zoo.errors import InferenceError


class ModelFormat(StrEnum):
    """The formats that the loader knows."""

    PYTORCH_ZIP = "pytorch_zip"
    PYTORCH_LEGACY = "pytorch_legacy"
    TORCHSCRIPT = "torchscript"
    TORCH_EXPORT = "torch_export"
    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    SAVED_MODEL = "saved_model"
    FROZEN_GRAPH = "frozen_graph"
    KERAS = "keras"
    KERAS_H5 = "keras_h5"
    TFLITE = "tflite"
    GGUF = "gguf"
    TENSORRT = "tensorrt"


SUFFIXES: dict[ModelFormat, tuple[str, ...]] = {
    ModelFormat.PYTORCH_ZIP: (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar", ".pkl"),
    ModelFormat.PYTORCH_LEGACY: (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar", ".pkl"),
    ModelFormat.TORCHSCRIPT: (".pt", ".pth", ".ts", ".ptl", ".torchscript"),
    ModelFormat.TORCH_EXPORT: (".pt2",),
    ModelFormat.SAFETENSORS: (".safetensors",),
    ModelFormat.ONNX: (".onnx",),
    ModelFormat.SAVED_MODEL: ("", ".pb"),
    ModelFormat.FROZEN_GRAPH: (".pb",),
    ModelFormat.KERAS: (".keras",),
    ModelFormat.KERAS_H5: (".h5", ".hdf5", ".keras"),
    ModelFormat.TFLITE: (".tflite",),
    ModelFormat.GGUF: (".gguf",),
    ModelFormat.TENSORRT: (".engine", ".plan", ".trt"),
}
ONNX_FIELDS = {1: VARINT, 2: LENGTH, 3: LENGTH, 4: LENGTH, 5: VARINT, 6: LENGTH, 7: LENGTH,
               8: LENGTH, 14: LENGTH, 20: LENGTH, 25: LENGTH, 26: LENGTH}
GRAPH_DEF_FIELDS = {1: LENGTH, 2: LENGTH, 3: VARINT, 4: LENGTH, 5: LENGTH}
SAVED_MODEL_FIELDS = {1: VARINT, 2: LENGTH}
LONGEST_HEADER = 1 << 32  # bytes of a safetensors header


def detect_format(path: Path) -> ModelFormat:
    """The format of a model file or folder, by content.

    Raises InferenceError where it is missing, empty, cut off, of no known format, or something
    else that is known (a picture, an error page, a Git LFS pointer): the message says which.
    """
    if path.is_dir():
        return _detect_folder(path)
    with FileBytes(path) as file:
        start = file.read(0, min(file.size, 4096), "first bytes")
        detected = _detect_signature(file, start) or _detect_protobuf(file)
        if detected is None:  # texts come last: a graph's first bytes can look like one
            known = known_file(start)
            raise InferenceError(f"model {path} is {known}" if known else _unknown(path, start))
        return detected


def expected_suffixes(model_format: ModelFormat) -> tuple[str, ...]:
    """The file name endings that are usual for a format."""
    return SUFFIXES[model_format]


def renamed_note(path: Path, model_format: ModelFormat) -> str | None:
    """A sentence where a file's name promises another format than it holds, else None."""
    if path.is_dir() or path.suffix.lower() in SUFFIXES[model_format]:
        return None
    usual = " or ".join(filter(None, SUFFIXES[model_format]))
    return f"{path.name} is a {model_format} file whatever its name says (usual: {usual})"


def _detect_folder(path: Path) -> ModelFormat:
    if (path / "saved_model.pb").is_file():
        return ModelFormat.SAVED_MODEL
    raise InferenceError(f"model {path} is a folder without saved_model.pb: name the model file")


def signature_format(start: bytes) -> ModelFormat | None:
    """The format that a file's first bytes alone prove; None where they prove none.

    TFLite has ``TFL3`` at byte 4 (the identifier of its FlatBuffer), GGUF, HDF5 and TensorRT
    (``ftrt``, ``ptrt``) begin with theirs, legacy PyTorch with a pickled magic number;
    safetensors has none, but begins with the length of a JSON object in 8 bytes, little-endian,
    and that object's brace. Zip archives and protocol buffers are looked at elsewhere.
    """
    if start[4:8] == b"TFL3":
        return ModelFormat.TFLITE
    if start.startswith(b"GGUF"):
        return ModelFormat.GGUF
    if start.startswith((b"ftrt", b"ptrt")):
        return ModelFormat.TENSORRT
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return ModelFormat.KERAS_H5
    if starts_with_magic(start):
        return ModelFormat.PYTORCH_LEGACY
    length = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and 2 <= length < LONGEST_HEADER:
        return ModelFormat.SAFETENSORS
    return None


def archive_format(names: Iterable[str]) -> ModelFormat | None:
    """The format of a zip archive, by the names of its entries; None where it is none of ours.

    torch.export has ``models/model.json`` and ``archive_format`` (older ones
    ``serialized_exported_program.json``), Keras ``config.json`` beside ``metadata.json`` or
    ``model.weights.h5``. PyTorch puts everything into one folder of any name: ``data.pkl`` in it,
    and for TorchScript code or constants, too.
    """
    names = set(names)
    inner = {name.partition("/")[2] for name in names}
    if {"archive_format", "models/model.json"} & inner or "serialized_exported_program.json" in (
        names | inner
    ):
        return ModelFormat.TORCH_EXPORT
    if "config.json" in names and {"metadata.json", "model.weights.h5"} & names:
        return ModelFormat.KERAS
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return ModelFormat.TORCHSCRIPT
    return ModelFormat.PYTORCH_ZIP if "data.pkl" in inner else None


def _detect_signature(file: FileBytes, start: bytes) -> ModelFormat | None:
    found = signature_format(start)  # before the zip test: TFLite may carry a zip archive
    if found is None and start.startswith(b"PK\x03\x04"):
        return _detect_zip(file)
    if found == ModelFormat.KERAS_H5:
        _require_whole_hdf5(file)
    elif found == ModelFormat.SAFETENSORS:
        _require_whole_header(file, start)
    return found


def _detect_zip(file: FileBytes) -> ModelFormat:
    try:
        names = set(ZipArchive(file).entries)
    except InferenceError as error:
        if "cut off" not in str(error):
            raise
        first = file.read(30, min(256, file.size - 30), "first entry") if file.size > 30 else b""
        kind = "PyTorch" if b"data.pkl" in first or b".format_version" in first else "zip"
        raise InferenceError(
            f"model {file.path} is a {kind} zip archive that is cut off after {file.size} bytes: "
            "download or save it again"
        ) from error
    found = archive_format(names)
    if found is not None:
        return found
    listing = ", ".join(sorted(names)[:3]) or "empty"
    what = "a NumPy archive" if any(name.endswith(".npy") for name in names) else "a zip archive"
    raise InferenceError(f"model {file.path} is {what}, no model ({listing}): unpack it first")


def _require_whole_hdf5(file: FileBytes) -> None:
    """HDF5 says in its superblock where the file ends (format specification 4.0, II.A)."""
    version = file.integer(8, 1, "HDF5 superblock")
    end = 40 if version < 2 else 28
    claimed = file.integer(end + (4 if version == 1 else 0), 8, "HDF5 superblock")
    if claimed > file.size:
        raise InferenceError(
            f"model {file.path} is an HDF5 file that is cut off: {file.size} of {claimed} bytes"
        )


def _require_whole_header(file: FileBytes, start: bytes) -> None:
    length = int.from_bytes(start[:8], "little")
    if 8 + length > file.size:
        raise InferenceError(
            f"model {file.path} is a safetensors file that is cut off: its header has {length} "
            f"bytes, the file {file.size}"
        )


def _detect_protobuf(file: FileBytes) -> ModelFormat | None:
    """ONNX, SavedModel or frozen graph: the schema that all fields of the message fit."""
    seen: dict[int, int] = {}
    first_text = b""
    damage: InferenceError | None = None
    reader = WireReader(file)
    try:
        for field in reader.fields(reader.whole(), "the model"):
            if seen.setdefault(field.number, field.wire_type) != field.wire_type:
                return None
            if field.number == 1 and field.wire_type == LENGTH and not first_text:
                first_text = file.read(field.span.start, min(1, field.span.end - field.span.start),
                                       "first node")
    except InferenceError as error:
        damage = error
    found = _match_schema(seen, first_text)
    if damage is not None and found is not None and "cut off" in str(damage):
        raise InferenceError(f"{damage} (it began like a file of format {found})") from damage
    return None if damage is not None else found


def _match_schema(seen: dict[int, int], first_text: bytes) -> ModelFormat | None:
    if seen.get(1) == VARINT and _fits(seen, ONNX_FIELDS) and {7, 8, 2} & set(seen):
        if _fits(seen, SAVED_MODEL_FIELDS) and 7 not in seen:
            return ModelFormat.SAVED_MODEL
        return ModelFormat.ONNX
    if seen.get(1) == LENGTH and _fits(seen, GRAPH_DEF_FIELDS) and first_text == b"\x0a":
        return ModelFormat.FROZEN_GRAPH  # a NodeDef opens with its name, field 1
    return None


def _fits(seen: dict[int, int], schema: dict[int, int]) -> bool:
    return all(schema.get(number) == wire_type for number, wire_type in seen.items())


def _unknown(path: Path, start: bytes) -> str:
    if len(start) < len(MAGIC_NUMBER):
        return f"model {path} has only {len(start)} bytes: cut off, or no model"
    return (
        f"model {path} is of no format known here (it begins {start[:8].hex(' ')}); known are "
        + ", ".join(ModelFormat)
    )
