"""Times of frames: what is right about a video's timestamps comes through, the rest is mended."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solutions.phase4_production.video_analysis.frame_clock import NUDGE, FrameClock


def times(
    stamps: list[float | None], interval: float = 0.04, leap: float = math.inf
) -> list[float]:
    clock = FrameClock(interval, leap)
    return [clock.time(stamp) for stamp in stamps]


STAMPS = {
    "from zero": ([0.0, 0.04, 0.08], [0, 0.04, 0.08]),
    "non-zero start": ([7.5, 7.54, 7.58], [0, 0.04, 0.08]),
    "negative start": ([-0.08, -0.04, 0.0], [0, 0.04, 0.08]),
    "variable rate": ([0.0, 0.01, 0.5, 3.0], [0, 0.01, 0.5, 3.0]),
    "all missing": ([None, None, None], [0, 0.04, 0.08]),
    "some missing": ([1.0, None, 1.08, None], [0, 0.04, 0.08, 0.12]),
    "one stands still": ([0.0, 0.1, 0.1, 0.2], [0, 0.1, 0.1 + NUDGE, 0.2]),
    "one a little back": ([0.0, 0.1, 0.09, 0.2], [0, 0.1, 0.1 + NUDGE, 0.2]),
    "all the same": ([5.0] * 4, [0, NUDGE, NUDGE + 0.04, NUDGE + 0.08]),
    "wrapped around": ([95443.6, 95443.64, 0.0, 0.04], [0, 0.04, 0.08, 0.12]),
    "not a number": ([0.0, math.nan, 0.08], [0, 0.04, 0.08]),
}


@pytest.mark.parametrize("name", STAMPS)
def test_known_cases(name: str) -> None:
    stamps, expected = STAMPS[name]
    assert np.allclose(times(stamps), expected, atol=1e-9)


def test_a_leap_is_a_splice_only_where_the_format_leaps() -> None:
    stamps: list[float | None] = [0.0, 0.04, 5000.0, 5000.04]
    assert times(stamps)[2] == 5000.0
    assert np.allclose(times(stamps, leap=10.0), [0, 0.04, 0.08, 0.12])


stamp = st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.04, 1e18, -1e18, math.inf])


intervals, leaps = st.sampled_from([1e-4, 0.04, 1.0]), st.sampled_from([10, 1e99])


@given(st.lists(stamp, max_size=60), intervals, leaps)
def test_whatever_comes_times_increase(
    stamps: list[float | None], interval: float, leap: float
) -> None:
    found = times(stamps, interval, leap)
    assert all(a < b < math.inf for a, b in itertools.pairwise(found))


@given(st.lists(st.floats(1e-3, 100.0), max_size=50), st.floats(-1e4, 1e4))
def test_increasing_stamps_are_believed(gaps: list[float], start: float) -> None:
    stamps = [start, *(start + t for t in itertools.accumulate(gaps))]
    assert np.allclose(times(list(stamps)), np.array(stamps) - start, atol=1e-6)
