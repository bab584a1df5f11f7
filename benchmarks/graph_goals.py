"""What the suite ``compilation`` promises of the optimizer, graph by graph and in total."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.graph_latency import Latency, Speed
from benchmarks.graph_set import GraphCase
from benchmarks.graph_variants import OURS, PORTABLE, UNTOUCHED, Variant
from benchmarks.peers.optimizers import SLIM
from benchmarks.suite import Goal, at_least, at_most, unmeasured

EQUAL = 1e-4  # relative to the largest value of an output


@dataclass(frozen=True)
class GraphResult:
    """Everything about one graph."""

    case: GraphCase
    variants: Mapping[str, Variant]
    latency: Latency


def goals_of(results: Sequence[GraphResult], known: Sequence[str]) -> list[Goal]:
    """What the optimizer promises."""
    if not results:
        return [unmeasured("graphs", "at least 1", "no graph is to be had here")]
    return [*_node_goals(results, known), *_speed_goals(results), _equality(results),
            *_time_goals(results)]


def _node_goals(results: Sequence[GraphResult], known: Sequence[str]) -> list[Goal]:
    name = "nodes of {} / best peer's, {}"
    if not known:
        why = "no peer is installed: pip install '.[bench]'"
        return [unmeasured(name.format(OURS, "worst graph"), "at most 1.02", why)]
    goals = []
    for ours in (OURS, PORTABLE):
        best = [min(r.variants[peer].nodes for peer in known if r.variants[peer].nodes)
                for r in results]
        own = [r.variants[ours].nodes for r in results]
        ratios = [a / b for a, b in zip(own, best, strict=True)]
        worst = int(np.argmax(ratios))
        goals += [
            _noted(at_most(name.format(ours, "worst graph"), ratios[worst], 1.02),
                   f"{results[worst].case}: {own[worst]} and {best[worst]}"),
            _noted(at_most(name.format(ours, "all graphs together"), sum(own) / sum(best), 1.0),
                   f"{sum(own)} and {sum(best)} of {_total(results, UNTOUCHED)}"),
        ]
    return goals


def _total(results: Sequence[GraphResult], name: str) -> int:
    return sum(result.variants[name].nodes for result in results)


def _speed_goals(results: Sequence[GraphResult]) -> list[Goal]:
    done = [result for result in results if OURS in result.latency.off]
    gains = [result.latency.off[OURS].ratio.median for result in done]
    own = [result.latency.of_own.median for result in done if result.latency.of_own is not None]
    goals = [
        _noted(at_least("speed over untouched, ONNX Runtime's optimizer off, geometric mean",
                        _geometric(gains), 1.2), _extremes(done, gains)),
        _noted(at_least("speed over ONNX Runtime's own full optimization, geometric mean",
                        _geometric(own), 0.95), _extremes(done, own)),
    ]
    for mode, pick in (("off", _off), ("on", _full)):
        slower = [f"{r.case} {pick(r)[OURS].ratio}" for r in done
                  if pick(r)[OURS].ratio.high < 1]  # the whole spread on the wrong side
        goals.append(_noted(
            at_most(f"graphs slower than untouched, ONNX Runtime's optimizer {mode}",
                    len(slower), 0), ", ".join(slower)))
    return goals


def _off(result: GraphResult) -> dict[str, Speed]:
    return result.latency.off


def _full(result: GraphResult) -> dict[str, Speed]:
    return result.latency.full


def _equality(results: Sequence[GraphResult]) -> Goal:
    pairs = [(result.variants[name].difference, f"{result.case}, {name}")
             for result in results for name in (OURS, PORTABLE)]
    worst, where = max(pairs)
    return _noted(at_most("largest relative difference of an output from the untouched graph's",
                          worst, EQUAL), where)


def _time_goals(results: Sequence[GraphResult]) -> list[Goal]:
    name = "time to optimize / onnxslim's, {}"
    pairs: list[tuple[float, str]] = []
    for result in results:
        ours, slim = result.variants[OURS].seconds, result.variants.get(SLIM)
        if slim is not None and slim.seconds and ours:
            count = min(len(ours), len(slim.seconds))
            ratios = np.array(ours[:count]) / np.array(slim.seconds[:count])
            pairs.append((float(np.median(ratios)), str(result.case)))
    if not pairs:
        why = "onnxslim is not installed: pip install '.[bench]'"
        return [unmeasured(name.format("geometric mean"), "at most 1", why)]
    worst, where = max(pairs)
    mean = _geometric([ratio for ratio, _ in pairs])
    return [at_most(name.format("geometric mean"), mean, 1.0),
            _noted(at_most(name.format("worst graph"), worst, 1.0), where)]


def _geometric(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


def _extremes(results: Sequence[GraphResult], values: Sequence[float]) -> str:
    if not values:
        return "no graph"
    low, high = int(np.argmin(values)), int(np.argmax(values))
    return (f"{values[low]:.2f} ({results[low].case}) to {values[high]:.2f} "
            f"({results[high].case})")


def _noted(goal: Goal, note: str) -> Goal:
    return Goal(goal.name, goal.goal, goal.measured, goal.holds, note)
