"""An ONNX file in ONNX Runtime, which is all that an edge device needs to load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from solutions.phase1_basics.channel_blocks import check_channel_blocks
from solutions.phase1_basics.model import ModelAbout
from solutions.phase1_basics.tensor_spec import TensorSpec, check_batch
from zoo.errors import InferenceError

__all__ = ["CPU", "NUMPY_NAMES", "OnnxModel", "Provider", "TensorSpec"]

Provider = str | tuple[str, dict[str, Any]]  # of ONNX Runtime, with its options
CPU: tuple[Provider, ...] = ("CPUExecutionProvider",)

NUMPY_NAMES = {"float": "float32", "double": "float64"}  # ONNX's names that differ from NumPy's


class OnnxModel:
    """An ONNX file in ONNX Runtime, set up for a small network on a shared machine.

    One thread by default, since small networks lose more by handing work over than they gain;
    threads that wait do not spin, since a spinning thread takes a core from its neighbours.
    ``providers``, where given, stand in for those of the device and are tried in their order; what
    none of them can run falls to the next. ``inputs`` and ``outputs`` name dtypes as ONNX does,
    ``input_spec`` and ``output_spec`` as NumPy does.

    Raises InferenceError where the file is missing or not a model that the runtime accepts, where
    it was compiled for another processor, or where ``device`` (``cpu``, ``cuda``, ``cuda:1``) is
    none that this ONNX Runtime can use.
    """

    def __init__(
        self, path: Path, threads: int = 1, device: str = "cpu",
        providers: Sequence[Provider] | None = None,
    ) -> None:
        import onnxruntime as ort

        if not path.is_file():
            raise InferenceError(f"model {path}: no such file")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        chosen = providers or _providers(device, ort.get_available_providers())
        try:
            self._session = ort.InferenceSession(str(path), options, providers=list(chosen))
        except Exception as error:  # the runtime raises classes of its own, none of them public
            raise InferenceError(
                f"model {path} is not a usable ONNX file: {_first_line(error)}"
            ) from error
        if device != "cpu" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise InferenceError(f"device {device}: ONNX Runtime cannot start CUDA here: see "
                                 "--diagnose, or use --device cpu")
        self.inputs = [_spec(node) for node in self._session.get_inputs()]
        self.outputs = [_spec(node) for node in self._session.get_outputs()]
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        check_channel_blocks(self.metadata)
        self.input_spec = tuple(_numpy_spec(spec) for spec in self.inputs)
        self.output_spec = tuple(_numpy_spec(spec) for spec in self.outputs)
        self.about = ModelAbout(f"ONNX Runtime {ort.__version__}", device)
        self._names = [spec.name for spec in self.outputs]

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs for one array per input, in their order.

        Nothing is checked beforehand; raises InferenceError where the runtime fails.
        """
        feeds = {spec.name: batch for spec, batch in zip(self.inputs, inputs, strict=False)}
        try:
            outputs: list[NDArray[Any]] = self._session.run(self._names, feeds)
        except Exception as error:  # the runtime raises classes of its own, none of them public
            raise InferenceError(f"ONNX Runtime: {_first_line(error)}") from error
        return outputs

    def predict(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The first output for one batch of the first input.

        Raises InferenceError where the batch does not fit the input, or the runtime fails.
        """
        return self.run(check_batch(batch, self.input_spec[0]))[0]

    def close(self) -> None:
        """Nothing to give back before the model is forgotten."""


def _providers(device: str, available: list[str]) -> list[Any]:
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if kind == "cuda" and "CUDAExecutionProvider" in available:
        return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
    raise InferenceError(
        f"device {device}: this ONNX Runtime has only {', '.join(available)}"
        + (": pip install onnxruntime-gpu in its place" if kind == "cuda" else "")
    )


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, shape, node.type.removeprefix("tensor(").removesuffix(")"))


def _numpy_spec(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(spec.name, spec.shape, NUMPY_NAMES.get(spec.dtype, spec.dtype))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
