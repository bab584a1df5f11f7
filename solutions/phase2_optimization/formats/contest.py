"""All formats of one model, each in a process of its own: compiled, checked, timed in turns.

The steps: one process tells the model's inputs and exports it; each format is compiled in its own
process, one after the other, so that compile times are honest; outputs are compared with those of
the reference (eager PyTorch, or the ONNX file unoptimized); then they take turns. What crashes,
hangs or eats the memory loses its own row, and the row says why.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from solutions.phase2_optimization.formats.catalogue import Format, find_format
from solutions.phase2_optimization.formats.compiled import (
    Outputs,
    relative_error,
    typical_error,
)
from solutions.phase2_optimization.formats.named_models import named_model
from solutions.phase2_optimization.formats.preparation import (
    Prepared,
    Settings,
    prepare,
    request,
)
from solutions.phase2_optimization.formats.rounds import Latency, Rounds, take_turns
from solutions.phase2_optimization.formats.worker_handle import WorkerHandle
from zoo.errors import InferenceError

ROUND_SECONDS = 0.15  # a format's share of a round: so many calls as fit, at least one
MOST_CALLS = 30
FEW_BITS = 0.1  # tolerance of formats that compute in 16 bits or fewer
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """One format's figures."""

    name: str
    about: str
    compile_seconds: float
    size_bytes: int
    error: float | None  # the largest, against the reference, the worst batch; None: not run
    typical: float | None  # root mean square, likewise
    tolerance: float  # that its arithmetic explains
    latencies: tuple[Latency, ...]  # one per batch size; empty where it was not timed
    detail: str

    @property
    def is_off(self) -> bool:
        """Whether its numbers differ by more than its arithmetic explains.

        Few bits may miss a single number widely: then the typical error counts.
        """
        judged = self.typical if self.tolerance >= FEW_BITS else self.error
        return judged is not None and not judged <= self.tolerance


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


@dataclass
class Entrant:
    """One format on its way: a process, and what is known of it so far."""

    format: Format
    worker: WorkerHandle
    compiled: dict[str, Any]  # seconds, bytes, detail
    error: float | None = None
    typical: float | None = None
    calls: dict[int, int] | None = None  # in a round, by batch size; None: not to be timed

    def turn(self, timeout: float) -> Callable[[int, int], list[float]]:
        """Its turn in a round."""
        def timed(batch: int, calls: int) -> list[float]:
            answer = self.worker.ask({"do": "time", "batch": batch, "calls": calls},
                                     timeout=timeout)
            return [float(seconds) for seconds in answer.header["seconds"]]

        return timed


def compile_entrant(
    each: Format, prepared: Prepared, settings: Settings, folder: Path
) -> Entrant:
    """Compile a format in a new process. Raises InferenceError with the reason why not."""
    if each.starts_from == "module" and not prepared.is_module:
        raise InferenceError("an ONNX file has no PyTorch program")
    if each.starts_from == "onnx" and prepared.onnx is None:
        raise InferenceError(f"no ONNX file: {prepared.export_error}")
    memory = 0 if each.on_gpu else settings.memory  # drivers map more than they use
    worker = WorkerHandle(folder, settings.threads, memory, settings.command)
    header = request(prepared.model, settings, folder) | {
        "do": "compile", "format": asdict(each), "is_module": prepared.is_module,
        "onnx": prepared.onnx and str(prepared.onnx), "sizes": list(prepared.sizes),
        "calibration": str(prepared.calibration), "chunk": prepared.chunk,
    }
    example = tuple(array[:1] for array in prepared.batches[prepared.sizes[0]])
    return Entrant(each, worker, worker.ask(header, example, settings.timeout).header)


