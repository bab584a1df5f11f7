"""Calibrators against closed forms on known distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr

from solutions.phase2_optimization.affine import asymmetric_params, fake_quantize
from solutions.phase2_optimization.calibration import (
    CALIBRATORS,
    Aciq,
    Entropy,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Percentile,
    clipping_divergence,
    gauss_clipping,
    laplace_clipping,
)
from solutions.phase2_optimization.histogram import BINS, StreamingHistogram
from solutions.phase2_optimization.quantized_types import UINT8
from zoo.errors import InferenceError


def fed(calibrator, values, parts=7):
    for part in np.array_split(values, parts):
        calibrator.observe(part)
    return calibrator.range()


def draw(kind, count=400_000, seed=0):
    rng = np.random.default_rng(seed)
    return {"gauss": rng.normal, "laplace": rng.laplace}[kind](0, 2.0, count).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 6))
def test_a_histogram_in_parts_counts_what_numpy_counts(seed, parts) -> None:
    rng = np.random.default_rng(seed)
    histogram, everything = StreamingHistogram(), []
    for _ in range(parts):
        scale = 10.0 ** rng.integers(-3, 4)
        batch = rng.normal(rng.normal(0, scale), scale, rng.integers(1, 300)).astype(np.float32)
        histogram.add(batch)
        everything.append(batch)
    values = np.concatenate(everything).astype(np.float64)
    edges = histogram.start + np.arange(BINS + 1) * histogram.width
    expected, _ = np.histogram(values, edges)
    assert histogram.total == values.size
    # merged edges are sums of floats: a value on an edge may fall to either side
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= 2
    assert (histogram.low, histogram.high) == (values.min(), values.max())


def test_extremes_and_their_moving_average() -> None:
    batches = [np.array([-1.0, 3.0]), np.array([0.0, 5.0]), np.array([-3.0, 1.0])]
    extremes, moving = MinMax(), MovingAverage(0.5)
    for batch in batches:
        extremes.observe(batch)
        moving.observe(batch)
    assert extremes.range() == (-3.0, 5.0)
    assert moving.range() == (((-1.0 + 0.0) / 2 - 3.0) / 2, ((3.0 + 5.0) / 2 + 1.0) / 2)


def test_percentile_is_numpy_s() -> None:
    values = draw("laplace")
    low, high = fed(Percentile(99.0), values)
    width = np.ptp(values) / BINS
    expected = np.percentile(values, [0.5, 99.5])
    np.testing.assert_allclose([low, high], expected, atol=2 * width)
    assert fed(Percentile(100.0), values) == (values.min(), values.max())


def test_least_squares_beats_every_other_symmetric_range() -> None:
    values = draw("laplace", 100_000)
    values[0] = 400.0  # one outlier

    def error(low, high):
        params = asymmetric_params(low, high, UINT8)
        return np.square(fake_quantize(values, params) - values).mean()

    found = fed(MeanSquaredError(), values)
    brute = min(error(-m, m) for m in np.linspace(2, 400, 200))
    assert error(*found) <= 1.02 * brute
    assert error(*found) < 0.9 * error(values.min(), values.max())


def test_published_clipping_values() -> None:
    """Banner et al., arXiv:1810.05723: optimal clipping of 2..8 bits."""
    laplace = [2.83, 3.89, 5.03, 6.20, 7.41, 8.64, 9.89]
    gauss = [1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92]
    bits = range(2, 9)
    np.testing.assert_allclose([laplace_clipping(b) for b in bits], laplace, atol=0.012)
    np.testing.assert_allclose([gauss_clipping(b) for b in bits], gauss, atol=0.012)


@pytest.mark.parametrize(("kind", "clip"), [("gauss", 3.92 * 2), ("laplace", 9.89 * 2)])
def test_aciq_recognises_the_distribution(kind, clip) -> None:
    found = fed(Aciq(), draw(kind))
    np.testing.assert_allclose(found, [-clip, clip], rtol=0.03)


def test_aciq_after_relu_uses_both_halves_of_the_levels() -> None:
    low, high = fed(Aciq(), np.abs(draw("laplace")))
    assert low >= 0 and high == pytest.approx(2 * laplace_clipping(9), rel=0.03)


def test_divergence_is_scipy_s_on_a_small_case() -> None:
    counts = np.array([9, 5, 0, 3, 1, 0, 0, 1])
    p = np.array([9, 5, 0, 3, 1 + 1]) / 19
    groups = [[0, 1, 2], [3, 4]]  # five bins on two levels
    q = np.zeros(5)
    for group in groups:
        filled = [i for i in group if counts[i]]
        q[filled] = counts[filled].sum() / len(filled)
    expected = rel_entr(p, q / q.sum()).sum()
    assert clipping_divergence(counts, 5, 2) == pytest.approx(expected)


def test_entropy_clips_outliers_and_keeps_what_is_dense() -> None:
    values = draw("gauss", 200_000)
    values[:20] = 100.0
    _, high = fed(Entropy(), values)
    assert 5.0 < high < 40.0
    uniform = np.random.default_rng(0).uniform(-3, 3, 200_000)
    assert fed(Entropy(), uniform) == pytest.approx((-3.0, 3.0), rel=0.01)


@pytest.mark.parametrize("name", sorted(CALIBRATORS))
def test_odd_streams(name) -> None:
    with pytest.raises(InferenceError, match="no values"):
        CALIBRATORS[name]().range()
    zeros = fed(CALIBRATORS[name](), np.zeros(100, np.float32))
    assert zeros == pytest.approx((0.0, 0.0), abs=1e-5)
    constant = fed(CALIBRATORS[name](), np.full(100, 4.25, np.float32))
    assert constant.high == pytest.approx(4.25, rel=0.05) and constant.low >= -1e-6
    single = fed(CALIBRATORS[name](), np.array([-1.0, 0.5], np.float32), parts=1)
    assert -1.0 <= single.low < single.high <= 0.5


@pytest.mark.parametrize("name", sorted(CALIBRATORS))
def test_a_range_does_not_depend_on_how_the_stream_is_cut(name) -> None:
    if name == "moving-average":
        pytest.skip("depends on batches by definition")
    values = np.random.default_rng(1).gamma(2.0, 1.5, 20_000).astype(np.float32)
    whole, parts = fed(CALIBRATORS[name](), values, 1), fed(CALIBRATORS[name](), values, 50)
    assert whole.high == pytest.approx(parts.high, rel=0.08)
    assert 0 < whole.high <= values.max() + 1e-6
