"""Whether one profile is faster than another, or whether nobody can tell.

The test: each profile's quantile gets a distribution-free interval from its order statistics at
confidence 1 - a/2. Both hold together with at least 1 - a (Bonferroni), so the ratio of the true
quantiles lies between low_b / high_a and high_b / low_a with that confidence. A verdict needs the
whole interval on one side of 1, and beyond a margin that a second run of the same program can
reach on its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from solutions.phase1_basics.percentiles import CONFIDENCE, percentile, percentile_estimate
from solutions.phase1_basics.profile_record import SavedProfile
from zoo.errors import InferenceError

MARGIN = 0.02
Verdict = Literal["faster", "slower", "cannot tell"]


@dataclass(frozen=True)
class Comparison:
    """One quantile of profile b against that of profile a."""

    mode: str
    quantile: float
    before: float  # of a, seconds
    after: float  # of b
    ratio: float  # after / before
    low: float | None  # the ratio's interval; None: too few samples
    high: float | None
    verdict: Verdict
    reason: str


def compare_quantile(
    before: Sequence[float],
    after: Sequence[float],
    quantile: float,
    confidence: float = CONFIDENCE,
    margin: float = MARGIN,
    mode: str = "closed",
) -> Comparison:
    """Compare one quantile of two samples of latencies (seconds).

    Raises InferenceError for samples that are empty or not finite.
    """
    each = (1 + confidence) / 2
    a, b = (percentile_estimate(values, quantile, each) for values in (before, after))
    ratio = _ratio(b.value, a.value)
    if a.low is None or a.high is None or b.low is None or b.high is None:
        few = min(len(before), len(after))
        reason = f"{few} samples, {max(a.needed, b.needed)} needed in both"
        return Comparison(mode, quantile, percentile(before, quantile), b.value, ratio, None,
                          None, "cannot tell", reason)
    low, high = _ratio(b.low, a.high), _ratio(b.high, a.low)
    verdict: Verdict = "cannot tell"
    reason = f"the interval of the ratio reaches into 1 ± {margin:g}"
    if high < 1 - margin:
        verdict, reason = "faster", f"the ratio is below {1 - margin:g} with {confidence:.0%}"
    elif low > 1 + margin:
        verdict, reason = "slower", f"the ratio is above {1 + margin:g} with {confidence:.0%}"
    return Comparison(mode, quantile, a.value, b.value, ratio, low, high, verdict, reason)


def _ratio(after: float, before: float) -> float:
    if before > 0:
        return after / before
    return float("inf") if after > 0 else 1.0


def compare_profiles(
    before: SavedProfile, after: SavedProfile, quantiles: Sequence[float] = (0.5, 0.99)
) -> list[Comparison]:
    """Compare the loops that both profiles hold; open loops only at the same rate.

    Raises InferenceError where they have none in common.
    """
    modes = [mode for mode in before.latency if mode in after.latency]
    if before.rate != after.rate and "open" in modes:
        modes.remove("open")
    if not modes:
        raise InferenceError("the profiles have no loop in common: profile both the same way")
    return [
        compare_quantile(before.latency[mode], after.latency[mode], quantile, mode=mode)
        for mode in modes for quantile in quantiles
    ]


def caveats(before: SavedProfile, after: SavedProfile) -> list[str]:
    """What differs between the profiles besides what is meant to be compared."""
    found = []
    if before.processor != after.processor:
        found.append(f"different machines: {before.processor} and {after.processor}")
    if before.rate != after.rate and "open" in before.latency and "open" in after.latency:
        found.append(f"open loops of different rates ({before.rate:g} and {after.rate:g} per "
                     "second) are left out")
    return found
