"""A file of weights to try things with."""

from pathlib import Path

from zoo.errors import InferenceError, MissingExtraError


def make_weights(path: Path, arch: str | None, pretrained: bool) -> Path:
    """Write a state dict for the architecture that the file's name, or ``arch``, speaks of.

    Random weights (seed 0), or torchvision's trained ones, which are downloaded. A ``.safetensors``
    file where the name ends so. Raises InferenceError where the file exists or cannot be written,
    or the download fails.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "learn") from error
    from solutions.phase1_basics.architectures import build_architecture, build_pretrained
    from solutions.phase1_basics.model_loader import WEIGHTS, arch_of_file

    if path.suffix not in WEIGHTS:
        raise InferenceError(f"{path}: only files of weights are made ({', '.join(WEIGHTS)})")
    if path.exists():
        raise InferenceError(f"{path} is there already: move it away first")
    if not path.parent.is_dir():
        raise InferenceError(f"{path.parent}: no such folder")
    name = arch or arch_of_file(path)
    torch.manual_seed(0)
    network = build_pretrained(name) if pretrained else build_architecture(name)
    part = path.with_name(f".{path.name}.part")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file(network.state_dict(), part)
        else:
            torch.save(network.state_dict(), part)
        part.replace(path)
    except (OSError, RuntimeError) as error:
        raise InferenceError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return path
