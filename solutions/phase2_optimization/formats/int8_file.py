"""The course's static quantization as a file that ONNX runtimes load."""

from pathlib import Path
from typing import NamedTuple

from solutions.phase2_optimization.calibration import CALIBRATORS
from solutions.phase2_optimization.formats.compiled import FormatOptions, Source
from solutions.phase2_optimization.formats.onnx_source import onnx_source
from solutions.phase2_optimization.onnx_rewrite import load_onnx, save_onnx
from solutions.phase2_optimization.quantize_graph import StaticSettings, quantize_static
from solutions.phase2_optimization.tasks import input_specs
from solutions.phase2_optimization.variants import described
from zoo.errors import InferenceError


class Int8File(NamedTuple):
    """A quantized model's file, and how much of it is in integers."""

    path: Path
    detail: str


def quantized_file(source: Source, options: FormatOptions) -> Int8File:
    """Quantize a source with the calibration data of the options.

    Raises InferenceError without such data.
    """
    if not options.calibration:
        raise InferenceError("INT8 needs calibration data: none was given")
    model = load_onnx(onnx_source(source, options).path)
    names = [spec.name for spec in input_specs(model)]
    batches = [dict(zip(names, batch, strict=True)) for batch in options.calibration]
    made = quantize_static(model, batches, StaticSettings(CALIBRATORS["percentile"]))
    path = options.folder / "int8.onnx"
    save_onnx(made.model, path)
    return Int8File(path, described(made))
