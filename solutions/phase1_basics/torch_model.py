"""A PyTorch network with weights from a file, behind arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.model import ModelAbout
from solutions.phase1_basics.state_dict import (
    compare_state_dict,
    strip_prefixes,
    unwrap_state_dict,
)
from solutions.phase1_basics.tensor_spec import TensorSpec, check_batch
from zoo.errors import InferenceError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class TorchModel:
    """A network in evaluation mode on one device, arrays in and arrays out.

    ``module`` is the network itself, for what works on it directly (a profiler, a quantizer).
    """

    def __init__(
        self, module: "Module", input_spec: tuple[TensorSpec, ...], device: str = "cpu",
        arch: str | None = None,
    ) -> None:
        import torch

        self.module, self.input_spec, self._device = module.to(device).eval(), input_spec, device
        self._inference_mode = torch.inference_mode
        self._from_numpy, self._plain = torch.from_numpy, torch.Tensor
        parameters = sum(weight.numel() for weight in module.parameters())
        self.about = ModelAbout(f"PyTorch {torch.__version__}", device, parameters, arch)
        blank = [np.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in input_spec]
        self.output_spec = tuple(
            TensorSpec(name, (None, *array.shape[1:]), array.dtype.name)
            for name, array in _arrays(self._forward(blank))
        )

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs, nested ones one after the other.

        Raises InferenceError where PyTorch fails, as where the device has no room for the batch.
        """
        return [array for _, array in _arrays(self._forward(inputs))]

    def predict(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The first output for one batch of the first input."""
        output = self._forward([check_batch(batch, self.input_spec[0])])
        if type(output) is self._plain:
            plain: NDArray[Any] = output.cpu().numpy()
            return plain
        return _arrays(output)[0][1]

    def limit_threads(self, threads: int) -> None:
        """Let PyTorch use so many threads, in this whole process."""
        import torch

        torch.set_num_threads(threads)

    def close(self) -> None:
        """Nothing to give back before the model is forgotten."""

    def _forward(self, inputs: Sequence[NDArray[Any]]) -> Any:
        """What the network itself gives."""
        try:
            with self._inference_mode():
                return self.module(*map(self._tensor, inputs))
        except RuntimeError as error:  # no room for the batch, among others
            reason = str(error).partition("\n")[0]
            raise InferenceError(f"PyTorch on {self._device}: {reason}") from error

    def _tensor(self, array: NDArray[Any]) -> "Tensor":
        if not (array.flags.c_contiguous and array.flags.writeable):
            array = array.copy()  # torch knows no negative strides and no read-only memory
        tensor = self._from_numpy(array)
        return tensor if self._device == "cpu" else tensor.to(self._device)


def _arrays(output: Any) -> list[tuple[str, NDArray[Any]]]:
    return [(name, tensor.cpu().numpy()) for name, tensor in flat_tensors(output)]


def flat_tensors(output: Any, name: str = "output") -> "list[tuple[str, Tensor]]":
    """The tensors in a network's output: itself, or those in tuples and dicts, with a name each.

    Tensors of a type that NumPy lacks (bfloat16) become float32.
    """
    if isinstance(output, Mapping):
        items = [flat_tensors(value, str(key)) for key, value in output.items()]
    elif isinstance(output, tuple | list):
        items = [flat_tensors(value, f"{name}.{number}") for number, value in enumerate(output)]
    elif hasattr(output, "numpy"):
        lacking = str(output.dtype) == "torch.bfloat16"
        return [(name, output.float() if lacking else output)]
    else:
        items = []
    return [found for item in items for found in item]


def torch_model(
    checkpoint: Any, arch: str, path: Path, device: str = "cpu"
) -> TorchModel:
    """The network ``arch`` with the weights of a checkpoint (nested, prefixed, or bare).

    A classifier of torchvision's takes the number of classes that the weights have. Raises
    InferenceError for an unknown architecture and for weights that do not fit it, with what is
    missing, unexpected and of wrong shape.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "learn") from error
    from solutions.phase1_basics.architectures import build_architecture, input_pixels

    try:
        weights = unwrap_state_dict(checkpoint)
    except InferenceError as error:
        raise InferenceError(f"model {path} holds {error}") from error
    with torch.device("meta"):  # names and shapes alone
        wanted = build_architecture(arch).state_dict()
    weights = strip_prefixes(weights, list(wanted))
    last = next(reversed(wanted))  # the bias of a classifier's last layer
    classes = None
    if last in weights and wanted[last].ndim == 1 and weights[last].shape != wanted[last].shape:
        classes = len(weights[last])
    network = build_architecture(arch, classes)
    wanted = network.state_dict()
    difference = compare_state_dict(
        {name: tuple(weight.shape) for name, weight in weights.items()},
        {name: tuple(weight.shape) for name, weight in wanted.items()},
    )
    if difference:
        raise InferenceError(f"model {path} does not fit {arch}: {difference}")
    network.load_state_dict(
        {name: torch.as_tensor(weight) for name, weight in weights.items()}, strict=False
    )
    spec = TensorSpec("images", (None, *input_pixels(arch)), "float32")
    return TorchModel(network, (spec,), device, arch)
