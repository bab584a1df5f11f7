"""The precision a detector runs in: the fastest that is accurate enough on this machine.

Which one that is depends on the processor: one with dot-product instructions runs 8-bit integers
twice as fast as floats, an older one slower, and an old AVX2 saturates sums that others do not. So
nothing is assumed. The forms of the detector run in turns on a few drawn streets, their outputs are
compared with those of the float form, and the figures are kept for the next run.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.detections_distance import detections_distance
from solutions.phase4_production.video_analysis.detector import Network
from solutions.phase4_production.video_analysis.detector_choice import NetworkLoader
from solutions.phase4_production.video_analysis.precision_cache import PrecisionCache
from zoo.errors import InferenceError

FP32, BF16, INT8, AUTO = "fp32", "bf16", "int8", "auto"
PRECISIONS = (AUTO, FP32, BF16, INT8)
FLOOR = 0.99  # of the float detector's mAP on held-out streets, as recorded with the models
FARTHEST = 0.02  # detections_distance on this machine; the zoo's INT8 detectors stay below 0.013
GAIN = 1.05  # times faster than fp32, or the exact one is kept
LEAST_ROUNDS, MOST_ROUNDS, BUDGET = 5, 40, 1.5  # rounds of one run each; seconds

Batch = NDArray[Any]


class DetectorForm(NamedTuple):
    """A detector in one precision."""

    precision: str
    name: str  # in the registry
    load: NetworkLoader


class FormFigures(NamedTuple):
    """What was measured of a form."""

    milliseconds: float  # median of one frame's inference
    distance: float  # of its outputs from those of fp32


class PrecisionChoice(NamedTuple):
    """A form and why it was taken."""

    form: DetectorForm
    note: str = ""


def fastest_accurate(figures: Mapping[str, FormFigures]) -> str:
    """The precision to take, by what was measured; fp32 must be among the figures.

    Another one is taken where its outputs are near enough and it is faster by more than noise.
    """
    exact = figures[FP32].milliseconds
    near = {
        precision: each.milliseconds for precision, each in figures.items()
        if each.distance <= FARTHEST and each.milliseconds * GAIN <= exact
    }
    return min(near, key=near.__getitem__, default=FP32)


def measure_forms(
    networks: Mapping[str, Network], batches: Sequence[Batch],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, FormFigures]:
    """Time each network in turns, and compare its outputs with those of fp32.

    Each round runs every network once on the same batch, so that what slows the machine down slows
    all of them.
    """
    expected = [_copies(networks[FP32].run(batch)) for batch in batches]
    distances = {
        precision: max(_distance(wanted, network.run(batch))
                       for wanted, batch in zip(expected, batches, strict=True))
        for precision, network in networks.items()
    }
    times: dict[str, list[float]] = {precision: [] for precision in networks}
    began = clock()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and clock() - began > BUDGET:
            break
        for precision, network in networks.items():
            start = clock()
            network.run(batches[number % len(batches)])
            times[precision].append(clock() - start)
    return {
        precision: FormFigures(statistics.median(times[precision]) * 1e3, distances[precision])
        for precision in networks
    }


def _copies(outputs: Iterable[Batch]) -> list[Batch]:
    """A runtime may write the next run's outputs into the same memory."""
    return [np.array(output) for output in outputs]


def _distance(expected: Sequence[Batch], found: Sequence[Batch]) -> float:
    distance = detections_distance(expected, found)
    return distance if math.isfinite(distance) else math.inf


def choose_precision(
    asked: str, forms: Sequence[DetectorForm], path_of: Callable[[DetectorForm], Any],
    batches: Callable[[], Sequence[Batch]], cache: PrecisionCache,
) -> PrecisionChoice:
    """The form that was asked for; for ``auto`` the fastest one that is accurate enough.

    ``forms``: those that this detector and runtime have, fp32 first. ``path_of`` gives a form's
    file, ``batches`` inputs to measure with; both are called only where something is measured.

    Raises InferenceError where the form that was asked for does not exist.
    """
    by_precision = {form.precision: form for form in forms}
    if asked != AUTO:
        if asked not in by_precision:
            raise InferenceError(f"--precision {asked}: {forms[0].name} runs here only in "
                                 f"{', '.join(by_precision)}")
        return PrecisionChoice(by_precision[asked])
    if len(forms) == 1:
        return PrecisionChoice(forms[0])
    kept = cache.read(by_precision)
    figures = {name: FormFigures(*pair) for name, pair in kept.items()} if kept else None
    if figures is None:
        networks = {form.precision: form.load(path_of(form)) for form in forms}
        figures = measure_forms(networks, batches())
        cache.write({name: tuple(each) for name, each in figures.items()})
    taken = by_precision[fastest_accurate(figures)]
    return PrecisionChoice(taken, _note(taken, figures, remembered=kept is not None))


def _note(taken: DetectorForm, figures: Mapping[str, FormFigures], remembered: bool) -> str:
    speeds = ", ".join(f"{name} {each.milliseconds:.2f} ms" for name, each in figures.items())
    far = [name for name, each in figures.items() if each.distance > FARTHEST]
    strayed = f"; {', '.join(far)} strays too far from fp32 here" if far else ""
    when = "measured earlier" if remembered else "measured now, kept"
    return f"precision {taken.precision}: {speeds} a frame on this machine ({when}){strayed}"
