"""ONNX files of any size: weights may lie beside the model, and stay where they are.

Protocol buffers end at 2 GiB, so larger models keep their weights in further files ("external
data"). A rewrite of the structure must not copy them about: they are read only when their values
are asked for, and written again only where the model moves to another folder.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.onnx_check import check_onnx
from solutions.phase2_optimization.graph_constants import EXTERNAL
from solutions.phase2_optimization.onnx_protobuf import (
    Model,
    Tensor,
    copied,
    copy_without_weights,
    require_onnx,
    save_onnx,
)
from zoo.errors import InferenceError

LARGEST = (1 << 31) - (1 << 20)  # bytes of one file, with some room
WORTH_MOVING = 1024  # bytes; smaller weights stay in the model
ALIGNED = 4096  # bytes: so that runtimes can map the file into memory
COPIED_AT_ONCE = 1 << 24


class ModelFile(NamedTuple):
    """A model and the folder in which its external data lie; None where it has none."""

    model: Model
    folder: Path | None


def read_model(path: Path) -> ModelFile:
    """Read an ONNX file without its external data, after a check that it lies about nothing.

    Raises InferenceError where it is missing, no ONNX model, truncated, or its data are not there.
    """
    with FileBytes(path) as file:
        check_onnx(file)
    onnx = require_onnx()
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own
        raise InferenceError(f"model {path}: not an ONNX model, or a damaged one") from error
    if not model.HasField("graph"):
        raise InferenceError(f"model {path}: not an ONNX model, or a damaged one: it has no graph")
    external = any(tensor.data_location == EXTERNAL for tensor in model.graph.initializer)
    return ModelFile(model, path.parent if external else None)


def write_model(
    model: Model, path: Path, folder: Path | None = None, largest: int = LARGEST
) -> list[Path]:
    """Write a model whose external data, if any, lie in ``folder``; gives back the files.

    Data that lie in the folder of ``path`` stay where they are. Otherwise the model becomes one
    file, or, above ``largest`` bytes, a model and a file of weights beside it, named after their
    content: an old model of the same name keeps its weights until it is replaced. Raises
    InferenceError where it cannot be written; nothing half-done stays.
    """
    tensors = list(model.graph.initializer)
    external = [tensor for tensor in tensors if tensor.data_location == EXTERNAL]
    stays = not external or (folder is not None and _same(folder, path.parent))
    inside = model.ByteSize()
    if stays and inside <= largest:
        save_onnx(model, path)
        return [path]
    if inside + sum(_length(tensor, folder) for tensor in external) <= largest:
        made = copy_without_weights(model)
        made.graph.initializer.extend(_embedded(tensor, folder) for tensor in tensors)
        save_onnx(made, path)
        return [path]
    made, data = _written_apart(model, path, folder)
    try:
        save_onnx(made, path)
    except BaseException:
        data.unlink(missing_ok=True)
        raise
    return [path, data]


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()


def _entries(tensor: Tensor) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _length(tensor: Tensor, folder: Path | None) -> int:
    entries = _entries(tensor)
    if "length" in entries:
        return int(entries["length"])
    place = (folder or Path()) / entries["location"]
    return place.stat().st_size - int(entries.get("offset", 0))


def _embedded(tensor: Tensor, folder: Path | None) -> Tensor:
    """A tensor with its bytes inside."""
    if tensor.data_location != EXTERNAL:
        return tensor
    made = copied(tensor)
    del made.external_data[:]
    made.data_location = 0
    made.raw_data = b"".join(_pieces(tensor, folder))
    return made


def _pieces(tensor: Tensor, folder: Path | None) -> Iterator[bytes]:
    """A tensor's bytes, a few megabytes at a time."""
    if tensor.data_location != EXTERNAL:
        yield tensor.raw_data
        return
    entries, left = _entries(tensor), _length(tensor, folder)
    place = (folder or Path()) / entries["location"]
    try:
        with place.open("rb") as file:
            file.seek(int(entries.get("offset", 0)))
            while left > 0:
                piece = file.read(min(left, COPIED_AT_ONCE))
                if not piece:
                    raise InferenceError(f"weight {tensor.name!r}: {place} ends too early")
                left -= len(piece)
                yield piece
    except OSError as error:
        raise InferenceError(f"weight {tensor.name!r}: {place}: {error.strerror}") from error


def _written_apart(model: Model, path: Path, folder: Path | None) -> tuple[Model, Path]:
    """The model without its large weights, and the file that they were written to."""
    made = copy_without_weights(model)
    digest = sha256()
    with _whole_file(path) as (file, name_file):
        for tensor in model.graph.initializer:
            bytes_inside = len(tensor.raw_data)
            if tensor.data_location != EXTERNAL and bytes_inside < WORTH_MOVING:
                made.graph.initializer.append(tensor)
                continue
            file.write(b"\0" * (-file.tell() % ALIGNED))
            start = file.tell()
            for piece in _pieces(tensor, folder):
                digest.update(piece)
                file.write(piece)
            made.graph.initializer.append(_pointer(tensor, start, file.tell() - start))
        target = path.with_name(f"{path.name}.{digest.hexdigest()[:8]}.data")
        name_file(target)
    for tensor in made.graph.initializer:
        if tensor.data_location == EXTERNAL:
            tensor.external_data.add(key="location", value=target.name)
    return made, target


def _pointer(tensor: Tensor, offset: int, length: int) -> Tensor:
    """A tensor whose bytes lie elsewhere; the file's name comes later."""
    made = require_onnx().TensorProto(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=EXTERNAL)
    made.external_data.add(key="offset", value=str(offset))
    made.external_data.add(key="length", value=str(length))
    return made


@contextmanager
def _whole_file(near: Path) -> Iterator[tuple[BinaryIO, "_Namer"]]:
    """A file that gets its name only when it is whole."""
    part = None
    try:
        near.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{near.name}-", dir=near.parent)
        part = Path(name)
        namer = _Namer()
        with os.fdopen(handle, "wb") as file:
            yield file, namer
        assert namer.target is not None
        part.chmod(0o644)
        part.replace(namer.target)
    except OSError as error:
        raise InferenceError(f"{near} cannot be written: {error.strerror}") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


class _Namer:
    """Tells the file's name, which depends on its content."""

    target: Path | None = None

    def __call__(self, target: Path) -> None:
        self.target = target
