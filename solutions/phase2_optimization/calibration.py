"""Calibration: which range of real numbers deserves the 256 steps?

The problem: a wide range wastes steps on rare values, a narrow one clips them. Six answers:

| calibrator | idea | source |
|---|---|---|
| MinMax | everything that was seen | arXiv:1806.08342, section 3 |
| MovingAverage | typical extremes of a batch | arXiv:1712.05877, section 3.1 |
| Percentile | all but the rarest values | arXiv:2004.09602, section 3.2 |
| MeanSquaredError | least squared error over the histogram | arXiv:1909.13144 (and others) |
| Entropy | least information lost, Kullback-Leibler | Migacz, GTC 2017 (TensorRT) |
| Aciq | least squared error of a fitted distribution | arXiv:1810.05723 |

Each sees batches one after the other (``observe``) in bounded memory and answers ``range()``.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.histogram import BINS, StreamingHistogram
from solutions.phase2_optimization.quantized_types import UINT8
from zoo.errors import InferenceError

Values = NDArray[np.floating]


class Range(NamedTuple):
    """The real numbers that a tensor's integers shall span."""

    low: float
    high: float


class Calibrator(Protocol):
    """Sees activations batch by batch and settles on a range."""

    def observe(self, values: Values) -> None:
        """One more batch: finite values of any shape."""

    def range(self) -> Range:
        """The range; raises InferenceError where nothing was observed."""


def _nothing_seen() -> InferenceError:
    return InferenceError("calibration saw no values: give it at least one batch of data")


class MinMax:
    """Everything that was seen."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def observe(self, values: Values) -> None:
        """Widen the range to the batch's extremes."""
        if values.size:
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))

    def range(self) -> Range:
        """The extremes of all batches."""
        if self.low > self.high:
            raise _nothing_seen()
        return Range(self.low, self.high)


class MovingAverage:
    """Extremes of a batch, averaged over batches with exponentially fading weights."""

    def __init__(self, momentum: float = 0.9) -> None:
        self.momentum = momentum
        self.smoothed: Range | None = None

    def observe(self, values: Values) -> None:
        """Move towards the batch's extremes by ``1 - momentum``; the first batch sets them."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if self.smoothed is not None:
            before, move = self.smoothed, 1 - self.momentum
            low = before.low + move * (low - before.low)
            high = before.high + move * (high - before.high)
        self.smoothed = Range(low, high)

    def range(self) -> Range:
        """The smoothed extremes."""
        if self.smoothed is None:
            raise _nothing_seen()
        return self.smoothed


class _FromHistogram:
    """What the calibrators below share: they look at a histogram when all batches were seen."""

    def __init__(self) -> None:
        self.histogram = StreamingHistogram()

    def observe(self, values: Values) -> None:
        """Count the values."""
        self.histogram.add(values)

    def _seen(self) -> StreamingHistogram:
        if self.histogram.total == 0:
            raise _nothing_seen()
        return self.histogram


class Percentile(_FromHistogram):
    """The central ``percent`` of all values; what is cut off is shared between both ends."""

    def __init__(self, percent: float = 99.99) -> None:
        super().__init__()
        assert 50 < percent <= 100, percent
        self.percent = percent

    def range(self) -> Range:
        """Bin edges around the central values, never beyond the extremes."""
        seen = self._seen()
        share = np.cumsum(seen.counts) / seen.total
        tail = (1 - self.percent / 100) / 2
        first = int(np.searchsorted(share, tail, side="right"))
        last = int(np.searchsorted(share, 1 - tail, side="left"))
        low, high = seen.start + first * seen.width, seen.start + (last + 1) * seen.width
        return Range(max(low, seen.low), min(high, seen.high))


class MeanSquaredError(_FromHistogram):
    """The range, shrunk from the extremes, whose quantization error over the histogram is least."""

    def __init__(self, levels: int = UINT8.levels) -> None:
        super().__init__()
        self.levels = levels

    def range(self) -> Range:
        """Try each end shrunk in turn, coarsely and then finely."""
        seen = self._seen()
        best = Range(min(seen.low, 0.0), max(seen.high, 0.0))
        for shares in (np.linspace(0.2, 1.0, 41), np.linspace(0.97, 1.03, 13)):
            both = [Range(best.low * s, best.high * s) for s in shares]
            best = min(both, key=self._error)
            best = min([Range(best.low * s, best.high) for s in shares], key=self._error)
            best = min([Range(best.low, best.high * s) for s in shares], key=self._error)
        return Range(max(best.low, min(seen.low, 0.0)), min(best.high, max(seen.high, 0.0)))

    def _error(self, candidate: Range) -> float:
        """Sum of squared errors of the bins' centres when quantized to this range."""
        seen = self.histogram
        step = (candidate.high - candidate.low) / self.levels
        if step <= 0:
            return 0.0 if seen.low == seen.high == 0 else np.inf
        steps = np.clip(np.rint(seen.centres / step), candidate.low / step, candidate.high / step)
        return float(np.square(steps * step - seen.centres) @ seen.counts)


