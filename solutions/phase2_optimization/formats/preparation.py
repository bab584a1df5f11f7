"""What all formats of a contest share: the settings, the inputs, the ONNX file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase2_optimization.formats.compiled import OPSET, Batch
from solutions.phase2_optimization.formats.named_models import (
    NamedModel,
    fitting_sizes,
    inputs_of,
)
from solutions.phase2_optimization.formats.worker_handle import COMMAND, WorkerHandle
from zoo.errors import InferenceError

CALIBRATED_ON = 12  # inputs


@dataclass(frozen=True)
class Settings:
    """How formats are compared."""

    sizes: tuple[int, ...] = (1, 8)
    threads: int = 2
    rounds: int = 7
    timeout: float = 300.0  # seconds that compiling one format may take
    run_timeout: float = 60.0  # seconds that one run, or one turn, may take
    memory: int = 0  # bytes that one format may use, 0: no bound
    opset: int = OPSET
    command: Sequence[str] = COMMAND  # starts a worker


def with_memory(settings: Settings, share: float = 0.6) -> Settings:
    """The settings with that share of the free memory as the bound of each format."""
    import psutil

    return replace(settings, memory=int(psutil.virtual_memory().available * share))


@dataclass(frozen=True)
class Prepared:
    """A model ready to be compiled into formats."""

    model: NamedModel
    sizes: tuple[int, ...]  # batch sizes that it takes
    batches: dict[int, Batch]  # to run with; disjoint from the calibration data
    calibration: Path  # .npz
    chunk: int  # rows of one calibration batch
    onnx: Path | None
    export_seconds: float  # 0 where the file was there
    export_error: str  # why there is no file
    notes: tuple[str, ...]

    @property
    def is_module(self) -> bool:
        """Whether there is a PyTorch program."""
        return self.model.onnx is None


def request(model: NamedModel, settings: Settings, folder: Path) -> dict[str, Any]:
    """What every message to a worker says that makes something of a model."""
    return {
        "name": model.name, "onnx": None if model.onnx is None else str(model.onnx),
        "folder": str(folder), "sizes": list(settings.sizes), "threads": settings.threads,
        "opset": settings.opset,
    }


def prepare(
    model: NamedModel, settings: Settings, folder: Path, wants_onnx: bool
) -> Prepared:
    """Ask a process of its own for the inputs, and for an ONNX file where there is none.

    Raises InferenceError for models that cannot be read or built, and where no batch size fits.
    """
    about = _asked(model, settings, folder, wants_onnx)
    specs = [TensorSpec(name, tuple(shape), dtype) for name, shape, dtype in about["inputs"]]
    sizes = fitting_sizes(specs, settings.sizes)
    chunk = specs[0].shape[0] or 1  # a fixed batch calibrates in its own size
    columns = inputs_of(model, specs, chunk * max(4, CALIBRATED_ON // chunk), 0)
    calibration = folder / "calibration.npz"
    arrays: dict[str, Any] = {f"{i:03d}": each for i, each in enumerate(columns)}
    np.savez(calibration, **arrays)
    return Prepared(
        model, sizes,
        {size: inputs_of(model, specs, size, 1000 * (1 + size)) for size in sizes},
        calibration, chunk, model.onnx or (Path(about["onnx"]) if "onnx" in about else None),
        float(about.get("seconds", 0.0)), str(about.get("export_error", "")),
        _notes(model, settings, sizes, about),
    )


def _asked(
    model: NamedModel, settings: Settings, folder: Path, wants_onnx: bool
) -> dict[str, Any]:
    worker = WorkerHandle(folder / "prepare", settings.threads, settings.memory, settings.command)
    header = request(model, settings, folder) | {"do": "prepare", "export": wants_onnx}
    try:
        return worker.ask(header, timeout=settings.timeout).header
    except InferenceError as error:
        raise InferenceError(f"{model.name}: {error}") from error
    finally:
        worker.close()


def _notes(
    model: NamedModel, settings: Settings, sizes: tuple[int, ...], about: dict[str, Any]
) -> tuple[str, ...]:
    notes = []
    if len(sizes) < len(set(settings.sizes)):
        notes.append(f"the model takes batches of {sizes[0]} alone")
    if model.onnx is None:
        notes.append("random weights: the speed is the network's; answers mean nothing, and "
                     "rounding grows more than in a trained network")
    if about.get("seconds"):
        notes.append(f"formats that start from ONNX include the export: {about['seconds']:.1f} s, "
                     f"opset {about['opset']}")
    return tuple(notes)
