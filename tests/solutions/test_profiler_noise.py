"""Flags of a noisy measurement, against scipy and against planted faults."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from solutions.phase1_basics.noise import (
    Drift,
    drift,
    judge_noise,
    lag_one_autocorrelation,
    modified_z_scores,
    relative_spread,
)
from solutions.phase1_basics.throttling import cpu_frequency, judge_throttling
from zoo.errors import InferenceError


def steady(count: int = 200, seed: int = 0) -> np.ndarray:
    """Latencies without a fault, seconds."""
    return np.random.default_rng(seed).normal(0.01, 0.0001, count)


def test_scores_are_scipys_for_normal_values() -> None:
    values = steady()
    scale = stats.median_abs_deviation(values, scale="normal")
    assert np.allclose(modified_z_scores(values), (values - np.median(values)) / scale, rtol=1e-4)


def test_scores_survive_equal_values() -> None:
    assert not modified_z_scores([0.5] * 20).any()
    assert modified_z_scores([0.5] * 19 + [9.0])[-1] > 3.5


def test_planted_outliers_are_counted() -> None:
    values = steady()
    values[[10, 50, 90]] = 0.05
    found = judge_noise(values)
    assert 3 <= found.outliers <= 5 and any("outliers" in flag for flag in found.flags)


def test_a_steady_run_has_no_flag_of_drift_or_dependence() -> None:
    flags = [judge_noise(steady(seed=seed)).flags for seed in range(200)]
    trends = sum(any("during the run" in flag for flag in found) for found in flags)
    depends = sum(any("depend" in flag for flag in found) for found in flags)
    assert trends <= 8 and depends <= 8  # 1% and 0.5% are expected


@pytest.mark.parametrize("seed", range(5))
def test_drift_is_kendalls_test(seed: int) -> None:
    values = np.random.default_rng(seed).random(20) + np.arange(20) * 0.02 * seed
    found = drift(values)
    tau = stats.kendalltau(np.arange(20), values, method="asymptotic")
    assert found.probability == pytest.approx(tau.pvalue, rel=0.25, abs=1e-3)  # continuity
    slope = stats.theilslopes(values).slope
    assert found.change == pytest.approx(slope * 19 / np.median(values))


@pytest.mark.parametrize(("change", "word"), [(0.3, "slower"), (-0.3, "faster")])
def test_a_planted_trend_is_found(change: float, word: str) -> None:
    values = steady(400) * np.linspace(1, 1 + change, 400)
    found = judge_noise(values)
    assert found.drift.significant
    assert found.drift.change == pytest.approx(change, rel=0.3)
    assert any(word in flag for flag in found.flags)


def test_dependence_is_the_rank_correlation_of_neighbours() -> None:
    rng = np.random.default_rng(0)
    walk = np.zeros(2000)
    for i in range(1, 2000):
        walk[i] = 0.6 * walk[i - 1] + rng.normal()
    expected = stats.spearmanr(walk[1:], walk[:-1]).statistic
    assert lag_one_autocorrelation(walk) == pytest.approx(expected, abs=0.01)
    assert any("depend" in flag for flag in judge_noise(walk + 10).flags)


def test_spread_is_scipys_interquartile_range() -> None:
    values = np.random.default_rng(1).gamma(3, 1, 99)
    assert relative_spread(values) == pytest.approx(stats.iqr(values) / np.median(values))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_samples_raise_no_false_alarm(count: int) -> None:
    found = judge_noise([0.01] * count)
    assert found.flags == () and found.drift.probability == 1.0


def test_no_noise_of_nan() -> None:
    with pytest.raises(InferenceError, match="not finite"):
        judge_noise([0.1, math.nan])


def write_frequency(root: Path, *khz: str) -> None:
    """A machine whose processors run at these frequencies."""
    for number, text in enumerate(khz):
        folder = root / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scaling_cur_freq").write_text(text)


def test_frequency_is_the_mean_of_what_can_be_read(tmp_path: Path) -> None:
    assert cpu_frequency(tmp_path) is None
    write_frequency(tmp_path, "2000000\n", "3000000\n", "what")
    assert cpu_frequency(tmp_path) == 2.5e9


def test_throttling_by_frequency_before_drift() -> None:
    rising = Drift(0.5, 1e-6)
    assert not judge_throttling([3e9, 3e9], rising).noticed
    found = judge_throttling([3e9, 2e9], Drift(0.0, 1.0))
    assert found.noticed and found.evidence == "frequency" and "33%" in found.reason


def test_throttling_by_drift_where_there_is_no_frequency() -> None:
    found = judge_throttling([None, None], Drift(0.5, 1e-6))
    assert found.noticed and found.evidence == "drift" and "50%" in found.reason
    assert not judge_throttling([None], Drift(0.5, 0.2)).noticed
    assert not judge_throttling([], Drift(-0.5, 1e-6)).noticed
