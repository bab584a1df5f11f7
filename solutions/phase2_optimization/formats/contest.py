"""All formats of one model, each in a process of its own: compiled, checked, timed in turns.

The steps: one process tells the model's inputs and exports it; each format is compiled in its own
process, one after the other, so that compile times are honest; outputs are compared with those of
the reference (eager PyTorch, or the ONNX file unoptimized); then they take turns. What crashes,
hangs or eats the memory loses its own row, and the row says why.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase2_optimization.formats.catalogue import Format, find_format
from solutions.phase2_optimization.formats.compiled import (
    OPSET,
    Outputs,
    relative_error,
)
from solutions.phase2_optimization.formats.named_models import (
    NamedModel,
    fitting_sizes,
    inputs_of,
    named_model,
)
from solutions.phase2_optimization.formats.rounds import Latency, Rounds, take_turns
from solutions.phase2_optimization.formats.worker_handle import COMMAND, WorkerHandle
from zoo.errors import InferenceError

CALIBRATED_ON = 12  # inputs
ROUND_SECONDS = 0.15  # a format's share of a round: so many calls as fit, at least one
MOST_CALLS = 30
Progress = Callable[[str, int, int], None]


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


@dataclass(frozen=True)
class Row:
    """One format's figures."""

    name: str
    about: str
    compile_seconds: float
    size_bytes: int
    error: float | None  # relative, against the reference, the worst batch size; None: not run
    tolerance: float  # that its arithmetic explains
    latencies: tuple[Latency, ...]  # one per batch size; empty where it was not timed
    detail: str

    @property
    def is_off(self) -> bool:
        """Whether its numbers differ by more than its arithmetic explains."""
        return self.error is not None and not self.error <= self.tolerance


@dataclass(frozen=True)
class Missing:
    """A format without figures, and why."""

    name: str
    about: str
    reason: str


@dataclass(frozen=True)
class Contest:
    """The outcome."""

    model: str
    reference: str  # the format that the others are compared with
    sizes: tuple[int, ...]
    threads: int
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]


