"""ONNX Runtime at each of its optimization levels, on the CPU and on CUDA.

*off*: the graph as it stands. *basic*: constants folded, dead nodes gone. *extended*: fused
operators of its own. *layout*: convolutions in blocks of channels. *all*: everything.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from solutions.phase1_basics.channel_blocks import check_channel_blocks
from solutions.phase2_optimization.formats.compiled import (
    Batch,
    Compiled,
    FormatOptions,
    Outputs,
    Source,
    Stopwatch,
    faults_of,
)
from solutions.phase2_optimization.formats.onnx_source import onnx_bytes, onnx_source
from zoo.errors import InferenceError, MissingExtraError

LEVELS = {
    "off": "ORT_DISABLE_ALL", "basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT", "all": "ORT_ENABLE_ALL",
}


def open_model(
    path: Path, threads: int, level: str = "all", provider: str = "CPUExecutionProvider"
) -> Any:
    """A session. Raises MissingExtraError without ONNX Runtime, InferenceError where it refuses,
    or where the model was compiled for another processor."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "edge") from error
    name = LEVELS[level]
    if not hasattr(onnxruntime.GraphOptimizationLevel, name):
        raise InferenceError(f"this ONNX Runtime has no optimization level {level!r}: take a "
                             "newer one")
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, name)
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4
    # idle threads that spin would slow whoever runs next
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    with faults_of("ONNX Runtime"):
        session = onnxruntime.InferenceSession(str(path), settings, providers=[provider])
    check_channel_blocks(session.get_modelmeta().custom_metadata_map)
    return session


def session_runner(session: Any) -> Callable[[Batch], Outputs]:
    """A session as a function of arrays in the order of its inputs."""
    names = [value.name for value in session.get_inputs()]

    def run(batch: Batch) -> Outputs:
        return session.run(None, dict(zip(names, batch, strict=True)))  # type: ignore[no-any-return]

    return run


def at_level(level: str, name: str = "", exporter: str = "dynamo") -> Callable[
    [Source, FormatOptions], Compiled
]:
    """The format of one optimization level; ``exporter`` makes the file where there is none."""
    def make(source: Source, options: FormatOptions) -> Compiled:
        watch = Stopwatch()
        given = source
        if exporter != "dynamo":  # a file that is there was written by the other one
            given = Source(source.name, source.example, source.need_module())
        found = onnx_source(given, options, exporter)
        session = open_model(found.path, options.threads, level)
        return Compiled(name or f"onnxruntime-{level}", session_runner(session), watch.seconds(),
                        onnx_bytes(found.path), "")

    return make


def int8(source: Source, options: FormatOptions) -> Compiled:
    """The course's own static quantization, in ONNX Runtime."""
    from solutions.phase2_optimization.formats.int8_file import quantized_file

    watch = Stopwatch()
    path, detail = quantized_file(source, options)
    session = open_model(path, options.threads)
    return Compiled("onnxruntime-int8", session_runner(session), watch.seconds(),
                    onnx_bytes(path), detail)


def cuda(source: Source, options: FormatOptions) -> Compiled:
    """ONNX Runtime on a CUDA GPU; copies to and from it are part of every run."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "edge") from error
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise InferenceError("ONNX Runtime without CUDA: pip install onnxruntime-gpu instead of "
                             "onnxruntime")
    watch = Stopwatch()
    found = onnx_source(source, options)
    session = open_model(found.path, options.threads, provider="CUDAExecutionProvider")
    if "CUDAExecutionProvider" not in session.get_providers():
        raise InferenceError("ONNX Runtime has no CUDA GPU here: it fell back to the CPU")
    return Compiled("onnxruntime-cuda", session_runner(session), watch.seconds(),
                    onnx_bytes(found.path))
