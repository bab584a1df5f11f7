"""OpenVINO on the CPU: float32, bfloat16 (where the processor has it), and our INT8.

The precision is a hint at compile time; the file stays the same. INT8 is in the graph: OpenVINO
fuses the QuantizeLinear and DequantizeLinear nodes of the course's quantizer.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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
from solutions.phase2_optimization.formats.int8_file import quantized_file
from solutions.phase2_optimization.formats.onnx_source import onnx_source
from zoo.errors import InferenceError, MissingExtraError


def fp32(source: Source, options: FormatOptions) -> Compiled:
    """OpenVINO in float32."""
    return _compiled("openvino", source, options, "f32")


def bf16(source: Source, options: FormatOptions) -> Compiled:
    """OpenVINO computing in bfloat16. Raises InferenceError where the processor cannot."""
    return _compiled("openvino-bf16", source, options, "bf16")


def int8(source: Source, options: FormatOptions) -> Compiled:
    """OpenVINO with the course's static quantization."""
    watch = Stopwatch()
    path, detail = quantized_file(source, options)
    run, size = load(path, options, "f32")
    return Compiled("openvino-int8", run, watch.seconds(), size, detail)


def load(path: Path, options: FormatOptions, precision: str) -> tuple[
    Callable[[Batch], Outputs], int
]:
    """Compile an ONNX file; a function of arrays, and the bytes of OpenVINO's own files."""
    openvino = require_openvino()
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InferenceError("this processor does not compute in bfloat16")
    with faults_of("OpenVINO"):
        network = core.read_model(str(path))
        request = core.compile_model(network, "CPU", {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": options.threads, "INFERENCE_PRECISION_HINT": precision,
        }).create_infer_request()
        folder = options.folder / "openvino"
        openvino.save_model(network, str(folder / "model.xml"), compress_to_fp16=False)
    count = len(network.outputs)

    def run(batch: Batch) -> Outputs:
        found = request.infer(list(batch), share_inputs=True)
        return [np.array(found[number]) for number in range(count)]

    return run, bytes_below(folder)


def require_openvino() -> Any:
    """The package; raises MissingExtraError without it."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    return openvino


def _compiled(name: str, source: Source, options: FormatOptions, precision: str) -> Compiled:
    require_openvino()
    watch = Stopwatch()
    found = onnx_source(source, options)
    run, size = load(found.path, options, precision)
    return Compiled(name, run, watch.seconds(), size, "")
