"""What is profiled: a call, and where there is one the network behind it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.load_generator import nothing
from solutions.phase1_basics.model_loader import find_model, load_model
from solutions.phase1_basics.onnx_model import OnnxModel, TensorSpec
from zoo.errors import InferenceError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

PIXELS = (3, 224, 224)  # of a torchvision classifier's input
TORCHVISION = "torchvision:"
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
    dtype = spec.numpy_dtype
    if dtype.kind not in "fiub":
        raise InferenceError(f"input {spec.name}: no random values of type {spec.dtype}")
    shape = list(spec.shape)
    if shape and shape[0] is None:
        shape[0] = batch
    elif shape and batch not in (1, shape[0]):
        raise InferenceError(f"input {spec.name} takes batches of {shape[0]}, not of {batch}")
    known = [size for size in shape if size is not None]
    if len(known) < len(shape):
        raise InferenceError(f"input {spec.name} of shape {spec.shape}: sizes must be known")
    if np.issubdtype(dtype, np.floating):
        return rng.random(known).astype(dtype)
    return rng.integers(0, 256 if dtype == np.uint8 else 2, known).astype(dtype)


def open_target(
    name: str, arch: str | None, batch: int, threads: int, device: str
) -> ProfileTarget:
    """The target of a file of any format that ``load_model`` knows, of a zoo or registry name, or
    of ``torchvision:resnet50`` with random weights.

    Raises InferenceError where there is no such model or it cannot be loaded.
    """
    if name.startswith(TORCHVISION):
        return random_weights(name, batch, threads, device)
    path = Path(name)
    if not path.exists() and (path.suffix or os.sep in name):
        raise InferenceError(
            f"no file {name}: with --model torchvision:{path.stem} the architecture is profiled "
            "with random weights, which take as long; python -m zoo list names models to get"
        )
    path, _ = find_model(name)
    model = load_model(path, arch, device, threads=threads)
    if isinstance(model, OnnxModel):
        return _onnx_target(path, model, batch, threads)
    if hasattr(model, "module"):
        return torch_target(path.name, model.module, model.input_spec[0], batch, threads, device)
    inputs = _random_inputs(model.input_spec, batch)
    return ProfileTarget(
        path.name, model.about.runtime, model.about.device, threads, inputs[0].shape,
        lambda: model.run(*inputs),
    )


def _random_inputs(specs: Sequence[TensorSpec], batch: int) -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    return [random_batch(spec, batch, rng) for spec in specs]


def _onnx_target(path: Path, model: OnnxModel, batch: int, threads: int) -> ProfileTarget:
    if model.about.device != "cpu":
        raise InferenceError(f"{path.name}: ONNX files are profiled on the cpu, not "
                             f"{model.about.device}")
    inputs = _random_inputs(model.input_spec, batch)
    return ProfileTarget(
        path.name, model.about.runtime, "cpu", threads, inputs[0].shape,
        lambda: model.run(*inputs), onnx=path,
        feeds={spec.name: data for spec, data in zip(model.input_spec, inputs, strict=True)},
    )


def random_weights(name: str, batch: int, threads: int, device: str) -> ProfileTarget:
    """The architecture ``torchvision:NAME``, not trained: as fast as a trained one."""
    try:
        import torch
        import torchvision
    except ImportError as error:
        raise MissingExtraError(str(error.name), "learn") from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InferenceError(f"device {device}: torch sees no GPU here; use --device cpu")
    arch = name.removeprefix(TORCHVISION)
    if arch not in torchvision.models.list_models(torchvision.models):
        raise InferenceError(f"{name}: torchvision has no model {arch!r}")
    module = torchvision.models.get_model(arch, weights=None).eval().to(device)
    spec = TensorSpec("image", (None, *PIXELS), "float32")
    return torch_target(name, module, spec, batch, threads, device)


def torch_target(
    name: str, module: "Module", spec: TensorSpec, batch: int, threads: int, device: str
) -> ProfileTarget:
    """A PyTorch network that is on its device already; ``auto`` is where its weights lie."""
    import torch

    torch.set_num_threads(threads)
    if device == "auto":
        device = str(next(module.parameters()).device)
    tensor = torch.from_numpy(random_batch(spec, batch, np.random.default_rng(0))).to(device)

    def call() -> object:
        with torch.inference_mode():
            return module(tensor)

    synchronise = torch.cuda.synchronize if device.startswith("cuda") else nothing
    return ProfileTarget(name, f"torch {torch.__version__}", device, threads,
                         tuple(tensor.shape), call, synchronise, module, tensor)
