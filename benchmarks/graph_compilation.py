"""Graphs x optimizers: nodes, bytes, time to optimize, latency under ONNX Runtime, equality."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks import compilation_plot
from benchmarks.graph_goals import GraphResult, goals_of
from benchmarks.graph_latency import OWN, Speed, latency
from benchmarks.graph_set import CASES, QUICK, GraphCase, graph_file
from benchmarks.graph_variants import (
    OURS,
    PORTABLE,
    UNTOUCHED,
    random_feeds,
    variants,
)
from benchmarks.measure import Spread
from benchmarks.peers.optimizers import PEERS, Optimizer, peers
from benchmarks.suite import Context, Row, SuiteResult
from solutions.phase2_optimization.onnx_rewrite import Model, load_onnx
from zoo import registry
from zoo.errors import InferenceError

COLUMNS = ("nodes", "MB", "seconds", "ms", "speed-up", "speed-up, ORT on", "difference")
SECONDS, QUICK_SECONDS = 2.0, 0.7  # of timing for each group of variants


def graphs(context: Context) -> SuiteResult:
    """Every graph through every optimizer that is installed."""
    known = peers()
    optimizers: dict[str, Optimizer] = {**our_optimizers(), **known.found}
    results: list[GraphResult] = []
    absent: dict[str, str] = {}
    seconds = QUICK_SECONDS if context.quick else SECONDS
    for case in QUICK if context.quick else CASES:
        context.say(f"{case}: {len(optimizers)} optimizers")
        try:
            model = load_onnx(graph_file(case))
        except InferenceError as error:
            absent[str(case)] = str(error)
            continue
        results.append(measure(case, model, optimizers, seconds))
    rows = [row for result in results for row in rows_of(result)]
    rows += [row_of(name, "", note=why) for name, why in absent.items()]
    rows += [row_of("", line.split()[0], note=line) for line in known.missing]
    return SuiteResult(
        rows, goals_of(results, [name for name in PEERS if name in known.found]),
        lambda figure: compilation_plot.draw(figure, speeds_off(results)),
        {"graphs": len(results), "absent": absent},
    )


def our_optimizers() -> dict[str, Optimizer]:
    """Ours with the operators of ONNX Runtime, and with those of the standard alone."""
    from solutions.phase2_optimization.pass_manager import optimize
    from solutions.phase2_optimization.pass_order import ONNXRUNTIME_STAGES, PORTABLE_STAGES

    return {
        OURS: lambda model: optimize(model, ONNXRUNTIME_STAGES).model,
        PORTABLE: lambda model: optimize(model, PORTABLE_STAGES).model,
    }


def measure(
    case: GraphCase, model: Model, optimizers: Mapping[str, Optimizer], seconds: float
) -> GraphResult:
    """One graph: its variants, then their latency."""
    high = 1.0
    with contextlib.suppress(InferenceError):
        convention = registry.find(case.name).input
        high = 255.0 if convention is not None and convention.range == "0-255" else 1.0
    feeds = random_feeds(model, high)
    found = variants(model, optimizers, feeds)
    timed = latency(found, feeds, seconds)
    light = {name: replace(variant, model=None) for name, variant in found.items()}
    return GraphResult(case, light, timed)


def row_of(graph: str, variant: str, figures: Row | None = None, note: str = "") -> Row:
    """One row of the table, every column in it."""
    row: Row = {"graph": graph, "variant": variant}
    return row | dict.fromkeys(COLUMNS) | (figures or {}) | {"note": note}


def rows_of(result: GraphResult) -> list[Row]:
    """A row for each variant, and one for ONNX Runtime's own optimization."""
    graph, rows = str(result.case), []
    for name, variant in result.variants.items():
        rows.append(row_of(graph, name, {
            "nodes": variant.nodes or None,
            "MB": round(variant.size / 1e6, 3) or None,
            "seconds": round(float(np.median(variant.seconds)), 3) if variant.seconds else None,
            "ms": _milliseconds(result.latency.off.get(name)),
            "speed-up": _ratio(result.latency.off.get(name)),
            "speed-up, ORT on": _ratio(result.latency.full.get(name)),
            "difference": None if variant.note else float(f"{variant.difference:.2g}"),
        }, variant.note))
    own = result.latency.off[OWN]
    rows.append(row_of(graph, OWN, {"ms": _milliseconds(own), "speed-up": _ratio(own)}))
    return rows


def _milliseconds(speed: Speed | None) -> str | None:
    return None if speed is None else str(speed.milliseconds)


def _ratio(speed: Speed | None) -> str | None:
    return None if speed is None else str(speed.ratio)


def speeds_off(results: Sequence[GraphResult]) -> dict[str, dict[str, Spread]]:
    """Speed-up over untouched with ONNX Runtime's optimizer off, by graph and variant."""
    return {
        str(result.case): {
            name: speed.ratio for name, speed in result.latency.off.items() if name != UNTOUCHED
        }
        for result in results
    }
