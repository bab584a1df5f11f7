"""PyTorch's two ways of writing a state dict, and how to read both without running anything.

The problem: ``torch.save`` writes a pickle, and a pickle is a program. The idea: every pickle in
the file is judged opcode by opcode first (``pickle_scan``), every storage that it mentions must
really lie in the file, and only then PyTorch builds the tensors, itself restricted to weights.

A zip file (PyTorch 1.6 and later) holds ``data.pkl`` and one entry ``data/KEY`` for each storage.
A legacy file is five pickles in a row (magic number, protocol, system, the object, storage keys),
then for each key its number of elements (int64) and its bytes.
"""

import io
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.file_signatures import MAGIC_NUMBER
from solutions.phase1_basics.model_format import ModelFormat, detect_format
from solutions.phase1_basics.pickle_rules import is_harmless_state, storage_bytes
from solutions.phase1_basics.pickle_scan import RuleOf, StateRule, check_pickle, state_dict_rule
from solutions.phase1_basics.pickle_trace import OPCODE_LIMIT, Global, Stored, Trace
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from solutions.phase1_basics.zip_archive import ZipArchive
from zoo.errors import InferenceError, MissingExtraError

PICKLE_LIMIT = 64 << 20  # bytes of pickle in one file; tensors are not counted
NUMPY_TYPES = ("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64",
               "Float16", "Float32", "Float64", "Complex64", "Complex128", "Str",
               "Bytes")


def check_torch_zip(
    file: FileBytes, rule_of: RuleOf = state_dict_rule, allows_state: StateRule = is_harmless_state
) -> set[int]:
    """The protocols of the pickles in a zip file of PyTorch's, once all of it is allowed.

    Raises UnsafeModelError and InferenceError as the zip and pickle checks do, and InferenceError
    where a storage is missing or too short.
    """
    archive = ZipArchive(file)
    folders = {name.partition("/")[0] for name in archive.entries}
    if len(folders) != 1:
        raise UnsafeModelError(
            f"model {file.path}: entries in several folders ({', '.join(sorted(folders)[:3])}), "
            "so that two readers may load different ones"
        )
    folder = folders.pop()
    protocols: set[int] = set()
    opcodes = 0
    for name in archive.entries:
        if not name.endswith("pkl"):
            continue
        where = f"model {file.path}: the pickle {name!r}"
        content = archive.read(name, PICKLE_LIMIT)
        trace = check_pickle(content, where, rule_of, allows_state)
        if trace.end != len(content):
            raise UnsafeModelError(f"{where} is followed by {len(content) - trace.end} bytes more")
        if name == f"{folder}/data.pkl":
            sizes = {
                entry.name.removeprefix(f"{folder}/data/"): entry.size
                for entry in archive.entries.values()
            }
            for stored in trace.stored:
                _require_storage(stored, sizes, where)
        protocols.add(trace.protocol)
        opcodes += trace.opcodes
        if opcodes > OPCODE_LIMIT:
            raise InferenceError(f"model {file.path}: more than {OPCODE_LIMIT} opcodes in pickles")
    return protocols


def check_torch_legacy(file: FileBytes) -> set[int]:
    """The protocols of the pickles in a legacy file, once all of it is allowed.

    Raises UnsafeModelError as the pickle check does, and InferenceError where the file is cut
    off: in a pickle, in the table of storages, or in a storage.
    """
    data = file.read(0, min(file.size, PICKLE_LIMIT), "pickles")
    position, traces = 0, []
    for part in ("magic number", "protocol", "system", "object", "storage keys"):
        where = f"model {file.path}: the pickle of its {part}"
        trace = check_pickle(data, where, start=position)
        position = trace.end
        traces.append(trace)
    if traces[0].result != int.from_bytes(MAGIC_NUMBER, "little") or traces[1].result != 1001:
        raise InferenceError(f"model {file.path} is of an unknown version of PyTorch's format")
    _check_legacy_storages(file, position, traces[3], traces[4].texts)
    return {trace.protocol for trace in traces}


