"""Running a float model over calibration data and watching its tensors.

One batch is in memory at a time; each tensor keeps only what its calibrator remembers of it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from solutions.phase2_optimization.calibration import Calibrator, Range
from solutions.phase2_optimization.onnx_rewrite import Array, Model, copy_model, require_onnx
from zoo.errors import InferenceError, MissingExtraError

Batch = Array | Mapping[str, Array]  # an array for the only input, or one for each input
Batches = Iterable[Batch]


def open_session(model: Model, threads: int = 0) -> Any:
    """An ONNX Runtime session on the CPU; ``threads`` 0: as many as there are cores.

    Raises InferenceError where ONNX Runtime refuses the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "edge") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own, a dozen classes
        raise InferenceError(f"ONNX Runtime cannot run the model: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What an exception says, in one line, without ONNX Runtime's codes and C++ signatures."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+ .*?\) ", "", line)


def named_feeds(batches: Batches, session: Any) -> Iterator[dict[str, Array]]:
    """Each batch as arrays by input name, checked.

    Raises InferenceError where a name, type or shape is wrong or a number is not finite.
    """
    wanted = {found.name: found for found in session.get_inputs()}
    for number, batch in enumerate(batches):
        if not isinstance(batch, Mapping):
            if len(wanted) != 1:
                raise InferenceError(
                    f"calibration batch {number} is one array, but the model has the inputs "
                    f"{', '.join(wanted)}: give a dictionary"
                )
            batch = {next(iter(wanted)): batch}
        if set(batch) != set(wanted):
            raise InferenceError(
                f"calibration batch {number} names {', '.join(sorted(batch))}, the model wants "
                f"{', '.join(wanted)}"
            )
        arrays = {name: np.asarray(values) for name, values in batch.items()}
        for name, values in arrays.items():
            _check_feed(number, wanted[name], values)
        yield arrays


def _check_feed(number: int, wanted: Any, values: Array) -> None:
    where = f"calibration batch {number}, input {wanted.name!r}"
    fits = len(wanted.shape) == values.ndim and all(
        not isinstance(size, int) or size == given
        for size, given in zip(wanted.shape, values.shape, strict=False)
    )
    if not fits:
        raise InferenceError(f"{where}: shape {list(values.shape)}, not {wanted.shape}")
    if values.size == 0:
        raise InferenceError(f"{where} is empty: shape {list(values.shape)}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InferenceError(f"{where} holds NaN or infinity: leave such data out")
    kinds = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
    if kinds.get(wanted.type, values.dtype.name) != values.dtype.name:
        raise InferenceError(f"{where}: type {values.dtype}, not {kinds[wanted.type]}")


def watched_model(model: Model, names: Sequence[str]) -> Model:
    """A copy of the model that also gives out these tensors (float32 where not known)."""
    onnx = require_onnx()
    copy = copy_model(model)
    present = {value.name for value in copy.graph.output}
    known = {value.name: value for value in copy.graph.value_info}
    for name in names:
        if name not in present:
            unknown = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            copy.graph.output.append(known.get(name, unknown))
    return copy


def activations(
    model: Model, batches: Batches, names: Sequence[str], threads: int = 0
) -> Iterator[dict[str, Array]]:
    """The named tensors (inputs included) of each batch, one batch after the other.

    Raises InferenceError for data that does not fit and for tensors that are not finite.
    """
    inputs = {value.name for value in model.graph.input}
    made = [name for name in dict.fromkeys(names) if name not in inputs]
    session = open_session(watched_model(model, made), threads)
    for number, feeds in enumerate(named_feeds(batches, session)):
        try:
            found = session.run(made or None, feeds)
        except Exception as error:  # onnxruntime's own
            raise InferenceError(
                f"calibration batch {number} does not run: {first_line(error)}"
            ) from error
        values = feeds | dict(zip(made, found, strict=False))
        yield {name: values[name] for name in names}


def observe_ranges(
    model: Model, batches: Batches, names: Sequence[str], calibrator: Callable[[], Calibrator]
) -> dict[str, Range]:
    """The range that a calibrator finds for each named tensor.

    Raises InferenceError where there is no data, or a tensor becomes NaN or infinite.
    """
    observers = {name: calibrator() for name in names}
    batch_count = 0
    for values in activations(model, batches, names):
        batch_count += 1
        for name, observer in observers.items():
            if not np.isfinite(values[name]).all():
                raise InferenceError(
                    f"the tensor {name!r} becomes NaN or infinite on calibration batch "
                    f"{batch_count - 1}: mend the model, or keep its layer in float"
                )
            observer.observe(values[name])
    if not batch_count:
        raise InferenceError("calibration got no data: give at least one batch")
    return {name: observer.range() for name, observer in observers.items()}