def check_entrant(
    entrant: Entrant, prepared: Prepared, settings: Settings, expected: dict[int, Outputs]
) -> None:
    """Run every batch size once and compare; the first one to run sets what is expected.

    A fault ends the entrant, which keeps what it said of its compilation.
    """
    calls, worst, typical = {}, 0.0, 0.0
    try:
        for size, batch in prepared.batches.items():
            answer = entrant.worker.ask({"do": "run"}, batch, settings.run_timeout)
            wanted = expected.setdefault(size, answer.arrays)
            worst = max(worst, relative_error(answer.arrays, wanted))
            typical = max(typical, typical_error(answer.arrays, wanted))
            share = ROUND_SECONDS / max(float(answer.header["seconds"]), 1e-6)
            calls[size] = max(1, min(MOST_CALLS, int(share)))
    except InferenceError as error:
        entrant.compiled["detail"] = str(error)
        entrant.worker.close()
        return
    entrant.error, entrant.typical, entrant.calls = worst, typical, calls


def compare_formats(
    model: str, formats: Sequence[Format], settings: Settings,
    progress: Progress = lambda what, done, total: None,
) -> Contest:
    """Compare formats of a model, by name or file.

    Raises InferenceError for models that are not to be had and where the reference fails.
    """
    entrants: list[Entrant] = []
    with tempfile.TemporaryDirectory(prefix="formats-", ignore_cleanup_errors=True) as folder:
        try:
            return _contest(model, formats, settings, progress, Path(folder), entrants)
        finally:
            for entrant in entrants:
                entrant.worker.close()


def _contest(
    model: str, formats: Sequence[Format], settings: Settings, progress: Progress, folder: Path,
    entrants: list[Entrant],
) -> Contest:
    """The steps; processes are put into ``entrants`` for the caller to end."""
    named = named_model(model)
    reference = find_format("eager" if named.onnx is None else "onnxruntime-off")
    formats = [reference, *(each for each in formats if each.name != reference.name)]
    total = len(formats) + 1
    progress(f"load {named.name}", 0, total)
    prepared = prepare(named, settings, folder, any(f.starts_from == "onnx" for f in formats))
    missing: dict[str, Missing] = {}
    expected: dict[int, Outputs] = {}
    for number, each in enumerate(formats):
        progress(f"compile {each.name}", number, total)
        try:
            entrants.append(compile_entrant(each, prepared, settings, folder / each.name))
            check_entrant(entrants[-1], prepared, settings, expected)
        except InferenceError as error:
            missing[each.name] = Missing(each.name, each.about, str(error))
        if each is reference and len(expected) < len(prepared.sizes):
            reason = missing[each.name].reason if missing else entrants[-1].compiled["detail"]
            raise InferenceError(f"{named.name} cannot be run: {reason}")
    ready = {entrant.format.name: entrant for entrant in entrants if entrant.calls}
    timed = take_turns(
        {name: entrant.turn(settings.run_timeout) for name, entrant in ready.items()},
        {name: entrant.calls or {} for name, entrant in ready.items()}, settings.rounds,
        lambda done: progress(f"round {done} of {settings.rounds}", total - 1, total))
    for name, reason in timed.failed.items():
        missing[name] = Missing(name, ready[name].format.about, reason)
    rows = [_row(entrant, prepared, timed, reference.name) for entrant in entrants
            if entrant.format.name not in missing]
    order = {each.name: number for number, each in enumerate(formats)}
    return Contest(named.name, reference.name, prepared.sizes, settings.threads, tuple(rows),
                   tuple(sorted(missing.values(), key=lambda one: order[one.name])),
                   prepared.notes)


def _row(entrant: Entrant, prepared: Prepared, timed: Rounds, reference: str) -> Row:
    each, made = entrant.format, entrant.compiled
    base = reference if reference in timed.seconds else next(iter(timed.seconds), "")
    export = prepared.export_seconds if each.starts_from == "onnx" else 0.0
    latencies = tuple(
        timed.latency(each.name, base, size) for size in prepared.sizes
    ) if each.name in timed.seconds else ()
    return Row(each.name, each.about, float(made["seconds"]) + export, int(made["bytes"]),
               entrant.error, entrant.typical, each.tolerance, latencies, str(made["detail"]))
