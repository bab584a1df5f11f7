"""TorchScript and ``torch.export`` programs, in the worker process that runs them."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

# torch asks where it could write; here it could nowhere
tempfile.tempdir = os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.sep

import torch
from torch import Tensor

from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase1_basics.torch_model import flat_tensors
from solutions.phase1_basics.worker_side import Arrays, Loaded, serve

PIXELS = 224  # where a program does not say how large its images are


def load(request: dict[str, Any]) -> Loaded:
    """The program in the file that the request names."""
    path, threads = str(request["path"]), int(request["threads"])
    torch.set_num_threads(threads)
    if request["format"] == "torchscript":
        module, inputs = _torchscript(path)
    elif request["format"] == "torch_export":
        module, inputs = _exported(path)
    else:
        raise ValueError(f"torch_worker cannot load {request['format']}")

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            tensors = [torch.from_numpy(array.copy()) for array in arrays]
            return [tensor.cpu().numpy() for _, tensor in flat_tensors(module(*tensors))]

    count = sum(weight.numel() for weight in module.parameters())
    runtime = f"PyTorch {torch.__version__} ({request['format']})"
    return Loaded(run, inputs, _outputs(module, inputs), runtime, count)


def _torchscript(path: str) -> tuple[Any, tuple[TensorSpec, ...]]:
    module = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    names = [value.debugName() for value in module.graph.inputs()][1:]
    shape = _guessed_shape(list(module.parameters()))
    return module, tuple(TensorSpec(name.split(".")[0], shape, "float32") for name in names)


def _guessed_shape(weights: list[Tensor]) -> tuple[int | None, ...]:
    """TorchScript files do not say it: from the first convolution or linear layer."""
    for weight in weights:
        if weight.ndim == 4:
            return (None, weight.shape[1], None, None)
        if weight.ndim == 2:
            return (None, weight.shape[1])
    return (None, 3, None, None)


def _exported(path: str) -> tuple[Any, tuple[TensorSpec, ...]]:
    program = torch.export.load(path)
    wanted = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes
             if node.op == "placeholder" and node.name in wanted]
    return program.module(), tuple(
        TensorSpec(node.name, tuple(size if isinstance(size, int) else None
                                    for size in node.meta["val"].shape),
                   str(node.meta["val"].dtype).removeprefix("torch."))
        for node in nodes
    )


def _outputs(module: Any, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """By a run on zeros; unknown where the program does not take them."""
    blanks = []
    for spec in inputs:
        sizes = [PIXELS if size is None else size for size in spec.shape]
        if spec.shape[:1] == (None,):
            sizes[0] = 1
        blanks.append(torch.zeros(sizes, dtype=getattr(torch, spec.dtype)))
    try:
        with torch.inference_mode():
            found = flat_tensors(module(*blanks))
    except Exception:
        return ()
    free = bool(inputs) and inputs[0].shape[:1] == (None,)
    return tuple(
        TensorSpec(name, (None if free else tensor.shape[0], *tensor.shape[1:])
                   if tensor.ndim else (), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in found
    )


if __name__ == "__main__":
    serve(load)
