"""The course's own compiler as formats: its graph in ONNX Runtime, and as a library in C.

The first is what our passes are worth: ONNX Runtime's own optimizer is off. The second needs no
runtime at all, and has one thread.
"""

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
from solutions.phase2_optimization.formats.onnx_runtime import open_model, session_runner
from solutions.phase2_optimization.formats.onnx_source import onnx_bytes, onnx_source
from solutions.phase2_optimization.onnx_rewrite import load_onnx


def passes(source: Source, options: FormatOptions) -> Compiled:
    """Our passes, those for ONNX Runtime included, and ONNX Runtime with its optimizer off."""
    from solutions.phase2_optimization.model_files import read_model, write_model
    from solutions.phase2_optimization.pass_manager import optimize
    from solutions.phase2_optimization.pass_order import ONNXRUNTIME_STAGES

    watch = Stopwatch()
    file = read_model(onnx_source(source, options).path)
    path = options.folder / "ours.onnx"
    with faults_of("our compiler"):
        made = optimize(file.model, ONNXRUNTIME_STAGES, folder=file.folder)
        write_model(made.model, path, file.folder)
    session = open_model(path, options.threads, "off")
    return Compiled("onnxruntime-ours", session_runner(session), watch.seconds(),
                    onnx_bytes(path), f"{made.nodes_before} nodes became {made.nodes_after}")


def c_library(source: Source, options: FormatOptions) -> Compiled:
    """Our C back end: one library per batch size.

    Raises InferenceError for operators that it does not know, and without a C compiler.
    """
    from solutions.phase2_optimization.c_backend import build

    watch = Stopwatch()
    model = load_onnx(onnx_source(source, options).path)
    with faults_of("our C back end"):
        modules = {size: build(model, size) for size in sorted(set(options.sizes))}
    first = next(iter(modules.values()))
    names = list(first.inputs)

    def run(batch: Batch) -> Outputs:
        module = modules[len(batch[0])]
        return list(module.run(dict(zip(names, batch, strict=True))).values())

    return Compiled("c", run, watch.seconds(), bytes_below(first.folder), "one thread")
