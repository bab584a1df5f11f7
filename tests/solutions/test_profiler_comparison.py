"""Comparisons of two profiles: how often the verdict is right, and files that are none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from solutions.phase1_basics.latency_profile import summarise
from solutions.phase1_basics.load_generator import closed_loop
from solutions.phase1_basics.profile_comparison import caveats, compare_profiles, compare_quantile
from solutions.phase1_basics.profile_record import (
    Profile,
    SavedProfile,
    describe_machine,
    read_profile,
    write_profile,
)
from tests.solutions.scripted import ScriptedClock
from zoo.errors import InferenceError


def sample(scale: float, count: int, seed: int) -> np.ndarray:
    """Latencies with a tail."""
    return scale * np.random.default_rng(seed).lognormal(0, 0.2, count)


@pytest.mark.parametrize("quantile", [0.5, 0.99])
def test_equal_systems_are_seldom_called_different(quantile: float) -> None:
    verdicts = [
        compare_quantile(sample(1, 600, s), sample(1, 600, s + 9999), quantile, margin=0).verdict
        for s in range(400)
    ]
    assert sum(v != "cannot tell" for v in verdicts) <= 0.05 * 400


def test_the_interval_holds_the_true_ratio() -> None:
    found = [compare_quantile(sample(1, 200, s), sample(1.3, 200, s + 9999), 0.5)
             for s in range(300)]
    assert np.mean([c.low <= 1.3 <= c.high for c in found]) >= 0.95
    assert np.mean([c.verdict == "slower" for c in found]) > 0.95


def test_verdicts_are_mirrored() -> None:
    a, b = sample(1, 500, 1), sample(1.2, 500, 2)
    assert compare_quantile(a, b, 0.5).verdict == "slower"
    back = compare_quantile(b, a, 0.5)
    assert back.verdict == "faster" and back.ratio == pytest.approx(
        1 / compare_quantile(a, b, 0.5).ratio)


def test_too_few_samples_cannot_tell_however_large_the_difference() -> None:
    found = compare_quantile([1.0] * 100, [9.0] * 100, 0.99)
    assert found.verdict == "cannot tell" and "437 needed" in found.reason
    assert compare_quantile([1.0], [9.0], 0.5).verdict == "cannot tell"
    assert compare_quantile([1.0] * 10, [9.0] * 10, 0.5).verdict == "slower"


def test_a_difference_within_the_margin_is_none() -> None:
    a = [1.0] * 500
    assert compare_quantile(a, [1.01] * 500, 0.5).verdict == "cannot tell"
    assert compare_quantile(a, [1.01] * 500, 0.5, margin=0.005).verdict == "slower"
    assert compare_quantile([0.0] * 500, a, 0.5).verdict == "slower"


@pytest.mark.parametrize("bad", [[], [float("nan")] * 10])
def test_samples_that_are_none_are_refused(bad: list[float]) -> None:
    with pytest.raises(InferenceError):
        compare_quantile(bad, [1.0] * 10, 0.5)


def profile(scale: float = 0.01, count: int = 50) -> Profile:
    """A profile of a scripted model."""
    clock = ScriptedClock()
    times = closed_loop(clock.model(sample(scale, count, 3)), count, clock)
    made = Profile("m", "r", "cpu", 1, (1, 3), describe_machine())
    made.closed = summarise(times, count)
    return made


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = profile()
    write_profile(made, tmp_path / "deep" / "p.json")
    found = read_profile(tmp_path / "deep" / "p.json")
    assert found.latency == {"closed": made.closed.latency} and found.rate is None
    (same, _) = compare_profiles(found, found)
    assert same.ratio == 1 and same.verdict == "cannot tell" and caveats(found, found) == []


def test_open_loops_of_different_rates_are_left_out() -> None:
    a = SavedProfile("m", "r", "p", {"closed": (1.0,) * 9, "open": (2.0,) * 9}, 10.0)
    b = replace(a, rate=20.0, processor="q")
    assert {c.mode for c in compare_profiles(a, b)} == {"closed"}
    assert {c.mode for c in compare_profiles(a, a)} == {"closed", "open"}
    assert len(caveats(a, b)) == 2
    with pytest.raises(InferenceError, match="no loop in common"):
        compare_profiles(replace(a, latency={"open": (1.0,)}), replace(b, latency={"open": (1.0,)}))


@pytest.mark.parametrize("content", [
    "", "{", "[]", "null", '{"version": 1}', '{"version": 99}', "[" * 100_000,
])
def test_files_that_are_no_profiles_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(InferenceError):
        read_profile(path)
    with pytest.raises(InferenceError):
        read_profile(tmp_path / "none.json")


@pytest.mark.parametrize("latency", [[], ["x"], [float("nan")], [-1.0], None, 5])
def test_latencies_that_are_no_times_are_refused(tmp_path: Path, latency: object) -> None:
    path = tmp_path / "p.json"
    write_profile(profile(), path)
    document = json.loads(path.read_text())
    document["closed"]["latency"] = latency
    path.write_text(json.dumps(document))
    with pytest.raises(InferenceError):
        read_profile(path)
