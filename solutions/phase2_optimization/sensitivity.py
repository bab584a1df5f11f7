"""Which layers does quantizing hurt? Each layer alone is quantized, and the outputs are compared.

The problem: one bad layer of a hundred can ruin a detector, and its name says nothing about it.
The idea: quantize one layer at a time (what it reads, its weights, what it makes), everything else
in float, and measure how far the network's outputs move. Errors of different layers add up almost
independently, so the list, worst first, says what to keep in float. A tensor that suffers is two
layers' fault, its maker's and its reader's: it stays in float only if both do.

Source: Krishnamoorthi, arXiv:1806.08342, section 3; Wu et al., arXiv:2004.09602, section 6.1.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.layer_work import layer_macs
from solutions.phase2_optimization.observation import Batches, named_feeds, open_session
from solutions.phase2_optimization.onnx_rewrite import Array, Model
from solutions.phase2_optimization.quantize_graph import (
    FLOAT_OUTPUT,
    QuantizedModel,
    StaticSettings,
    quantize_prepared,
)

Outputs = list[Array]
Distance = Callable[[Outputs, Outputs], float]  # of the quantized outputs from the float ones
OTHERS = "another layer is looked at"
SMALL_SHARE = 0.02  # of the whole error: what an output may add to it and still be quantized


class Sensitivity(NamedTuple):
    """What quantizing one layer does to the network's outputs."""

    name: str
    error: float  # as the distance measures it
    macs: int  # multiply-accumulates of the layer, 0 where not known


def relative_error(expected: Outputs, found: Outputs) -> float:
    """Squared error over squared size, averaged over the outputs; 0 is equal.

    An output of another shape (the number of boxes found, for example), or with an infinity or NaN
    where there was none, is wrong altogether: 1.
    """
    shares = [_share(real, other) for real, other in zip(expected, found, strict=True)]
    return float(np.mean(shares)) if shares else 0.0


def _share(real: Array, other: Array) -> float:
    if real.shape != other.shape:
        return 1.0
    differs = ~((real == other) | ((real != real) & (other != other)))  # both NaN: the same
    kept, made = real[differs].astype(np.float64), other[differs].astype(np.float64)
    if not (np.isfinite(kept).all() and np.isfinite(made).all()):
        return 1.0
    real64 = real.astype(np.float64)
    size = float(np.square(real64[np.isfinite(real64)]).sum())
    error = float(np.square(made - kept).sum())
    return error / size if size else float(error > 0)


def outputs_of(model: Model, batches: Batches) -> list[Outputs]:
    """The outputs of each batch."""
    session = open_session(model, threads=1)
    return [session.run(None, feeds) for feeds in named_feeds(batches, session)]


def mean_distance(expected: Sequence[Outputs], found: Iterable[Outputs], by: Distance) -> float:
    """The distance averaged over batches."""
    return float(np.mean([by(a, b) for a, b in zip(expected, found, strict=True)]))


def layer_sensitivity(
    model: Model,
    batches: Batches,
    settings: StaticSettings,
    distance: Distance = relative_error,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sensitivity]:
    """Every layer that ``settings`` quantizes, the most harmful first.

    ``model``: a prepared one; ``batches``: few are enough, and they are gone through again and
    again (a list, not a generator); ``settings.ranges`` should hold the ranges already.
    """
    whole = quantize_prepared(model, batches, settings)
    known = replace(settings, ranges=whole.ranges)
    expected = outputs_of(model, batches)
    names = quantized_layers(whole)
    macs = layer_macs(model)
    found = []
    for number, name in enumerate(names):
        others = {other: OTHERS for other in names if other != name}
        made = {name} if name in whole.integer_layers else set()
        alone = replace(known, keep_float={**known.keep_float, **others},
                        integer_outputs=known.integer_outputs | made)
        quantized = quantize_prepared(model, batches, alone)
        error = mean_distance(expected, outputs_of(quantized.model, batches), distance)
        found.append(Sensitivity(name, error, macs.get(name, 0)))
        if progress is not None:
            progress(number + 1, len(names))
    return sorted(found, key=lambda one: -one.error)


def quantized_layers(quantized: QuantizedModel) -> list[str]:
    """Names of the layers whose weights are integers, those with float outputs included."""
    last = [name for name, why in quantized.float_layers.items() if why == FLOAT_OUTPUT]
    return [*quantized.integer_layers, *last]


def harmless_outputs(
    model: Model, batches: Batches, settings: StaticSettings, distance: Distance = relative_error
) -> frozenset[str]:
    """The network's last layers whose results may become integers, too.

    Quantizing the result of such a layer alone must add less than SMALL_SHARE of the error that
    the quantized network makes anyway. Detectors' box branches rarely pass, class scores often do.
    """
    whole = quantize_prepared(model, batches, settings)
    last = [name for name, why in whole.float_layers.items() if why == FLOAT_OUTPUT]
    if not last:
        return frozenset()
    reference = outputs_of(model, batches)
    made = outputs_of(whole.model, batches)
    error = mean_distance(reference, made, distance)
    harmless = set()
    for name in last:
        tried = replace(settings, ranges=whole.ranges, integer_outputs=frozenset([name]))
        found = outputs_of(quantize_prepared(model, batches, tried).model, batches)
        if mean_distance(made, found, distance) <= SMALL_SHARE * error:
            harmless.add(name)
    return frozenset(harmless)