def load_state_dict_file(path: Path) -> Any:
    """What ``torch.save`` wrote, on the CPU: a state dict or a checkpoint around one.

    Raises UnsafeModelError for a file that would do more than that, InferenceError for a damaged
    file or one of another format, MissingExtraError without torch.
    """
    model_format = detect_format(path)
    with FileBytes(path) as file:
        if model_format == ModelFormat.PYTORCH_ZIP:
            protocols = check_torch_zip(file)
        elif model_format == ModelFormat.PYTORCH_LEGACY:
            protocols = check_torch_legacy(file)
        else:
            raise InferenceError(f"model {path} is a {model_format} file, not a state dict")
    load = _load_weights_only if protocols == {2} else _load_allowed_names
    try:
        return load(path)
    except InferenceError:
        raise
    except Exception as error:  # whatever PyTorch makes of a damaged file
        raise InferenceError(
            f"model {path}: PyTorch cannot build its tensors: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """The line that tells the fault, without the advice to switch the restriction off."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if "Unpickler error:" in line or line.startswith("Can only")]
    return (marked or lines or [type(error).__name__])[-1 if marked else 0][:200]


def _load_weights_only(path: Path) -> Any:
    """By PyTorch's own restricted unpickler, which reads protocol 2."""
    torch = _torch()
    with torch.serialization.safe_globals(_harmless_extras()):
        return torch.load(path, map_location="cpu", weights_only=True)


def _load_allowed_names(path: Path) -> Any:
    """By Python's unpickler, restricted to the names that the check allows.

    PyTorch's restricted unpickler lacks opcodes of the other protocols.
    """
    module: Any = ModuleType("allowed_pickle")
    module.Unpickler, module.load = _AllowedUnpickler, _load_allowed
    return _torch().load(path, map_location="cpu", pickle_module=module, weights_only=False)


class _AllowedUnpickler(pickle.Unpickler):
    """Imports nothing that the check would not allow."""

    def find_class(self, module: str, name: str) -> Any:
        if state_dict_rule(Global(module, name, 0)) is None:
            raise UnsafeModelError(f"{module}.{name} is not a part of tensors")
        return super().find_class(module, name)


def _load_allowed(file: io.BufferedReader, **options: Any) -> Any:
    return _AllowedUnpickler(file, **options).load()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "learn") from error
    return torch


def _harmless_extras() -> list[Any]:
    """NumPy scalars and arrays, option records: what checkpoints hold beside tensors."""
    import argparse

    import numpy as np

    reconstruct: Any = np.array([0]).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    extras: list[Any] = [argparse.Namespace, np.ndarray, np.dtype, frozenset]
    extras += [getattr(np.dtypes, f"{name}DType") for name in NUMPY_TYPES]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        extras += [(scalar, f"{module}.scalar"), (reconstruct, f"{module}._reconstruct")]
    return extras


def _require_storage(stored: Stored, sizes: dict[str, int], where: str) -> None:
    """Raise InferenceError unless the entry of a storage is there and long enough."""
    _, kind, key, _, count = stored.identity[:5]
    needed, held = count * (storage_bytes(kind) or 1), sizes.get(key) if type(key) is str else None
    if held is None:
        raise InferenceError(f"{where} needs the storage {str(key)[:50]!r}, which is missing")
    if held < needed:
        raise InferenceError(f"{where}: storage {key!r} has {held} bytes and needs {needed}")


def _check_legacy_storages(
    file: FileBytes, position: int, trace: Trace, keys: list[str]
) -> None:
    """Each storage in the order of the keys: number of elements, then the elements."""
    widths: dict[str, tuple[int, int]] = {}
    for stored in trace.stored:
        _, kind, key, _, count = stored.identity[:5]
        if type(key) is not str or key not in keys:
            raise InferenceError(f"model {file.path}: a storage that the table of storages lacks")
        widths[key] = (storage_bytes(kind) or 1, count)
    for number, key in enumerate(keys, 1):
        what = f"storage {number} of {len(keys)}"
        width, needed = widths.get(key, (1, 0))
        count = file.integer(position, 8, f"number of elements of {what}", signed=True)
        if count < needed:
            raise InferenceError(
                f"model {file.path}: {what} has {count} elements and needs {needed}"
            )
        file.require(position + 8, count * width, what)
        position += 8 + count * width