class Entropy(_FromHistogram):
    """The clipping threshold that loses the least information about the distribution.

    As in TensorRT: magnitudes in 2048 bins; for each threshold the clipped distribution P is
    compared with Q, P squeezed into 128 levels, by the Kullback-Leibler divergence. The first bin
    counts as its neighbour does, as in NVIDIA's pytorch-quantization: the zeros that ReLU makes
    are exact at any threshold and would outweigh everything else.
    """

    LEVELS = 128
    STRIDE = 16  # thresholds that are tried lie this many bins apart

    def range(self) -> Range:
        """The best threshold on both sides, never beyond the extremes."""
        seen = self._seen()
        counts, width = seen.magnitudes()
        counts = np.concatenate([counts[1:2], counts[1:]])
        ends = range(self.LEVELS, BINS + 1, self.STRIDE)
        best = min(ends, key=lambda end: clipping_divergence(counts, end, self.LEVELS))
        return Range(max(seen.low, -best * width), min(seen.high, best * width))


def clipping_divergence(counts: NDArray[np.int64], end: int, levels: int) -> float:
    """KL divergence of counts clipped at bin ``end`` from the same squeezed into ``levels``."""
    kept = counts[:end].astype(np.float64)
    clipped = kept.copy()
    clipped[-1] += counts[end:].sum()
    if clipped.sum() == 0:
        return np.inf
    groups = np.arange(end) * levels // end
    filled = (kept > 0).astype(np.float64)
    totals = np.bincount(groups, weights=kept, minlength=levels)
    members = np.bincount(groups, weights=filled, minlength=levels)
    squeezed = np.where(filled > 0, (totals / np.maximum(members, 1))[groups], 0.0)
    if squeezed.sum() == 0:
        return np.inf
    p, q = clipped / clipped.sum(), squeezed / squeezed.sum()
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))))


class Aciq(_FromHistogram):
    """The clipping value that is best for the Laplace or Gauss distribution that fits.

    One-sided activations (after ReLU) are the folded distribution: twice the levels for one side.
    """

    def __init__(self, bits: int = UINT8.bits) -> None:
        super().__init__()
        self.bits = bits

    def range(self) -> Range:
        """Mean +- clipping value (one-sided: 0..clipping value), never beyond the extremes."""
        seen = self._seen()
        weights, centres = seen.counts / seen.total, seen.centres
        one_sided = seen.low >= 0
        middle = 0.0 if one_sided else float(weights @ centres)
        mean_deviation = float(weights @ np.abs(centres - middle))
        deviation = float(np.sqrt(weights @ np.square(centres - middle)))
        if deviation == 0:
            return Range(seen.low, seen.high)
        bits = self.bits + one_sided
        # E|x| / sigma: 0.798 for Gauss, 0.707 for Laplace
        if mean_deviation / deviation > (np.sqrt(2 / np.pi) + np.sqrt(0.5)) / 2:
            clip = deviation * gauss_clipping(bits)
        else:
            clip = mean_deviation * laplace_clipping(bits)
        return Range(max(seen.low, middle - clip), min(seen.high, middle + clip))


def laplace_clipping(bits: int) -> float:
    """The best clipping value in units of b: a / b = ln(3 * 4**bits * b / a) (equation 8)."""
    ratio = 5.0
    for _ in range(60):
        ratio = np.log(3 * 4.0**bits / ratio)
    return float(ratio)


def gauss_clipping(bits: int) -> float:
    """The best clipping value in units of sigma, by minimising equation 10's error."""
    from scipy.optimize import minimize_scalar
    from scipy.special import erfc

    def error(a: float) -> float:
        clipped = (1 + a * a) * erfc(a / np.sqrt(2)) - a * np.sqrt(2 / np.pi) * np.exp(-a * a / 2)
        return float(clipped + a * a / (3 * 4.0**bits))

    return float(minimize_scalar(error, bounds=(0.5, 8.0), method="bounded").x)


CALIBRATORS: dict[str, Callable[[], Calibrator]] = {
    "minmax": MinMax,
    "moving-average": MovingAverage,
    "percentile": Percentile,
    "mse": MeanSquaredError,
    "entropy": Entropy,
    "aciq": Aciq,
}
