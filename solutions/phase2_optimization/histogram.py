"""A histogram of a stream of numbers in bounded memory.

The problem: calibration sees millions of activations, batch by batch, and does not know their
range beforehand. The idea: a fixed number of bins; where a value falls outside, the range doubles
towards it and neighbouring bins merge, so that no count is ever lost or moved across an edge.

    before  |a|b|c|d|e|f|g|h|              a value above the range
    after   |a+b|c+d|e+f|g+h|0|0|0|0|      the same bins, twice as wide
"""

import numpy as np
from numpy.typing import NDArray

BINS = 2048  # a power of two; TensorRT and ONNX Runtime use as many

Floats = NDArray[np.float64]


class StreamingHistogram:
    """Counts of values in ``BINS`` equal bins, and their exact extremes."""

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.start = 0.0  # lower edge of the first bin
        self.width = 0.0  # of one bin; 0: nothing seen yet
        self.low, self.high = np.inf, -np.inf

    def add(self, values: NDArray[np.floating]) -> None:
        """Count finite values; an empty array changes nothing."""
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"a histogram takes finite values only, not {low}..{high}")
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.width == 0.0:
            self._begin(low, high)
        while high >= self.start + BINS * self.width:
            self.counts[: BINS // 2], self.counts[BINS // 2 :] = self._pairs(), 0
            self.width *= 2
        while low < self.start:
            self.counts[BINS // 2 :], self.counts[: BINS // 2] = self._pairs(), 0
            self.start -= BINS * self.width
            self.width *= 2
        bins = ((values.reshape(-1).astype(np.float64) - self.start) / self.width).astype(np.int64)
        self.counts += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)

    def _begin(self, low: float, high: float) -> None:
        """The first range: the values', a little wider so that the highest lies inside."""
        extent = (high - low) or max(abs(low), 1e-6)
        self.start, self.width = low, extent * (1 + 1e-6) / BINS

    def _pairs(self) -> NDArray[np.int64]:
        return np.asarray(self.counts.reshape(-1, 2).sum(axis=1))

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def centres(self) -> Floats:
        """The middle of each bin [BINS]."""
        return np.asarray(self.start + (np.arange(BINS) + 0.5) * self.width)

    def magnitudes(self) -> tuple[NDArray[np.int64], float]:
        """The histogram of absolute values: counts [BINS] and the width of a bin."""
        most = max(abs(self.low), abs(self.high))
        width = (most or 1.0) * (1 + 1e-6) / BINS
        bins = np.minimum(np.abs(self.centres) / width, BINS - 1).astype(np.int64)
        folded = np.bincount(bins, weights=self.counts, minlength=BINS)
        return folded.astype(np.int64), width
