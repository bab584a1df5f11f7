"""A model by what people call it: a zoo or registry name, a torchvision name, or an ONNX file."""

from pathlib import Path

from solutions.phase2_optimization.model_files import ModelFile, read_model
from solutions.phase2_optimization.onnx_rewrite import Model, load_onnx
from zoo.errors import InferenceError
from zoo.registry import entries, fetch


def named_model(name: str) -> ModelFile:
    """The ONNX model of that name.

    torchvision's networks get random weights, and a batch of free size. Raises InferenceError for
    names that nobody knows and for files that are no ONNX models; MissingExtraError where torch is
    needed and missing.
    """
    path = Path(name)
    if path.suffix == ".onnx" or path.is_file():
        if not path.is_file():
            raise InferenceError(f"model {path}: no such file")
        return read_model(path)
    entry = entries().get(name)
    if entry is not None and entry.file.endswith(".onnx"):
        return read_model(fetch(entry))
    if entry is not None:
        raise InferenceError(f"{name} is no ONNX model ({entry.file}): export it first")
    return ModelFile(torchvision_model(name), None)


def whole_model(name: str) -> Model:
    """The ONNX model of that name, external data included.

    Raises InferenceError as :func:`named_model` does, and where external data are missing.
    """
    found = named_model(name)
    return found.model if found.folder is None else load_onnx(Path(name))


def torchvision_model(arch: str) -> object:
    """A torchvision network with random weights as ONNX."""
    try:
        import torch
    except ImportError as error:
        from zoo.errors import MissingExtraError

        raise MissingExtraError("torch", "learn") from error
    from solutions.phase1_basics.architectures import build_architecture, input_pixels
    from solutions.phase2_optimization.classifier_tasks import exported

    torch.manual_seed(0)
    network = build_architecture(arch)
    side = input_pixels(arch)[1]
    return exported(network, (1, 3, side, side))
