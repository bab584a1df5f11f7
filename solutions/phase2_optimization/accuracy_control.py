"""Accuracy-controlled quantization: the fewest layers in float that keep a metric above a floor.

The problem: some networks collapse when everything is quantized, though nine layers in ten do not
mind. The idea: order the layers by their sensitivity, keep more and more of the most harmful ones
in float until the floor is reached, then try to give each of those back, the most expensive first,
since not every suspect is guilty.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from solutions.phase2_optimization.observation import Batches
from solutions.phase2_optimization.onnx_rewrite import Model
from solutions.phase2_optimization.quantize_graph import (
    QuantizedModel,
    StaticSettings,
    quantize_prepared,
)
from solutions.phase2_optimization.sensitivity import (
    Distance,
    Sensitivity,
    layer_sensitivity,
    relative_error,
)
from zoo.errors import InferenceError

Metric = Callable[[Model], float]  # higher is better
Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One model that was tried."""

    float_layers: tuple[str, ...]
    score: float
    kept: bool  # whether it reached the floor


@dataclass(frozen=True)
class ControlledModel:
    """What accuracy control settled on, and how it came to it."""

    quantized: QuantizedModel
    score: float
    floor: float
    steps: tuple[Step, ...]
    sensitivity: tuple[Sensitivity, ...]  # the most harmful layer first; empty: not needed

    @property
    def reached(self) -> bool:
        """Whether the floor was reached."""
        return self.score >= self.floor

    def reasons(self) -> list[str]:
        """One line per layer that stays in float for the metric's sake."""
        return [f"{name}: {why}" for name, why in self.quantized.float_layers.items()
                if why.startswith(KEPT)]


KEPT = "kept by accuracy control"


def quantize_to_accuracy(
    model: Model,
    batches: Batches,
    metric: Metric,
    floor: float,
    settings: StaticSettings | None = None,
    *,
    distance: Distance = relative_error,
    probes: Sequence[object] | None = None,
    give_back: int = 16,
    say: Say = lambda line: None,
) -> ControlledModel:
    """Quantize a prepared model with as few layers in float as the floor allows.

    ``metric`` scores an ONNX model; ``batches`` calibrate, ``probes`` (default: the first eight
    batches) measure the sensitivity; at most ``give_back`` layers are tried to be given back.
    Where not even the model with every layer in float reaches the floor, InferenceError says so.
    """
    given = settings or StaticSettings()
    calibration = list(batches)
    whole = quantize_prepared(model, calibration, given)
    known = replace(given, ranges=whole.ranges)
    search = _Search(model, calibration, metric, floor, known)
    if search.try_float(()):
        return search.result(())
    say(f"all quantized: {search.score(()):.4g}, below {floor:.4g}")
    looked_at: Sequence[object] = calibration[:8] if probes is None else probes
    search.ranking = tuple(
        layer_sensitivity(model, looked_at, known, distance)  # type: ignore[arg-type]
    )
    order = [one.name for one in search.ranking]
    if not search.try_float(tuple(order)):
        raise InferenceError(
            f"with every layer in float the metric is {search.score(tuple(order)):.4g}, below the "
            f"floor of {floor:.4g}: lower the floor"
        )
    kept = _climb(search, order, say)
    kept = _return_layers(search, kept, give_back, say)
    return search.result(kept)


def _climb(search: "_Search", order: list[str], say: Say) -> tuple[str, ...]:
    """The fewest of the most harmful layers with which the floor is reached.

    Counts grow by half, so that a few layers are found exactly; the gap that is left is halved. A
    metric need not rise with every layer, so the first success counts, not the best one.
    """
    below, count = 0, 1
    while count < len(order) and not search.try_float(tuple(order[:count])):
        say(f"{count} in float: {search.score(tuple(order[:count])):.4g}")
        below, count = count, max(count + 1, count * 3 // 2)
    high = min(count, len(order))
    while high - below > 1:
        middle = (below + high) // 2
        reached = search.try_float(tuple(order[:middle]))
        say(f"{middle} in float: {search.score(tuple(order[:middle])):.4g}")
        below, high = (below, middle) if reached else (middle, high)
    return tuple(order[:high])


def _return_layers(
    search: "_Search", kept: tuple[str, ...], tries: int, say: Say
) -> tuple[str, ...]:
    """Quantize layers again, the most work first, where the floor still holds."""
    macs = {one.name: one.macs for one in search.ranking}
    for name in sorted(kept, key=lambda one: -macs[one])[:tries]:
        fewer = tuple(other for other in kept if other != name)
        if search.try_float(fewer):
            say(f"{name} given back: {search.score(fewer):.4g}")
            kept = fewer
    return kept


class _Search:
    """The models tried so far, by the layers that they keep in float."""

    def __init__(
        self, model: Model, batches: Batches, metric: Metric, floor: float,
        settings: StaticSettings,
    ) -> None:
        self.model, self.batches, self.settings = model, batches, settings
        self.metric, self.floor = metric, floor
        self.ranking: tuple[Sensitivity, ...] = ()
        self.steps: dict[tuple[str, ...], Step] = {}

    def quantized(self, names: tuple[str, ...]) -> QuantizedModel:
        """The model with these layers in float, too."""
        kept = dict.fromkeys(names, KEPT)
        settings = replace(self.settings, keep_float={**self.settings.keep_float, **kept})
        return quantize_prepared(self.model, self.batches, settings)

    def try_float(self, names: tuple[str, ...]) -> bool:
        """Whether the floor is reached with these layers in float."""
        if names not in self.steps:
            score = float(self.metric(self.quantized(names).model))
            self.steps[names] = Step(names, score, score >= self.floor)
        return self.steps[names].kept

    def score(self, names: tuple[str, ...]) -> float:
        """What the metric gave."""
        return self.steps[names].score

    def result(self, names: tuple[str, ...]) -> ControlledModel:
        """The chosen model with its history."""
        made = self.quantized(names)
        reasons = {name: self.reason(name, names) for name in names if name in made.float_layers}
        return ControlledModel(
            replace(made, float_layers=made.float_layers | reasons), self.score(names), self.floor,
            tuple(self.steps.values()), self.ranking,
        )

    def reason(self, name: str, names: tuple[str, ...]) -> str:
        """Why a layer is among those in float: what was measured of it."""
        rank, one = next((i, s) for i, s in enumerate(self.ranking, 1) if s.name == name)
        others = set(names) - {name}
        without = [step for step in self.steps.values()
                   if name not in step.float_layers and others <= set(step.float_layers)]
        last = (f"quantized, too, the metric is {without[-1].score:.4g}, below {self.floor:.4g}"
                if without else "not tried in integers with the others in float")
        return (f"{KEPT}: error {one.error:.3g} when quantized alone, rank {rank} of "
                f"{len(self.ranking)}; {last}")
