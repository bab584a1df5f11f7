"""The ONNX file that a source is, or becomes: what the ONNX runtimes start from."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from solutions.phase2_optimization.formats.compiled import FormatOptions, Source
from solutions.phase2_optimization.formats.onnx_export import (
    Exported,
    export_dynamo,
    export_traced,
)
from solutions.phase2_optimization.onnx_rewrite import require_onnx

Exporter = Callable[[Source, FormatOptions, Path], Exported]
EXPORTERS: dict[str, Exporter] = {"dynamo": export_dynamo, "torchscript": export_traced}


def onnx_bytes(path: Path) -> int:
    """The bytes of an ONNX file, with the files of weights beside it that it names."""
    model = require_onnx().load(str(path), load_external_data=False)
    beside: set[Path] = {
        path.parent / str(entry.value) for tensor in model.graph.initializer
        for entry in tensor.external_data if entry.key == "location"
    }
    return path.stat().st_size + sum(each.stat().st_size for each in beside if each.is_file())


class OnnxSource(NamedTuple):
    """A file, and the seconds that making it took (0 where it was there)."""

    path: Path
    seconds: float


def onnx_source(source: Source, options: FormatOptions, exporter: str = "dynamo") -> OnnxSource:
    """The source's ONNX file; exported where it has a module alone."""
    if source.onnx is not None:
        return OnnxSource(source.onnx, 0.0)
    path = options.folder / f"{exporter}.onnx"
    found = EXPORTERS[exporter](source, options, path)
    return OnnxSource(found.path, found.seconds)