class FormatContest:
    """Compares formats of one model; a context manager, since processes have to be ended."""

    def __init__(self, model: str, settings: Settings, progress: Progress) -> None:
        self.settings, self.progress = settings, progress
        self.model: NamedModel = named_model(model)
        self._folder = tempfile.TemporaryDirectory(prefix="formats-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.workers: dict[str, WorkerHandle] = {}
        self.missing: list[Missing] = []
        self.notes: list[str] = []
        self.compiled: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, float] = {}
        self.calls: dict[str, dict[int, int]] = {}

    def __enter__(self) -> "FormatContest":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()
        self._folder.cleanup()

    def run(self, formats: Sequence[Format]) -> Contest:
        """Compile, check and time. Raises InferenceError where the reference itself fails."""
        reference = find_format("eager" if self.model.onnx is None else "onnxruntime-off")
        formats = [reference, *(each for each in formats if each.name != reference.name)]
        self.prepare(formats)
        total = len(formats) + 1
        expected: dict[int, Outputs] = {}
        for number, each in enumerate(formats):
            self.progress(f"compile {each.name}", number, total)
            if self.compile(each):
                self.check(each, expected)
            if each is reference and not expected:
                reason = self.missing[-1].reason if self.missing else "no outputs"
                raise InferenceError(f"{self.model.name} cannot be run: {reason}")
        self.progress("timing", total - 1, total)
        timed = take_turns(
            {name: self._turn(name) for name in self.calls}, self.calls, self.settings.rounds,
            lambda done: self.progress(f"round {done} of {self.settings.rounds}", total - 1, total))
        return self.outcome(formats, timed)

    def prepare(self, formats: Sequence[Format]) -> None:
        """Inputs, calibration data and the ONNX file."""
        settings = self.settings
        self.progress(f"load {self.model.name}", 0, len(formats) + 1)
        wants_onnx = any(each.starts_from == "onnx" for each in formats)
        header = self._header("prepare") | {"export": wants_onnx}
        worker = WorkerHandle(self.folder / "prepare", settings.threads, settings.memory,
                              settings.command)
        try:
            about = worker.ask(header, timeout=settings.timeout).header
        except InferenceError as error:
            raise InferenceError(f"{self.model.name}: {error}") from error
        finally:
            worker.close()
        self.specs = [TensorSpec(name, tuple(shape), dtype)
                      for name, shape, dtype in about["inputs"]]
        self.sizes = fitting_sizes(self.specs, settings.sizes)
        if len(self.sizes) < len(set(settings.sizes)):
            self.notes.append(f"the model takes batches of {self.sizes[0]} alone")
        self.onnx = self.model.onnx or (Path(about["onnx"]) if "onnx" in about else None)
        self.export_seconds = float(about.get("seconds", 0.0))
        self.export_error = about.get("export_error", "")
        if self.model.onnx is None:
            self.notes.append("random weights: the speed is the network's; answers mean nothing, "
                              "and rounding grows more than in a trained network")
        if self.export_seconds:
            self.notes.append(
                f"formats that start from ONNX include the export: {self.export_seconds:.1f} s, "
                f"opset {about['opset']}")
        # a batch of calibration data is never one that is timed
        self.batches = {size: inputs_of(self.model, self.specs, size, 1000 * (1 + size))
                        for size in self.sizes}
        self.chunk = self.specs[0].shape[0] or 1  # a fixed batch calibrates in its own size
        rows = self.chunk * max(4, CALIBRATED_ON // self.chunk)
        columns = inputs_of(self.model, self.specs, rows, 0)
        self.calibration = self.folder / "calibration.npz"
        arrays: dict[str, Any] = {f"{i:03d}": each for i, each in enumerate(columns)}
        np.savez(self.calibration, **arrays)

    def compile(self, each: Format) -> bool:
        """Compile a format in a new process; whether that worked."""
        settings = self.settings
        try:
            if each.starts_from == "module" and self.model.onnx is not None:
                raise InferenceError("an ONNX file has no PyTorch program")
            if each.starts_from == "onnx" and self.onnx is None:
                raise InferenceError(f"no ONNX file: {self.export_error}")
            folder = self.folder / each.name
            worker = WorkerHandle(folder, settings.threads,
                                  0 if each.on_gpu else settings.memory, settings.command)
            self.workers[each.name] = worker
            header = self._header("compile") | {"format": asdict(each), "folder": str(folder)}
            example = tuple(array[:1] for array in self.batches[self.sizes[0]])
            self.compiled[each.name] = worker.ask(header, example, settings.timeout).header
        except InferenceError as error:
            self.missing.append(Missing(each.name, each.about, str(error)))
            return False
        return True

    def check(self, each: Format, expected: dict[int, Outputs]) -> None:
        """Run every batch size once, compare, and see how many calls fit into a round."""
        calls, worst = {}, 0.0
        try:
            for size, batch in self.batches.items():
                answer = self.workers[each.name].ask({"do": "run"}, batch,
                                                     self.settings.run_timeout)
                if size in expected:
                    worst = max(worst, relative_error(answer.arrays, expected[size]))
                else:
                    expected[size] = answer.arrays
                share = ROUND_SECONDS / max(float(answer.header["seconds"]), 1e-6)
                calls[size] = max(1, min(MOST_CALLS, int(share)))
        except InferenceError as error:
            self.compiled[each.name]["detail"] = str(error)
            self.workers[each.name].close()
            return
        self.errors[each.name], self.calls[each.name] = worst, calls

    def outcome(self, formats: Sequence[Format], timed: Rounds) -> Contest:
        """The rows, in the order of the formats."""
        rows, missing = [], {each.name: each for each in self.missing}
        base = next((each.name for each in formats if each.name in timed.seconds), "")
        for each in formats:
            if each.name in timed.failed:
                missing[each.name] = Missing(each.name, each.about, timed.failed[each.name])
            elif each.name in self.compiled:
                rows.append(self._row(each, timed, base))
        order = {each.name: number for number, each in enumerate(formats)}
        absent = sorted(missing.values(), key=lambda one: order[one.name])
        return Contest(self.model.name, formats[0].name, self.sizes, self.settings.threads,
                       tuple(rows), tuple(absent), tuple(self.notes))

    def _row(self, each: Format, timed: Rounds, base: str) -> Row:
        made = self.compiled[each.name]
        export = self.export_seconds if each.starts_from == "onnx" else 0.0
        latencies = tuple(timed.latency(each.name, base, size) for size in self.sizes
                          ) if each.name in timed.seconds else ()
        return Row(each.name, each.about, float(made["seconds"]) + export, int(made["bytes"]),
                   self.errors.get(each.name), each.tolerance, latencies, str(made["detail"]))

    def _header(self, do: str) -> dict[str, Any]:
        settings = self.settings
        onnx = getattr(self, "onnx", self.model.onnx)
        calibration = getattr(self, "calibration", None)
        return {
            "do": do, "name": self.model.name, "is_module": self.model.onnx is None,
            "onnx": None if onnx is None else str(onnx), "folder": str(self.folder),
            "sizes": list(getattr(self, "sizes", settings.sizes)), "threads": settings.threads,
            "opset": settings.opset, "calibration": calibration and str(calibration),
            "chunk": getattr(self, "chunk", 1),
        }

    def _turn(self, name: str) -> Callable[[int, int], list[float]]:
        def turn(batch: int, calls: int) -> list[float]:
            answer = self.workers[name].ask({"do": "time", "batch": batch, "calls": calls},
                                            timeout=self.settings.run_timeout)
            return [float(seconds) for seconds in answer.header["seconds"]]

        return turn


def compare_formats(
    model: str, formats: Sequence[Format], settings: Settings,
    progress: Progress = lambda what, done, total: None,
) -> Contest:
    """Compare formats of a model, by name or file.

    Raises InferenceError for models that are not to be had and where the reference fails.
    """
    with FormatContest(model, settings, progress) as contest:
        return contest.run(formats)


def with_memory(settings: Settings, share: float = 0.6) -> Settings:
    """The settings with that share of the free memory as the bound of each format."""
    import psutil

    return replace(settings, memory=int(psutil.virtual_memory().available * share))
