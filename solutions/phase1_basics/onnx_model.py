"""An ONNX file in ONNX Runtime, which is all that an edge device needs to load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zoo.errors import InferenceError

Provider = str | tuple[str, dict[str, Any]]  # of ONNX Runtime, with its options
CPU: tuple[Provider, ...] = ("CPUExecutionProvider",)


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape (None: any size) and dtype of a network's input or output."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class OnnxModel:
    """An ONNX file in ONNX Runtime, set up for a small network on a shared machine.

    One thread by default, since small networks lose more by handing work over than they gain;
    threads that wait do not spin, since a spinning thread takes a core from its neighbours.
    ``providers`` are tried in their order; what none of them can run falls to the next.

    Raises InferenceError where the file is missing or not a model that the runtime accepts.
    """

    def __init__(
        self, path: Path, threads: int = 1, providers: Sequence[Provider] = CPU
    ) -> None:
        import onnxruntime as ort

        if not path.is_file():
            raise InferenceError(f"model {path}: no such file")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # the runtime raises classes of its own, none of them public
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InferenceError(f"model {path} is not a usable ONNX file: {reason}") from error
        self.inputs = [_spec(node) for node in self._session.get_inputs()]
        self.outputs = [_spec(node) for node in self._session.get_outputs()]
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._names = [spec.name for spec in self.outputs]

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs for one batch of the first input."""
        outputs: list[NDArray[Any]] = self._session.run(self._names, {self.inputs[0].name: batch})
        return outputs


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, shape, node.type.removeprefix("tensor(").removesuffix(")"))
