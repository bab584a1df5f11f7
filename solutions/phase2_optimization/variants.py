"""One float model in every precision: the variants that are compared.

Each is made by one function of this folder, from the same model and the same calibration data.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from solutions.phase2_optimization.accuracy_control import KEPT, quantize_to_accuracy
from solutions.phase2_optimization.calibration import CALIBRATORS
from solutions.phase2_optimization.dynamic_quantization import quantize_dynamic
from solutions.phase2_optimization.evaluation_task import Run, Task, onnx_run, openvino_run
from solutions.phase2_optimization.float_conversion import store_bfloat16, store_float16
from solutions.phase2_optimization.graph_preparation import prepare
from solutions.phase2_optimization.kernel_form import fit_to_kernels, thin_convolutions
from solutions.phase2_optimization.onnx_rewrite import Model
from solutions.phase2_optimization.quantize_graph import (
    QuantizedModel,
    StaticSettings,
    quantize_prepared,
)
from solutions.phase2_optimization.quantized_types import INT4
from solutions.phase2_optimization.refinement import with_corrected_biases, with_roundings
from solutions.phase2_optimization.sensitivity import harmless_outputs
from solutions.phase2_optimization.smooth_quant import smooth
from solutions.phase2_optimization.weight_only import quantize_weights
from zoo.errors import InferenceError, MissingExtraError

PROBES = 8  # batches that tell the layers' sensitivity
NAMES = ("fp32", "fp16", "bf16", "dynamic", "weights int8", "weights int4",
         *(f"static {name}" for name in CALIBRATORS), "careful", "accuracy-controlled")
REFINED_ON = 64  # batches that AdaRound and bias correction look at
Say = Callable[[str], None]


@dataclass(frozen=True)
class Variant:
    """A model in some precision, loaded and ready to run."""

    name: str
    model: Model
    run: Run
    seconds: float  # that making it took
    detail: str = ""  # how much became integers, and the like
    kept_float: tuple[str, ...] = ()  # layers that are in float for accuracy's sake, and why


@dataclass(frozen=True)
class Absent:
    """A variant that cannot be made here, and the reason."""

    name: str
    reason: str


class VariantMaker:
    """Makes the variants of a task one after the other; what they share is made once."""

    def __init__(self, task: Task, say: Say = lambda line: None) -> None:
        self.task, self.say = task, say
        self.batches = list(task.batches)
        self._prepared: Model | None = None
        self._smooth: Model | None = None

    def prepared(self) -> Model:
        """The float model in the form that quantizes best."""
        if self._prepared is None:
            self._prepared = fit_to_kernels(prepare(self.task.model))
        return self._prepared

    def smoothed(self) -> Model:
        """The prepared model, the outliers behind layer norms moved into the weights."""
        if self._smooth is None:
            self._smooth = smooth(self.prepared(), self.batches[:REFINED_ON])
        return self._smooth

    def recipes(self) -> dict[str, Callable[[], QuantizedModel]]:
        """How each quantized variant is made."""
        static = {
            f"static {name}": lambda name=name: self.static(  # type: ignore[misc]
                self.settings(name))
            for name in CALIBRATORS
        }
        return {
            "dynamic": lambda: quantize_dynamic(self.task.model),
            "weights int8": lambda: quantize_weights(self.task.model),
            "weights int4": lambda: quantize_weights(self.task.model, INT4),
            **static,
            "careful": lambda: quantize_prepared(self.smoothed(), self.batches, self.careful()),
            "accuracy-controlled": self.controlled,
        }

    def settings(self, calibrator: str) -> StaticSettings:
        """Everything in integers but what is faster in float."""
        return StaticSettings(CALIBRATORS[calibrator], thin_convolutions(self.prepared()))

    def static(self, settings: StaticSettings) -> QuantizedModel:
        """Static quantization of the whole network."""
        return quantize_prepared(self.prepared(), self.batches, settings)

    def careful(self) -> StaticSettings:
        """Least squared error for activations, AdaRound for weights, corrected biases.

        For the smoothed model.
        """
        settings, few = self.settings("mse"), self.batches[:REFINED_ON]
        settings = with_roundings(self.smoothed(), few, settings)
        return with_corrected_biases(self.smoothed(), few, settings)

    def controlled(self) -> QuantizedModel:
        """The careful settings with as few layers in float as the task allows."""
        floor = self.task.control_score(self.task.model) * (1 - self.task.loss)
        model, settings = self.smoothed(), self.careful()
        whole = quantize_prepared(model, self.batches, settings)
        settings = replace(settings, ranges=whole.ranges)
        probes = self.batches[:: max(1, len(self.batches) // PROBES)]
        harmless = harmless_outputs(model, probes, settings, self.task.distance)
        found = quantize_to_accuracy(
            model, self.batches, self.task.control_score, floor,
            replace(settings, integer_outputs=harmless), distance=self.task.distance,
            probes=probes, say=self.say,
        )
        return found.quantized

    def make(self, name: str) -> Variant | Absent:
        """One variant, or why there is none."""
        start = time.perf_counter()
        try:
            if name == "fp32":
                return Variant(name, self.task.model, onnx_run(self.task.model), 0.0)
            if name == "fp16":
                model = store_float16(prepare(self.task.model))
                return Variant(name, model, onnx_run(model), time.perf_counter() - start,
                               "weights stored in 16 bits, computed in 32")
            if name == "bf16":
                run = openvino_run(self.task.model, "bf16")
                model = store_bfloat16(prepare(self.task.model))
                return Variant(name, model, run, time.perf_counter() - start,
                               "computed by OpenVINO in 16 bits")
            made = self.recipes()[name]()
            seconds = time.perf_counter() - start
            return Variant(name, made.model, onnx_run(made.model), seconds, described(made),
                           kept_for_accuracy(made))
        except MissingExtraError as error:
            return Absent(name, str(error))
        except InferenceError as error:
            if name == "fp32":
                raise
            return Absent(name, str(error))

    def names(self) -> list[str]:
        """Every variant, the float ones first."""
        return list(NAMES)

    def all(self) -> Iterator[Variant | Absent]:
        """Every variant in turn."""
        for name in self.names():
            self.say(name)
            yield self.make(name)


def kept_for_accuracy(made: QuantizedModel) -> tuple[str, ...]:
    """The layers that accuracy control keeps in float, each with what was measured of it."""
    return tuple(f"{name}: {why.removeprefix(KEPT + ': ')}"
                 for name, why in made.float_layers.items() if why.startswith(KEPT))


def described(made: QuantizedModel) -> str:
    """What became of a model's layers, in a few words."""
    layers = len(made.integer_layers)
    counted = f"{layers} of {layers + len(made.float_layers)} layers"
    if not layers and made.float_layers:
        reason, _ = Counter(made.float_layers.values()).most_common(1)[0]
        return f"none of {len(made.float_layers)} layers ({reason})"
    if made.integer_share != made.integer_share:
        return counted
    if not made.integer_share:
        return f"weights of {counted}, computed in float"
    return f"{counted}, {100 * made.integer_share:.0f}% of the multiplications"
