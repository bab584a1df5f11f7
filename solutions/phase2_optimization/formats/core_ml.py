"""Core ML: the format of Apple's devices. It can be written anywhere and is run on macOS alone."""

from typing import Any

from solutions.phase2_optimization.formats.compiled import (
    Batch,
    Compiled,
    FormatOptions,
    Outputs,
    Source,
    Stopwatch,
    bytes_below,
    faults_of,
)
from solutions.phase2_optimization.formats.onnx_export import input_names
from solutions.phase2_optimization.formats.torch_runner import as_tensors, require_torch
from solutions.phase2_optimization.formats.torchscript import trace_module
from solutions.phase2_optimization.formats.trace_check import check_trace, probes
from zoo.errors import InferenceError, MissingExtraError

NOT_HERE = "written, but Core ML runs on macOS alone"


def core_ml(source: Source, options: FormatOptions) -> Compiled:
    """A ``.mlpackage`` in float32; ``run`` raises InferenceError where there is no macOS."""
    require_torch(options.threads)
    tools = require_coremltools()
    module, arrays = source.need_module(), options.example(source)
    watch = Stopwatch()
    trace = trace_module(module, as_tensors(arrays))
    check = check_trace(module, trace, probes(arrays, options.sizes))
    if not check.is_the_program:
        raise InferenceError(f"the trace is not the program: {check.reason}")
    names = input_names(source)
    batch = tools.RangeDim(1, max(options.sizes)) if options.is_dynamic else options.sizes[0]
    inputs = [tools.TensorType(name=name, shape=(batch, *array.shape[1:]), dtype=array.dtype.type)
              for name, array in zip(names, arrays, strict=True)]
    path = options.folder / "model.mlpackage"
    with faults_of("Core ML"):
        made = tools.convert(trace, inputs=inputs, convert_to="mlprogram",
                             compute_precision=tools.precision.FLOAT32)
        made.save(str(path))

    def run(batch: Batch) -> Outputs:
        return predict(made, names, batch)

    return Compiled("coreml", run, watch.seconds(), bytes_below(path), "")


def predict(model: Any, names: list[str], batch: Batch) -> Outputs:
    """Run a Core ML program. Raises InferenceError anywhere but on macOS."""
    import platform

    if platform.system() != "Darwin":
        raise InferenceError(NOT_HERE)
    found = model.predict(dict(zip(names, batch, strict=True)))
    return [found[value.name] for value in model.get_spec().description.output]


def require_coremltools() -> Any:
    """The package; raises MissingExtraError without it."""
    try:
        import coremltools
    except ImportError as error:
        raise MissingExtraError("coremltools", "mobile") from error
    return coremltools
