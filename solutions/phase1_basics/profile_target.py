"""What is profiled: a call, and where there is one the network behind it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.load_generator import nothing
from solutions.phase1_basics.onnx_model import OnnxModel, TensorSpec
from zoo import registry
from zoo.errors import InferenceError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

PIXELS = (3, 224, 224)  # of a torchvision classifier's input
TORCHVISION = "torchvision:"
DTYPES: dict[str, Any] = {
    "float": np.float32, "float16": np.float16, "double": np.float64, "int64": np.int64,
    "int32": np.int32, "int8": np.int8, "uint8": np.uint8, "bool": np.bool_,
}  # fmt: skip


@dataclass(frozen=True)
class ProfileTarget:
    """A prediction that can be repeated, on inputs made once."""

    name: str
    runtime: str
    device: str
    threads: int
    batch_shape: tuple[int, ...]
    call: Callable[[], object]
    synchronise: Callable[[], None] = nothing
    module: "Module | None" = None  # a torch network ...
    tensor: "Tensor | None" = None  # ... and its input
    onnx: Path | None = None  # an ONNX file ...
    feeds: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # ... and its inputs


def cores() -> int:
    """The processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def random_batch(
    spec: TensorSpec, batch: int, rng: np.random.Generator
) -> NDArray[Any]:
    """An input of that name, shape and dtype: a first dimension of any size becomes ``batch``.

    Values are of 0..1 (floats), 0..255 (bytes) or 0 and 1. Raises InferenceError for another
    unknown dimension, a first one that is fixed to another size, or a dtype that is no number.
    """
    if spec.dtype not in DTYPES:
        raise InferenceError(f"input {spec.name}: no random values of type {spec.dtype}")
    shape = list(spec.shape)
    if shape and shape[0] is None:
        shape[0] = batch
    elif shape and batch not in (1, shape[0]):
        raise InferenceError(f"input {spec.name} takes batches of {shape[0]}, not of {batch}")
    known = [size for size in shape if size is not None]
    if len(known) < len(shape):
        raise InferenceError(f"input {spec.name} of shape {spec.shape}: sizes must be known")
    dtype = DTYPES[spec.dtype]
    if np.issubdtype(dtype, np.floating):
        return rng.random(known).astype(dtype)
    return rng.integers(0, 256 if dtype == np.uint8 else 2, known).astype(dtype)


def open_target(
    name: str, arch: str | None, batch: int, threads: int, device: str
) -> ProfileTarget:
    """The target of a file (ONNX, torch state dict), a zoo name or ``torchvision:resnet50``.

    Raises InferenceError where there is no such model or it cannot be loaded.
    """
    if name.startswith(TORCHVISION):
        return torch_target(name, name.removeprefix(TORCHVISION), None, batch, threads, device)
    path = Path(name)
    if not path.is_file():
        path = _registered(name)
    if path.suffix == ".onnx":
        if device != "cpu":
            raise InferenceError(f"{path.name}: ONNX files are profiled on the cpu, not {device}")
        return onnx_target(path, batch, threads)
    guess = arch or path.stem.split("-")[0]
    return torch_target(path.name, guess, path, batch, threads, device)


def _registered(name: str) -> Path:
    """The file of a zoo or registry name; one line says what to do where there is none."""
    if Path(name).suffix or os.sep in name:
        stem = Path(name).stem
        raise InferenceError(
            f"no file {name}: with --model torchvision:{stem} the architecture is profiled with "
            "random weights, which take as long; python -m zoo list names models to get"
        )
    return registry.fetch(registry.find(name))


def onnx_target(path: Path, batch: int, threads: int) -> ProfileTarget:
    """An ONNX file in ONNX Runtime."""
    import onnxruntime as ort

    model = OnnxModel(path, threads)
    if len(model.inputs) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise InferenceError(f"{path.name} has {len(model.inputs)} inputs ({names}), not one")
    data = random_batch(model.inputs[0], batch, np.random.default_rng(0))
    return ProfileTarget(
        path.name, f"onnxruntime {ort.__version__}", "cpu", threads, data.shape,
        lambda: model.run(data), onnx=path, feeds={model.inputs[0].name: data},
    )  # fmt: skip


def torch_target(
    name: str, arch: str, weights: Path | None, batch: int, threads: int, device: str
) -> ProfileTarget:
    """A torchvision architecture with the weights of a file, or random ones."""
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise MissingExtraError(str(error.name), "learn") from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InferenceError(f"device {device}: torch sees no GPU here; use --device cpu")
    known = torchvision.models.list_models(torchvision.models)
    if arch not in known:
        raise InferenceError(f"{name}: {arch!r} is no torchvision model: name it by --arch")
    module = torchvision.models.get_model(arch, weights=None)
    if weights is not None:
        _load_weights(module, weights)
    torch.set_num_threads(threads)
    module = module.eval().to(device)
    tensor = torch.rand(batch, *PIXELS, generator=torch.Generator().manual_seed(0)).to(device)

    def call() -> object:
        with torch.inference_mode():
            return module(tensor)

    synchronise = torch.cuda.synchronize if device.startswith("cuda") else nothing
    return ProfileTarget(name, f"torch {torch.__version__}", device, threads,
                         tuple(tensor.shape), call, synchronise, module, tensor)


def _load_weights(module: "Module", path: Path) -> None:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state.get("state_dict", state))
    except Exception as error:  # pickle's, zip's and torch's own
        reason = " ".join(str(error).split())[:160]
        raise InferenceError(f"{path}: no weights of {type(module).__name__}: {reason}") from error
