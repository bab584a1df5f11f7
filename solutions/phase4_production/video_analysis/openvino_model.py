"""An ONNX file in OpenVINO, with the same face as the one in ONNX Runtime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from solutions.phase1_basics.onnx_model import TensorSpec
from zoo.errors import InferenceError, MissingExtraError

DTYPES = {"f32": "float", "f16": "float16", "f64": "double", "u8": "uint8", "i64": "int64",
          "i32": "int32"}
HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoModel:
    """A network compiled for one stream of single pictures: latency before throughput.

    ``precision``, ``fp32`` or ``bf16``, is that of the arithmetic; what the file holds in 8-bit
    integers stays so.

    Raises InferenceError where the file is missing or not a model that the runtime accepts, and
    MissingExtraError where OpenVINO is not installed.
    """

    def __init__(
        self, path: Path, threads: int = 1, device: str = "CPU", precision: str = "fp32"
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("openvino", "openvino") from error
        if not path.is_file():
            raise InferenceError(f"model {path}: no such file")
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads,
                   "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": HINTS[precision]}
        try:
            model = openvino.Core().read_model(path)
            self.inputs = [_spec(port) for port in model.inputs]
            self.outputs = [_spec(port) for port in model.outputs]
            self._request = openvino.Core().compile_model(
                model, device, options if device == "CPU" else {}
            ).create_infer_request()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InferenceError(f"model {path} is not usable in OpenVINO: {reason}") from error
        self.metadata: Mapping[str, str] = {}

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs for one batch of the first input; they are overwritten by the next run."""
        found = self._request.infer([batch], share_inputs=True, share_outputs=True)
        return [found[i] for i in range(len(self.outputs))]


def computes_in_bf16() -> bool:
    """Whether OpenVINO finds bfloat16 arithmetic in this processor; False where it is missing."""
    try:
        import openvino
    except ImportError:
        return False
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _spec(port: Any) -> TensorSpec:
    shape = tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape())
    kind = port.get_element_type().get_type_name()
    return TensorSpec(port.get_any_name(), shape, DTYPES.get(kind, kind))
