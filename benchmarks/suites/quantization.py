"""INT8 beside ONNX Runtime's and NNCF's: accuracy kept, speed, size, and the time it takes."""

import contextlib
import importlib
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

from benchmarks.measure import Spread
from benchmarks.quantization_cases import Case, build_case
from benchmarks.quantization_contenders import (
    Made,
    contenders,
    digest,
    integer_share,
    is_ours,
    make,
)
from benchmarks.quantization_goals import HALF, Found, Measured, goals, goals_of_all, promises
from benchmarks.suite import Context, Goal, Row, SuiteResult, unmeasured
from solutions.phase2_optimization.evaluation_task import onnx_run
from solutions.phase2_optimization.measured_variants import latencies
from solutions.phase2_optimization.onnx_rewrite import Model
from solutions.phase2_optimization.variants import Variant
from zoo.errors import InferenceError

STREETS = ("zoo:street-small", "zoo:street-middle", "zoo:street-large")
MODELS = (*STREETS, "zoo:digits", "mnist-cnn", "resnet20-cifar10", "resnet18", "yolox-nano")
QUICK = ("zoo:street-small", "zoo:digits", "mnist-cnn")
LOWEST = 94  # percent of FP32's accuracy that the plot still shows
OPENINGS, QUICK_OPENINGS, ROUNDS = 9, 5, 3
KINDS = {"ours": ("#d9480f", "o"), "ORT": ("#6a7785", "s"), "NNCF": ("#1c7ed6", "D")}
REPEATED = 2.0  # seconds: what was made in less is made once more, and the faster time counts
COLUMNS = ("model", "INT8 by", "score", "of FP32", "speed over FP32", "made in s", "kB",
           "in INT8", "note")


def run(context: Context) -> SuiteResult:
    """Each model: everyone quantizes it from the same data; then all are scored and timed."""
    _load_peers()
    found: list[Found] = []
    made: list[Goal] = []
    for name in MODELS:
        if context.quick and name not in QUICK:
            made += [context.deep_goal(*promise) for promise in promises(name).items()]
            continue
        context.say(f"{name}: data")
        try:
            case = build_case(name, context.quick)
        except InferenceError as error:  # a missing package, too
            context.say(f"{name}: {error}")
            made += [unmeasured(*promise, str(error)) for promise in promises(name).items()]
            continue
        found.append(measure(case, context))
        made += goals(found[-1])
    made += goals_of_all(found)
    rows = [row for one in found for row in _rows(one)]
    return SuiteResult(rows, made, lambda figure: _plot(figure, found), _facts(found))


