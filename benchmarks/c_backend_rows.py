"""Parts of the suite `compilation`: networks as C beside their runtimes, and memory plans."""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.graph_set import CASES, QUICK, GraphCase, graph_file
from benchmarks.suite import Context, Goal, Row, SuiteResult, at_least, at_most, unmeasured
from solutions.phase2_optimization.c_backend import build
from solutions.phase2_optimization.c_backend.runtime_arena import onnxruntime_arena_bytes
from solutions.phase2_optimization.c_backend.speed import (
    ONNX_RUNTIME,
    OURS,
    TOLERANCE,
    Speed,
    compare,
    largest_pixel,
)
from solutions.phase2_optimization.fixed_shapes import fix_shapes
from solutions.phase2_optimization.memory_plan import MemoryPlan, plan_memory
from solutions.phase2_optimization.onnx_rewrite import load_onnx
from zoo.errors import InferenceError
from zoo.registry import fetch, find

GOALS = ("zoo:digits", "zoo:street-small")  # to be as fast as ONNX Runtime at least
MODELS = (*GOALS, "mnist-cnn", "zoo:route-sign", "zoo:street-middle", "zoo:street-large",
          "yolox-nano")
QUICK_MODELS = (*GOALS, "mnist-cnn")
ROUNDS, QUICK_ROUNDS = 40, 15
VARIANT = "C, ahead of time"
MIB = 2**20


def c_backend(context: Context) -> SuiteResult:
    """Each network as C, ONNX Runtime and OpenVINO in turns, on one thread."""
    rows: list[Row] = []
    speeds: dict[str, Speed] = {}
    absent: dict[str, str] = {}
    for name in QUICK_MODELS if context.quick else MODELS:
        context.say(f"{name} as C beside ONNX Runtime and OpenVINO")
        try:
            found, own = _measured(name, QUICK_ROUNDS if context.quick else ROUNDS)
        except InferenceError as error:
            absent[name] = str(error)
            rows.append(_row(name, VARIANT, {}, str(error)))
            continue
        speeds[name] = found
        rows += own
    goals = [_goal(name, speeds, absent) for name in GOALS]
    differences = [speed.difference for speed in speeds.values()]
    goals.append(at_most("largest difference of a network as C from ONNX Runtime, relative",
                         max(differences, default=float("nan")), TOLERANCE))
    return SuiteResult(rows, goals, lambda figure: _draw_speeds(figure, speeds), {
        "c_backend": {"absent": absent, "ratios": {
            name: {other: list(ratio) for other, ratio in speed.ratios.items()}
            for name, speed in speeds.items()
        }},
    })


def _measured(name: str, rounds: int) -> tuple[Speed, list[Row]]:
    model = load_onnx(fetch(find(name)))
    start = time.perf_counter()
    module = build(model)
    seconds = time.perf_counter() - start
    found = compare(module, model, rounds=rounds, high=largest_pixel(name))
    needed = module.arena_bytes + module.output_bytes
    theirs = onnxruntime_arena_bytes(fix_shapes(model))
    note = (f"activations and outputs {needed / MIB:.3g} MiB"
            + (f", ONNX Runtime's arena {theirs / MIB:.3g} MiB" if theirs else ""))
    rows = [_row(name, VARIANT, {
        "ms": f"{found.milliseconds[OURS]:.3g}", "seconds": round(seconds, 1),
        "difference": float(f"{found.difference:.2g}"),
    }, note)]
    for other, ratio in found.ratios.items():
        rows.append(_row(name, f"{other}, one thread", {
            "ms": f"{found.milliseconds[other]:.3g}",
            "time over C's": f"{ratio.median:.3g} ({ratio.low:.3g}..{ratio.high:.3g})",
        }))
    return found, rows


def _goal(name: str, speeds: dict[str, Speed], absent: dict[str, str]) -> Goal:
    title = f"ONNX Runtime's time over that of C, {name}"
    if name not in speeds:
        return unmeasured(title, "at least 1", absent.get(name, "not run"))
    ratio = speeds[name].ratios[ONNX_RUNTIME]
    note = f"quartiles {ratio.low:.3g} to {ratio.high:.3g}"
    return replace(at_least(title, ratio.median, 1.0), note=note)


def _draw_speeds(figure: Any, speeds: dict[str, Speed]) -> None:
    axes = figure.subplots()
    others = sorted({other for speed in speeds.values() for other in speed.ratios})
    height = 0.8 / max(1, len(others))
    for number, other in enumerate(others):
        for place, speed in enumerate(speeds.values()):
            if other in speed.ratios:
                ratio = speed.ratios[other]
                axes.barh(place + number * height, ratio.median, height, color=f"C{number}",
                          xerr=[[ratio.median - ratio.low], [ratio.high - ratio.median]],
                          label=other if place == 0 else None)
    axes.set_yticks(np.arange(len(speeds)) + height * (len(others) - 1) / 2, list(speeds))
    axes.invert_yaxis()
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("time over that of the network as C, one thread (median, quartiles)")
    if speeds:
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def memory_plans(context: Context) -> SuiteResult:
    """Each graph's activations: every tensor its own, the arena, and what is needed at least."""
    rows: list[Row] = []
    plans: dict[str, MemoryPlan] = {}
    absent: dict[str, str] = {}
    context.say("memory plans")
    for case in QUICK if context.quick else CASES:
        try:
            start = time.perf_counter()
            plan = plans[str(case)] = _plan(case)
            rows.append(_row(str(case), "memory plan", {
                "seconds": round(time.perf_counter() - start, 2),
                "arena MiB": round(plan.arena.size / MIB, 3),
                "over least": round(plan.arena.size / plan.lower_bound, 4),
            }, f"{plan.naive / MIB:.3g} MiB if each tensor had its own, "
               f"at least {plan.lower_bound / MIB:.3g} MiB"))
        except InferenceError as error:
            absent[str(case)] = str(error)
            rows.append(_row(str(case), "memory plan", {}, f"left out: {error}"))
    worst = max((p.arena.size / p.lower_bound for p in plans.values()), default=float("nan"))
    goal = at_most("arena over the lower bound, worst graph", worst, 1.10)
    left = f"; left out: {', '.join(absent)}" if absent else ""
    goal = replace(goal, note=f"{len(plans)} graphs{left}")
    return SuiteResult(rows, [goal], lambda figure: _draw_plans(figure, plans),
                       {"memory plans left out": absent})


def _plan(case: GraphCase) -> MemoryPlan:
    return plan_memory(load_onnx(graph_file(case)))


def _draw_plans(figure: Any, plans: dict[str, MemoryPlan]) -> None:
    axes = figure.subplots()
    names = list(plans)
    places = np.arange(len(names))
    axes.barh(places, [p.naive / MIB for p in plans.values()], 0.8, color="lightgrey",
              label="each tensor its own")
    axes.barh(places, [p.arena.size / MIB for p in plans.values()], 0.8, color="C0",
              label="arena")
    axes.plot([p.lower_bound / MIB for p in plans.values()], places, "k|", label="lower bound")
    axes.set_yticks(places, names, fontsize="x-small")
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("MiB of activations")
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def _row(graph: str, variant: str, figures: Row, note: str = "") -> Row:
    return {"graph": graph, "variant": variant, **figures, "note": note}
