"""ONNX Runtime's own quantization: static with each of its calibrators, and dynamic.

Static models are what its guide recommends for x86 processors: preprocessed, QuantizeLinear and
DequantizeLinear around float operators, activations uint8, weights int8 with a scale per channel.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from solutions.phase2_optimization.evaluation_task import Feeds
from solutions.phase2_optimization.onnx_rewrite import Array, Model, load_onnx, save_onnx
from zoo.errors import InferenceError, MissingExtraError

# Its fourth, Distribution, is for float8: as int8 it leaves 5 to 90% of the accuracy.
CALIBRATORS = ("MinMax", "Entropy", "Percentile")
MOST_BYTES = 1 << 30  # of tensors that its histograms keep in memory at a time



class Reader:
    """Calibration batches as ONNX Runtime asks for them, all or a range of them."""

    def __init__(self, batches: Sequence[Feeds]) -> None:
        self.batches = batches
        self.set_range(0, len(batches))

    def get_next(self) -> dict[str, Array] | None:
        """The next batch; None after the last."""
        return next(self._left, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Give only these batches from now on."""
        self._left: Iterator[dict[str, Array]] = iter(
            [dict(batch) for batch in self.batches[start_index:end_index]])

    def __len__(self) -> int:
        return len(self.batches)


def quantize_static(model: Model, batches: Sequence[Feeds], calibrator: str) -> Model:
    """Static quantization, ``calibrator`` one of CALIBRATORS.

    Raises MissingExtraError without its packages, InferenceError with ONNX Runtime's reason where
    it fails.
    """
    with _quiet() as library:
        return _first_success(model, lambda source, target: library.quantize_static(
            source, target, Reader(batches), per_channel=True,
            quant_format=library.QuantFormat.QDQ,
            activation_type=library.QuantType.QUInt8, weight_type=library.QuantType.QInt8,
            calibrate_method=library.CalibrationMethod[calibrator],
            extra_options={"CalibStridedMinMax": _stride(model, batches)},
        ))


def quantize_dynamic(model: Model) -> Model:
    """Dynamic quantization of every operator that ONNX Runtime knows how to, per channel.

    Raises as :func:`quantize_static` does.
    """
    with _quiet() as library:
        return _first_success(model, lambda source, target: library.quantize_dynamic(
            source, target, per_channel=True, weight_type=library.QuantType.QUInt8))


def _first_success(model: Model, quantize: Callable[[Path, Path], object]) -> Model:
    """What ``quantize`` makes of the model after ONNX Runtime's preprocessing, as its guide has it.

    Where it fails on that, what it makes of the model as it is.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, target = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        save_onnx(model, plain)
        try:
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            quantize(ready, target)
        except Exception:  # whatever it raises
            quantize(plain, target)
        return load_onnx(target)


def _stride(model: Model, batches: Sequence[Feeds]) -> int:
    """So many batches at a time that all their tensors fit into MOST_BYTES; divides their count."""
    from solutions.phase2_optimization.layer_work import known_shapes, with_fixed_inputs

    fixed = with_fixed_inputs(model)
    weights = {tensor.name for tensor in fixed.graph.initializer}
    sizes = [_count(shape) for name, shape in known_shapes(fixed).items() if name not in weights]
    most = max(1, MOST_BYTES // (4 * max(1, sum(sizes))))
    return max(n for n in range(1, len(batches) + 1) if len(batches) % n == 0 and n <= most)


def _count(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """ONNX Runtime's quantization package, which prints and warns a lot; its errors in one line."""
    try:
        import onnxruntime.quantization as library
    except ImportError as error:
        raise MissingExtraError(str(error.name), "bench") from error
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield library
    except InferenceError:
        raise
    except Exception as error:  # whatever it raises, from KeyError to protobuf's
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InferenceError(f"{type(error).__name__}: {reason}"[:160]) from error
    finally:
        logging.disable(before)
