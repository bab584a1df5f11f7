"""Latency of the variants of a graph under ONNX Runtime, each beside the untouched graph.

On one thread latency is processor time plus the time that neighbours took away: the processor's
time is what is compared, since a loaded machine changes it least.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from benchmarks.graph_variants import OURS, PORTABLE, UNTOUCHED, Variant
from benchmarks.measure import Interleaved, Spread, interleave
from benchmarks.onnx_sessions import FULL, OFF, session

OWN = "ONNX Runtime's own"  # the untouched graph, optimized by the runtime when it loads it
BURST = 3e-3  # seconds that one round of a variant takes at least


class Speed(NamedTuple):
    """One variant: milliseconds, and how many times faster than the untouched graph."""

    milliseconds: Spread
    ratio: Spread  # untouched / variant, round by round


class Latency(NamedTuple):
    """All variants of one graph with ONNX Runtime's optimizer off and on."""

    off: dict[str, Speed]  # with OWN among them
    full: dict[str, Speed]
    of_own: Spread | None  # seconds of OWN / seconds of ours with the optimizer off


def latency(
    found: Mapping[str, Variant], feeds: Mapping[str, Any], seconds: float
) -> Latency:
    """Time the variants in groups that fit into memory; about ``seconds`` for each group.

    Every group holds the untouched graph: ratios are taken within it. Where ours seems slower than
    untouched, the two are timed again and longer, as the last word.
    """
    models = {name: variant.model for name, variant in found.items() if variant.model is not None}
    ours = [name for name in (OURS, PORTABLE) if name in models]
    peers = [name for name in models if name not in (UNTOUCHED, OURS, PORTABLE)]
    off: dict[str, Speed] = {}
    full: dict[str, Speed] = {}
    first = _time(
        {name: (models[name], OFF) for name in (UNTOUCHED, *ours)}
        | {OWN: (models[UNTOUCHED], FULL)}, feeds, seconds,
    )
    off |= _speeds(first)
    if peers:
        off |= _speeds(_time({n: (models[n], OFF) for n in (UNTOUCHED, *peers)}, feeds, seconds))
    for group in (ours, peers):
        if group:
            full |= _speeds(
                _time({n: (models[n], FULL) for n in (UNTOUCHED, *group)}, feeds, seconds)
            )
    for speeds, level in ((off, OFF), (full, FULL)):
        if OURS in speeds and speeds[OURS].ratio.high < 1:
            pair = {name: (models[name], level) for name in (UNTOUCHED, OURS)}
            speeds[OURS] = _speeds(_time(pair, feeds, 2 * seconds))[OURS]
    return Latency(off, full, first.ratio(OWN, OURS) if OURS in models else None)


def _time(
    wanted: Mapping[str, tuple[Any, str]], feeds: Mapping[str, Any], seconds: float
) -> Interleaved:
    runners = {name: session(model, level) for name, (model, level) in wanted.items()}
    calls = {name: partial(runner.run, None, feeds) for name, runner in runners.items()}
    first = interleave(calls, 1, clock=time.process_time)
    once = max(first.spread(name).median for name in calls)
    burst = max(1, round(BURST / once))
    rounds = int(min(41, max(7, seconds / (once * burst * len(calls)))))
    return interleave(calls, rounds, burst, clock=time.process_time)


def _speeds(timed: Interleaved) -> dict[str, Speed]:
    return {
        name: Speed(Spread.of([1e3 * value for value in timed.seconds[name]]),
                    timed.ratio(UNTOUCHED, name))
        for name in timed.seconds
    }
