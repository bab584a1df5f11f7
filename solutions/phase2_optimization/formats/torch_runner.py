"""Running what PyTorch made: arrays in, arrays out, the same number of threads for everyone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from solutions.phase1_basics.torch_model import flat_tensors
from solutions.phase2_optimization.formats.compiled import Batch, Outputs, Source, bytes_below
from zoo.errors import MissingExtraError


def require_torch(threads: int) -> Any:
    """The torch package, with that many threads; raises MissingExtraError without it."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "learn") from error
    torch.set_num_threads(threads)
    return torch


def as_tensors(batch: Batch, device: str = "cpu") -> tuple[Any, ...]:
    """Tensors that share the arrays' memory on the CPU; copies elsewhere."""
    import torch

    tensors = (torch.from_numpy(array) for array in batch)
    return tuple(tensor if device == "cpu" else tensor.to(device) for tensor in tensors)


def as_arrays(output: Any) -> Outputs:
    """Every tensor in a network's output, in order."""
    return [tensor.detach().cpu().numpy() for _, tensor in flat_tensors(output)]


def runner(program: Callable[..., Any], device: str = "cpu") -> Callable[[Batch], Outputs]:
    """A callable over tensors as one over arrays, without gradients."""
    import torch

    def run(batch: Batch) -> Outputs:
        with torch.inference_mode():
            return as_arrays(program(*as_tensors(batch, device)))

    return run


def weight_bytes(module: Any) -> int:
    """Bytes of parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(each.numel() * each.element_size() for each in tensors)


def batch_axes(source: Source, limit: int) -> tuple[dict[int, Any], ...]:
    """Dynamic shapes for torch.export: axis 0 of every input is one free batch, up to a limit."""
    import torch

    batch = torch.export.Dim("batch", min=1, max=max(2, limit))
    return tuple({0: batch} for _ in source.example)


def saved_bytes(save: Callable[[str], object], path: Path) -> int:
    """Write a file and tell its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save(str(path))
    return bytes_below(path)
