"""Models to compile by name: torchvision's with seeded random weights, zoo models, ONNX files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solutions.phase1_basics.image_input import ImageInput, prepare_image
from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase2_optimization.formats.compiled import Batch
from solutions.phase2_optimization.onnx_rewrite import load_onnx
from solutions.phase2_optimization.tasks import input_specs
from zoo.errors import InferenceError, MissingExtraError
from zoo.registry import ModelEntry, entries, fetch

SEED = 0
PICTURE, SEQUENCE = 224, 16  # sizes of axes that a file leaves free
STREETS = 5000  # seed of the first street whose frame is an input


@dataclass(frozen=True)
class NamedModel:
    """What a name stands for."""

    name: str
    onnx: Path | None  # None: a network of torchvision's
    entry: ModelEntry | None = None


def named_model(name: str) -> NamedModel:
    """The model of that name or file; torchvision is asked later, by ``seeded_module``.

    Raises InferenceError for files that are not there.
    """
    entry = entries().get(name)
    if entry is not None and not entry.file.endswith(".onnx"):
        raise InferenceError(f"{name} is no ONNX model ({entry.about})")
    if entry is not None:
        return NamedModel(name, fetch(entry), entry)
    path = Path(name)
    if path.suffix == ".onnx" or path.is_file() or len(path.parts) > 1:
        if not path.is_file():
            raise InferenceError(f"model {name}: no such file")
        return NamedModel(path.name, path.resolve())
    if name.startswith("zoo:"):
        raise InferenceError(f"no model named {name!r}: python -m zoo list names them")
    return NamedModel(name, None)


def seeded_module(name: str) -> Any:
    """A torchvision network with random weights, the same ones every time.

    Some networks begin with answers that do not depend on what they see (a last layer of zeros),
    or that are around 1e-9 (batch norms with their initial statistics). Nothing could be compared
    then, so zeros are filled and batch norms are settled.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "learn") from error
    from solutions.phase1_basics.architectures import build_architecture, input_pixels

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: every process gets the same statistics
    torch.manual_seed(SEED)
    module = build_architecture(name)
    fill_zero_weights(module)
    settle_batch_norms(module, torch.randn(2, *input_pixels(name)))
    torch.set_num_threads(threads)
    return module


def fill_zero_weights(module: Any) -> int:
    """Give random numbers to matrices and kernels that are all zero; how many there were."""
    import torch

    empty = [each for each in module.parameters() if each.ndim > 1 and not bool(each.any())]
    for each in empty:
        torch.nn.init.normal_(each, std=each[0].numel() ** -0.5)
    return len(empty)


def settle_batch_norms(module: Any, images: Any) -> None:
    """Let every batch norm take the statistics of these images; weights stay."""
    import torch

    norms = [each for each in module.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    before = [each.momentum for each in norms]
    for each in norms:
        each.momentum = 1.0
        each.train()
    if norms:
        with torch.no_grad():
            module(images)
    for each, momentum in zip(norms, before, strict=True):
        each.momentum = momentum
    module.eval()


def module_specs(name: str) -> list[TensorSpec]:
    """The inputs of a torchvision network."""
    from solutions.phase1_basics.architectures import input_pixels

    return [TensorSpec("images", (None, *input_pixels(name)), "float32")]


def file_specs(path: Path) -> list[TensorSpec]:
    """The inputs of an ONNX file. Raises InferenceError where it cannot be read or fed."""
    specs = input_specs(load_onnx(path))
    if not specs or any(not spec.shape for spec in specs):
        raise InferenceError(f"{path}: inputs with a batch axis are needed")
    return specs


def fitting_sizes(specs: list[TensorSpec], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The batch sizes that the inputs take. Raises InferenceError where it is none of them."""
    fixed = {spec.shape[0] for spec in specs} - {None}
    found = tuple(size for size in dict.fromkeys(sizes) if fixed <= {size})
    if not found:
        wanted = ", ".join(map(str, sizes))
        have = ", ".join(map(str, sorted(fixed, key=str)))
        raise InferenceError(f"the model takes batches of {have} alone: --batch {wanted} cannot be")
    return found


def make_inputs(specs: list[TensorSpec], rows: int, seed: int) -> Batch:
    """Normal numbers; integers 0 and 1, since they may be indices."""
    rng = np.random.default_rng(seed)
    batch = []
    for spec in specs:
        free = PICTURE if len(spec.shape) == 4 else SEQUENCE
        shape = (rows, *(free if size is None else size for size in spec.shape[1:]))
        dtype = spec.numpy_dtype
        drawn = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        batch.append(drawn.astype(dtype))
    return tuple(batch)


def street_inputs(entry: ModelEntry, rows: int, seed: int) -> Batch:
    """Frames of streets, as a detector of the registry wants them."""
    from zoo.street import Street, StreetConfig

    assert entry.input is not None, entry
    want = ImageInput.of_convention(entry.input, "nchw")
    frames = []
    for number in range(rows):
        config = StreetConfig(seed=STREETS + seed + number, frames=60, split="train")
        frames.append(prepare_image(Street(config).frame(30)[0], want))
    return (np.concatenate(frames),)


def inputs_of(model: NamedModel, specs: list[TensorSpec], rows: int, seed: int) -> Batch:
    """Inputs for a model: streets for detectors, else noise."""
    entry = model.entry
    if entry is not None and entry.input is not None and len(specs) == 1:
        found = street_inputs(entry, rows, seed)
        want = specs[0].shape[1:]
        if all(a is None or a == b for a, b in zip(want, found[0].shape[1:], strict=True)):
            return found
    return make_inputs(specs, rows, seed)
