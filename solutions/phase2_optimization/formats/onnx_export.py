"""From PyTorch to ONNX, by both of PyTorch's exporters, and the proof that nothing got lost.

The newer one (``dynamo=True``) goes through torch.export: data-dependent control flow is refused.
The older one traces: a branch not taken is gone, so the trace is checked first. Both give the batch
axis a name where several sizes are wanted, and the numbers are compared with eager afterwards.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from solutions.phase2_optimization.formats.compiled import (
    Batch,
    FormatOptions,
    Source,
    Stopwatch,
    faults_of,
    relative_error,
)
from solutions.phase2_optimization.formats.torch_runner import (
    as_tensors,
    batch_axes,
    require_torch,
    runner,
    weight_bytes,
)
from solutions.phase2_optimization.formats.torchscript import trace_module
from solutions.phase2_optimization.formats.trace_check import check_trace, probes
from solutions.phase2_optimization.onnx_rewrite import require_onnx
from zoo.errors import InferenceError, MissingExtraError

OLDEST, NEWEST_TRACED = 13, 20  # opsets: per-channel QDQ begins; the older exporter ends
LARGEST = 1_800_000_000  # bytes of weights in one file: protobuf ends at 2 GiB
TOLERANCE = 1e-3  # of the largest output


class Exported(NamedTuple):
    """An ONNX file and how it was made."""

    path: Path
    seconds: float
    error: float  # relative, against eager, the worst batch size
    opset: int


def export_dynamo(source: Source, options: FormatOptions, path: Path) -> Exported:
    """Export through torch.export. Raises InferenceError where that fails or numbers differ."""
    torch = require_torch(options.threads)
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("onnxscript", "learn") from error
    opset = choose_opset(options.opset, newest=require_onnx().defs.onnx_opset_version())
    module, example = source.need_module(), as_tensors(options.example(source))
    shapes = batch_axes(source, max(options.sizes)) if options.is_dynamic else None
    beside = weight_bytes(module) > LARGEST

    def write() -> None:
        torch.onnx.export(module, example, str(path), dynamo=True, opset_version=opset,
                          dynamic_shapes=shapes, external_data=beside, verbose=False,
                          input_names=input_names(source))

    return _exported(source, options, path, write, "the dynamo exporter")


def export_traced(source: Source, options: FormatOptions, path: Path) -> Exported:
    """Export by tracing. Raises InferenceError where the trace is not the program."""
    torch = require_torch(options.threads)
    opset = choose_opset(options.opset, newest=NEWEST_TRACED)
    module, arrays = source.need_module(), options.example(source)
    trace = trace_module(module, as_tensors(arrays))
    check = check_trace(module, trace, probes(arrays, options.sizes))
    if not check.is_the_program:
        raise InferenceError(f"the trace is not the program: {check.reason}")
    names = input_names(source)
    axes = {name: {0: "batch"} for name in names} if options.is_dynamic else None

    def write() -> None:
        torch.onnx.export(module, as_tensors(arrays), str(path), dynamo=False,
                          opset_version=opset, input_names=names, dynamic_axes=axes)

    return _exported(source, options, path, write, "the TorchScript exporter")


def choose_opset(wanted: int, newest: int) -> int:
    """The opset to export with. Raises InferenceError where it is out of reach."""
    if not OLDEST <= wanted <= newest:
        raise InferenceError(
            f"opset {wanted}: from {OLDEST} (per-channel quantization) to {newest} (the newest "
            "that the exporter knows)"
        )
    return wanted


def input_names(source: Source) -> list[str]:
    """``images`` for a single input, ``input_0``, ``input_1`` ... for several."""
    count = len(source.example)
    return ["images"] if count == 1 else [f"input_{number}" for number in range(count)]


def verify_export(path: Path, module: Any, batches: list[Batch]) -> float:
    """The worst relative error of an ONNX file against the module, in ONNX Runtime unoptimized."""
    from solutions.phase2_optimization.formats.onnx_runtime import open_model

    session = open_model(path, threads=1, level="off")
    names = [value.name for value in session.get_inputs()]
    worst = 0.0
    for batch in batches:
        if len(names) != len(batch):
            raise InferenceError(f"the export takes {len(names)} inputs, the module {len(batch)}")
        found = session.run(None, dict(zip(names, batch, strict=True)))
        worst = max(worst, relative_error(found, runner(module)(batch)))
    return worst


def _exported(
    source: Source, options: FormatOptions, path: Path, write: Callable[[], None], what: str
) -> Exported:
    """Write, look at what was written, compare with eager."""
    path.parent.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch()
    with faults_of(what), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write()
    seconds = watch.seconds()
    batches = [source.rows(size) for size in sorted(set(options.sizes))]
    with faults_of(f"checking what {what} wrote"):
        error = verify_export(path, source.need_module(), batches)
    if error > TOLERANCE:
        raise InferenceError(f"{what} changed the numbers: relative error {error:.2g}")
    model = require_onnx().load(str(path), load_external_data=False)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return Exported(path, seconds, error, opset)
