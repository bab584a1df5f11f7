"""Every format by name, and ``compile``: one interface for all of them.

    from solutions.phase2_optimization.formats.catalogue import compile
    made = compile(Source("mine", (images,), module), "torchscript-frozen", FormatOptions(folder))
    made.run((images,)), made.compile_seconds, made.size_bytes
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from solutions.phase2_optimization.formats.compiled import Compiled, FormatOptions, Source
from zoo.errors import InferenceError

ROOM = "solutions.phase2_optimization.formats"
Maker = Callable[[Source, FormatOptions], Compiled]


@dataclass(frozen=True)
class Format:
    """One row of the comparison: where its function stands, and what that starts from."""

    name: str
    maker: str  # "module:function", imported only when wanted: each brings its own libraries
    starts_from: Literal["module", "onnx"]
    about: str
    is_slow: bool = False  # left out unless all are asked for
    arguments: tuple[str, ...] = ()  # for a function that makes the function

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.name.startswith("tensorrt") or self.name.endswith("-cuda")

    @property
    def tolerance(self) -> float:
        """The relative error that its arithmetic explains, in a deep network of random weights,
        which lets errors grow more than a trained one; more is a fault."""
        if self.name.endswith("int8"):
            return 0.6
        if self.name.endswith(("bf16", "fp16")):
            return 0.3
        return 1e-2 if self.on_gpu else 1e-3  # TF32 has 10 bits

    def load(self) -> Maker:
        """The function that compiles."""
        module, _, name = self.maker.partition(":")
        found: Any = getattr(importlib.import_module(module), name)
        return found(*self.arguments) if self.arguments else found  # type: ignore[no-any-return]


def _module(name: str, maker: str, about: str, is_slow: bool = False) -> Format:
    return Format(name, f"{ROOM}.{maker}", "module", about, is_slow)


def _onnx(name: str, maker: str, about: str, is_slow: bool = False, *arguments: str) -> Format:
    return Format(name, f"{ROOM}.{maker}", "onnx", about, is_slow, arguments)


FORMATS: tuple[Format, ...] = (
    _module("eager", "eager:eager", "PyTorch, operator by operator"),
    _module("export", "exported_program:exported", "torch.export", True),
    _module("torchscript-traced", "torchscript:traced", "TorchScript, traced", True),
    _module("torchscript-scripted", "torchscript:scripted", "TorchScript, scripted", True),
    _module("torchscript-frozen", "torchscript:frozen", "TorchScript, frozen"),
    _module("compile", "torch_compile:compiled", "torch.compile, free batch axis", True),
    _module("compile-freezing", "torch_compile:compiled_freezing", "torch.compile, constants"),
    _module("aotinductor", "aot_inductor:aot_inductor", "torch.compile ahead of time", True),
    _onnx("onnxruntime", "onnx_runtime:at_level", "ONNX Runtime, all optimizations", False,
          "all", "onnxruntime"),
    _onnx("onnxruntime-layout", "onnx_runtime:at_level", "ONNX Runtime, up to layouts", True,
          "layout"),
    _onnx("onnxruntime-extended", "onnx_runtime:at_level", "ONNX Runtime, fusions", True,
          "extended"),
    _onnx("onnxruntime-basic", "onnx_runtime:at_level", "ONNX Runtime, folding", True, "basic"),
    _onnx("onnxruntime-off", "onnx_runtime:at_level", "ONNX Runtime, no optimization", False,
          "off"),
    _onnx("onnxruntime-ours", "our_compiler:passes", "our graph passes, ONNX Runtime's off"),
    Format("onnxruntime-traced", f"{ROOM}.onnx_runtime:at_level", "module",
           "ONNX Runtime, file by the TorchScript exporter", True,
           ("all", "onnxruntime-traced", "torchscript")),
    _onnx("onnxruntime-int8", "onnx_runtime:int8", "ONNX Runtime, our INT8", True),
    _onnx("openvino", "openvino_format:fp32", "OpenVINO, float32"),
    _onnx("openvino-bf16", "openvino_format:bf16", "OpenVINO, bfloat16"),
    _onnx("openvino-int8", "openvino_format:int8", "OpenVINO, our INT8"),
    _onnx("c", "our_compiler:c_library", "our C back end", True),
    _module("executorch", "executorch_format:executorch", "ExecuTorch, XNNPACK", True),
    _module("coreml", "core_ml:core_ml", "Core ML", True),
    _module("eager-cuda", "eager:eager_cuda", "PyTorch on a GPU"),
    _onnx("onnxruntime-cuda", "onnx_runtime:cuda", "ONNX Runtime on a GPU"),
    _onnx("tensorrt", "tensorrt_format:fp32", "TensorRT, float32 (TF32)"),
    _onnx("tensorrt-fp16", "tensorrt_format:fp16", "TensorRT, float16"),
    _onnx("tensorrt-bf16", "tensorrt_format:bf16", "TensorRT, bfloat16"),
    _onnx("tensorrt-int8", "tensorrt_format:int8", "TensorRT, our INT8"),
)
NAMES = tuple(each.name for each in FORMATS)


def find_format(name: str) -> Format:
    """The format of that name. Raises InferenceError for others."""
    for each in FORMATS:
        if each.name == name:
            return each
    raise InferenceError(f"no format {name!r}: there are {', '.join(NAMES)}")


def compile(model: Source, format: str, options: FormatOptions) -> Compiled:
    """Compile a network into a format.

    Raises InferenceError for unknown names, for what is not installed (with what to install) and
    where the format refuses the network (with its reason).
    """
    return find_format(format).load()(model, options)
