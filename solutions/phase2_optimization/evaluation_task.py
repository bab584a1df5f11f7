"""What a quantized model is measured on: data to calibrate with, and metrics on other data.

Accuracy control tries many models and keeps the first that scores well enough, so the data that it
scores them on have a say in the result: the figure that is reported comes from data of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solutions.phase2_optimization.observation import first_line, open_session
from solutions.phase2_optimization.onnx_rewrite import Array, Model
from solutions.phase2_optimization.sensitivity import (
    Distance,
    Outputs,
    outputs_of,
    relative_error,
)
from zoo.errors import InferenceError, MissingExtraError

Feeds = Mapping[str, Array]
Run = Callable[[Feeds], Outputs]  # a model that is loaded somewhere
Metric = Callable[[Run], float]


@dataclass(frozen=True)
class Task:
    """A float model and how its variants are judged."""

    name: str
    model: Model  # float32
    batches: Sequence[Feeds]  # to calibrate with; disjoint from what the metric looks at
    metric: Metric  # higher is better
    metric_name: str  # as a table's heading says it
    distance: Distance = relative_error  # of outputs, for the sensitivity of layers
    loss: float = 0.01  # of the metric, as a share, that a quantized model may lose
    note: str = ""  # what a reader has to know about the figures
    control: Metric | None = None  # steers accuracy control, on other data than ``metric``

    def score(self, model: Model) -> float:
        """The metric of a variant in ONNX Runtime."""
        return self.metric(onnx_run(model))

    def control_score(self, model: Model) -> float:
        """What steers accuracy control: the same kind of metric, where possible on other data."""
        return (self.control or self.metric)(onnx_run(model))

    @property
    def example(self) -> Feeds:
        """One input, to time the model with."""
        return self.batches[0]


def onnx_run(model: Model) -> Run:
    """A model in ONNX Runtime, on one thread."""
    session = open_session(model, threads=1)
    return lambda feeds: session.run(None, dict(feeds))  # type: ignore[no-any-return]


def openvino_run(model: Model, precision: str) -> Run:
    """A model in OpenVINO on one thread, computing in ``precision`` ("f32", "bf16", "f16").

    Raises MissingExtraError where OpenVINO is not installed, InferenceError where it refuses, and
    where this processor has no such arithmetic: OpenVINO then takes another, and does not say so.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1,
               "INFERENCE_PRECISION_HINT": precision}
    core = openvino.Core()
    try:
        network = core.read_model(model.SerializeToString(), b"")
        names = [value.name for value in model.graph.input]
        compiled = core.compile_model(network, "CPU", options)
        request = compiled.create_infer_request()
    except RuntimeError as error:
        raise InferenceError(f"OpenVINO refuses the model: {first_line(error)}") from error
    taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if taken != precision:
        raise InferenceError(f"this processor has no {precision}: OpenVINO computes in {taken}")

    def run(feeds: Feeds) -> Outputs:
        found = request.infer([feeds[name] for name in names if name in feeds])
        return [np.array(found[i]) for i in range(len(network.outputs))]

    return run


def agreement(model: Model, batches: Sequence[Feeds]) -> tuple[Metric, str]:
    """How much a variant says what the float model says; and the metric's name.

    Classifiers (one output [n, classes]): the share of inputs with the same first choice. Others:
    one less the relative squared error of the outputs.
    """
    expected = outputs_of(model, batches)
    is_classifier = len(expected[0]) == 1 and expected[0][0].ndim == 2 and (
        expected[0][0].shape[1] > 1
    )

    def same_choice(variant: Run) -> float:
        same = [a[0].argmax(axis=1) == variant(feeds)[0].argmax(axis=1)
                for a, feeds in zip(expected, batches, strict=True)]
        return float(np.concatenate(same).mean())

    def closeness(variant: Run) -> float:
        errors = [relative_error(a, variant(feeds))
                  for a, feeds in zip(expected, batches, strict=True)]
        return 1.0 - float(np.mean(errors))

    if is_classifier:
        return same_choice, "same first choice as FP32"
    return closeness, "1 - relative error to FP32"


def accuracy(batches: Sequence[Feeds], labels: Array) -> Metric:
    """The share of inputs whose label the first output names."""

    def share(variant: Run) -> float:
        found = np.concatenate([variant(feeds)[0].argmax(axis=1) for feeds in batches])
        return float((found == labels).mean())

    return share


def split_batches(name: str, images: Array, size: int = 1) -> list[Feeds]:
    """Images [n, ...] as batches of ``size`` for the input ``name``."""
    if not len(images):
        raise InferenceError("there are no images: at least one is needed")
    return [{name: images[i : i + size]} for i in range(0, len(images), size)]


def input_of(model: Model) -> Any:
    """The only input that is no weight. Raises InferenceError where there are several."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise InferenceError(f"the model has {len(inputs)} inputs: one is expected here")
    return inputs[0]
