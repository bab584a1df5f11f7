"""Percentiles and their intervals: against scipy, and by counting how often they are right."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from solutions.phase1_basics.percentiles import (
    binomial_cdf,
    percentile,
    percentile_estimate,
    percentile_ranks,
    samples_needed,
)
from zoo.errors import InferenceError


@pytest.mark.parametrize("count", [1, 2, 17, 100, 1000, 20_000])
@pytest.mark.parametrize("q", [0.01, 0.5, 0.95, 0.99, 0.999])
def test_binomial_distribution_is_scipys(count: int, q: float) -> None:
    expected = stats.binom.cdf(np.arange(count + 1), count, q)
    assert np.allclose(binomial_cdf(count, q), expected, atol=1e-9)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0, 1))
def test_percentile_is_numpys_inverted_cdf(values: list[float], q: float) -> None:
    sample = np.array(values)
    found = percentile(values, q)
    assert found in sample
    assert np.mean(sample <= found) >= q - 1e-9
    below = sample[sample < found]
    assert not len(below) or len(below) / len(sample) < q + 1e-9
    grid = round(q, 2)
    assert percentile(values, grid) == np.percentile(sample, 100 * grid, method="inverted_cdf") or (
        abs(grid * len(values) - round(grid * len(values))) < 1e-9  # NumPy rounds either way there
    )


@pytest.mark.parametrize("count", [6, 20, 72, 100, 368, 1000])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_ranks_are_the_tightest_with_each_side_in_bounds(
    count: int, q: float, confidence: float
) -> None:
    low, high = percentile_ranks(count, q, confidence)
    side = (1 - confidence) / 2
    if low is None:
        assert stats.binom.cdf(0, count, q) > side
    else:
        assert stats.binom.cdf(low - 1, count, q) <= side + 1e-12
        assert stats.binom.cdf(low, count, q) > side
    if high is None:
        assert stats.binom.sf(count - 1, count, q) > side
    else:
        assert stats.binom.sf(high - 1, count, q) <= side + 1e-12
        assert stats.binom.sf(high - 2, count, q) > side


@pytest.mark.parametrize("q", [0.5, 0.95])
@pytest.mark.parametrize("name", ["lognorm", "expon", "pareto"])
def test_intervals_hold_the_true_quantile_as_often_as_they_say(q: float, name: str) -> None:
    frozen = {"lognorm": stats.lognorm(1.0), "expon": stats.expon(), "pareto": stats.pareto(1.5)}
    law, rng = frozen[name], np.random.default_rng(5)
    draws = law.rvs((2000, 150), random_state=rng)
    found = [percentile_estimate(row, q, 0.9) for row in draws]
    hits = np.mean([e.low <= law.ppf(q) <= e.high for e in found])
    low, high = percentile_ranks(150, q, 0.9)
    exact = stats.binom.cdf(high - 1, 150, q) - stats.binom.cdf(low - 1, 150, q)
    assert exact >= 0.9
    assert abs(hits - exact) < 4 * math.sqrt(exact * (1 - exact) / 2000)


@pytest.mark.parametrize(("q", "needed"), [(0.5, 6), (0.95, 72), (0.99, 368), (0.999, 3688)])
def test_enough_samples_are_just_enough(q: float, needed: int) -> None:
    assert samples_needed(q) == needed
    values = np.random.default_rng(0).random(needed)
    assert percentile_estimate(values, q).supported
    few = percentile_estimate(values[:-1], q)
    assert not few.supported and str(needed) in few.verdict and few.high is None


def test_one_sample_has_a_value_and_no_interval() -> None:
    found = percentile_estimate([3.0], 0.99)
    assert (found.value, found.high, found.supported) == (3.0, None, False)
    assert found.low == 3.0  # 99% of all samples lie below the p99: that much is known
    assert percentile_estimate([3.0], 0.5).low is None
    assert found.name == "p99" and percentile_estimate([1.0], 0.999).name == "p99.9"


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_percentile_of_nothing_or_of_nan(values: list[float]) -> None:
    with pytest.raises(InferenceError, match="samples"):
        percentile_estimate(values, 0.5)


@pytest.mark.parametrize(("q", "confidence"), [(0.0, 0.9), (1.0, 0.9), (0.5, 1.0), (math.nan, 0.9)])
def test_impossible_quantiles_are_refused(q: float, confidence: float) -> None:
    with pytest.raises(InferenceError):
        percentile_ranks(10, q, confidence)


@settings(max_examples=30)
@given(st.integers(1, 400), st.sampled_from([0.5, 0.95, 0.99]))
def test_more_confidence_is_never_narrower(count: int, q: float) -> None:
    tight, wide = percentile_ranks(count, q, 0.8), percentile_ranks(count, q, 0.99)
    assert (wide.low or 0) <= (tight.low or 0)
    assert (wide.high or count + 1) >= (tight.high or count + 1)