def _load_peers() -> None:
    """Import the peers now: no quantizing time holds the loading of a package."""
    for name in ("onnxruntime.quantization", "nncf", "nncf.onnx.quantization.quantize_model"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def measure(case: Case, context: Context) -> Found:
    """Quantize, score and time one model in every way."""
    real = onnx_run(case.task.model)
    findings = {"": case.judge.found(real)}
    models = [_made(case, name, context) for name in contenders(case.name, context.quick)]
    whole = [one for one in models if not one.reason]
    context.say(f"{case.name}: score and time")
    keys = {one.name: digest(one.model) for one in whole}
    distinct = {keys[one.name]: one.model for one in whole}
    for key, model in distinct.items():
        findings[key] = case.judge.found(onnx_run(model))
    speeds = speed_over_float({"": case.task.model, **distinct}, case,
                              QUICK_OPENINGS if context.quick else OPENINGS)
    everyone = range(case.judge.count)
    scores = {key: case.judge.score(found, everyone) for key, found in findings.items()}
    shares = {key: integer_share(model, case.task.model) for key, model in distinct.items()}
    sizes = {key: len(model.SerializeToString()) / 1e3 for key, model in distinct.items()}
    measured = {
        one.name: Measured(one.name, scores[key], speeds[key], one.seconds, sizes[key], shares[key])
        for one, key in ((one, keys[one.name]) for one in whole)
    }
    failed = {one.name: one.reason for one in models if one.reason}
    found = Found(case.name, case.metric_name, scores[""], measured, failed)
    ours, peer = found.champion, found.best_peer
    if ours is None or peer is None:
        return found
    chance = case.judge.chance(findings[keys[ours.name]], findings[keys[peer.name]])
    return replace(found, chance=chance)


def _made(case: Case, name: str, context: Context) -> Made:
    """A contender's model; what took little time is made twice."""
    context.say(f"{case.name}: {name}")
    made = make(case, name)
    if made.reason or made.seconds > REPEATED:
        return made
    return replace(made, seconds=min(made.seconds, make(case, name).seconds))


def speed_over_float(models: Mapping[str, Model], case: Case, openings: int) -> dict[str, Spread]:
    """How many times faster each model is than the one named "", by openings.

    Now and then a session is half as fast as others of the same model, for all its life (where its
    memory lies, it seems): so every model is opened several times, and the median has no such
    luck. Sessions run in the caller's thread, whose processor time is taken: what neighbours on
    the machine take is not in it. An opening counts with the median of its calls.
    """
    ratios: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(openings):
        variants = [Variant(name, model, onnx_run(model), 0.0) for name, model in models.items()]
        seconds = latencies(variants, case.task, ROUNDS, time.thread_time)
        typical = {name: statistics.median(chain(*found)) for name, found in seconds.items()}
        for name, own in typical.items():
            ratios[name].append(typical[""] / own)
    return {name: Spread.of(found) for name, found in ratios.items()}


def _rows(found: Found) -> list[Row]:
    first = {"model": found.model, "INT8 by": f"FP32 ({found.metric_name})",
             "score": f"{found.real:.4f}"}
    rows: list[Row] = [dict.fromkeys(COLUMNS) | first]
    for one in found.measured.values():
        rows.append({
            "model": found.model, "INT8 by": _side(one.name), "score": f"{one.score:.4f}",
            "of FP32": f"{100 * one.score / found.real:.1f}%", "speed over FP32": str(one.speed),
            "made in s": f"{one.seconds:.2f}", "kB": f"{one.kilobytes:,.0f}",
            "in INT8": f"{100 * one.share:.0f}%", "note": None,
        })
    for name, reason in found.failed.items():
        what = {"model": found.model, "INT8 by": _side(name), "note": reason}
        rows.append(dict.fromkeys(COLUMNS) | what)
    return rows


def _side(name: str) -> str:
    return f"ours: {name}" if is_ours(name) else name


def _facts(found: Sequence[Found]) -> dict[str, Any]:
    return {
        one.model: {
            "metric": one.metric_name, "fp32": one.real,
            "chance": one.chance, "failed": dict(one.failed),
            "measured": {name: asdict(figures) for name, figures in one.measured.items()},
        }
        for one in found
    }


def _plot(figure: Any, found: Sequence[Found]) -> None:
    """A panel per model: accuracy kept over speed; what lost more lies at the lower edge."""
    panels = figure.subplots(max(1, math.ceil(len(found) / 4)), max(1, min(4, len(found))),
                             sharey=True, squeeze=False)
    for axes in panels.flat[len(found):]:
        axes.set_visible(False)
    for axes, one in zip(panels.flat, found, strict=False):
        axes.axhline(100, color="#c9d2dc", linewidth=0.8, zorder=0)
        axes.axvline(1, color="#c9d2dc", linewidth=0.8, zorder=0)
        _points(axes, one)
        axes.set_title(one.model.removeprefix("zoo:"), fontsize=8, loc="left", pad=3)
        axes.set_ylim(LOWEST, 101.5)
        axes.set_xlim(0, 1.1 * max(1.0, *(m.speed.median for m in one.measured.values())))
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(handles=_legend(), frameon=False, fontsize=7, ncols=5, loc="outside upper right")
    figure.supxlabel("speed over FP32 in ONNX Runtime, one thread", fontsize=8)
    figure.supylabel("accuracy kept, %", fontsize=8)


def _points(axes: Any, found: Found) -> None:
    """One model's contenders; the lowest of those below the panel by its figure."""
    lost = []
    for one in sorted(found.measured.values(), key=lambda m: is_ours(m.name)):
        colour, shape = KINDS[_kind(one.name)]
        kept, speed = 100 * one.score / found.real, one.speed.median
        axes.scatter(speed, max(kept, LOWEST), s=44 if one is found.champion else 18,
                     marker=shape if kept >= LOWEST else "v", edgecolors=colour, linewidths=0.9,
                     facecolors=colour if one.share >= HALF else "white", alpha=0.85,
                     clip_on=False, zorder=3)
        if kept < LOWEST:
            lost.append((kept, speed))
    if lost:
        kept, speed = min(lost)
        axes.annotate(f"{kept:.0f}%", (speed, LOWEST), xytext=(0, 6), fontsize=6, ha="center",
                      textcoords="offset points", color="#1d2733")


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D

    marks = [(name, colour, shape, colour) for name, (colour, shape) in KINDS.items()]
    marks.append((f"below {LOWEST}%", "#1d2733", "v", "#1d2733"))
    marks.append(("hollow: less than half in INT8", "#1d2733", "o", "white"))
    return [Line2D([], [], linestyle="", marker=shape, markersize=4, label=name,
                   markeredgecolor=colour, markerfacecolor=face)
            for name, colour, shape, face in marks]


def _kind(name: str) -> str:
    return "ours" if is_ours(name) else name.partition(" ")[0]
