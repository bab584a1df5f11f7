"""The C library beside ONNX Runtime and OpenVINO: equal outputs, and who is faster.

All run on one thread and take turns, in another order each round; ratios are taken within a round,
where all met the same neighbours.
"""

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from solutions.phase2_optimization.c_backend.blocks import Floats
from solutions.phase2_optimization.c_backend.module import CModule
from solutions.phase2_optimization.fixed_shapes import fix_shapes
from solutions.phase2_optimization.onnx_rewrite import Model
from zoo.registry import entries

ROUNDS, WARM_UP = 30, 3
ROUND_SECONDS = 0.02  # a contender's share of a round: so many calls as fit, at least one
MOST_CALLS = 50
TOLERANCE = 1e-4  # of the largest expected magnitude
Feeds = Mapping[str, Floats]
Run = Callable[[Feeds], list[Floats]]
OURS, ONNX_RUNTIME, OPENVINO = "C", "ONNX Runtime", "OpenVINO"


class Ratio(NamedTuple):
    """Another's time over ours, by rounds: above 1, ours is faster."""

    median: float
    low: float  # quartiles
    high: float


@dataclass(frozen=True)
class Speed:
    """What a comparison found."""

    difference: float  # from ONNX Runtime, relative to the largest expected magnitude
    milliseconds: dict[str, float]  # medians of a call
    ratios: dict[str, Ratio]


def generated_feeds(module: CModule, high: float = 1.0, seed: int = 0) -> dict[str, Floats]:
    """Inputs in the shapes that the module wants, uniform from 0 to ``high``."""
    rng = np.random.default_rng(seed)
    return {name: np.float32(high) * rng.random(shape, np.float32)
            for name, shape in module.inputs.items()}


def largest_pixel(name: str) -> float:
    """The largest value of an image for a model of the registry; 1 for models not in it."""
    entry = entries().get(name)
    bytes_wanted = entry is not None and entry.input is not None and entry.input.range == "0-255"
    return 255.0 if bytes_wanted else 1.0


def onnxruntime_run(model: Model) -> Run:
    """ONNX Runtime with all its optimizations, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda feeds: [np.asarray(value) for value in session.run(None, dict(feeds))]


def openvino_run(model: Model) -> Run | None:
    """OpenVINO in float32 for latency, on one thread; None where it is not installed."""
    if importlib.util.find_spec("openvino") is None:
        return None
    import openvino

    hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
             "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    core = openvino.Core()
    compiled: Any = core.compile_model(core.read_model(model.SerializeToString()), "CPU", hints)
    request = compiled.create_infer_request()
    places = {value.any_name: place for place, value in enumerate(compiled.inputs)}

    def run(feeds: Feeds) -> list[Floats]:
        request.infer({places[name]: value for name, value in feeds.items()}, share_inputs=True)
        return [np.asarray(request.get_output_tensor(i).data)
                for i in range(len(compiled.outputs))]

    return run


def relative_difference(found: list[Floats], expected: list[Floats]) -> float:
    """The largest difference of any output, over that output's largest expected magnitude."""
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        scale = float(np.abs(other).max(initial=0.0)) or 1.0
        gap = float(np.abs(one - other).max(initial=0.0)) / scale
        worst = max(worst, gap if np.isfinite(gap) else np.inf)
    return worst


def compare(
    module: CModule, model: Model, batch: int = 1, rounds: int = ROUNDS, high: float = 1.0,
    progress: Callable[[int], None] = lambda done: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Check a module against ONNX Runtime, then time all in turns, on inputs from 0 to ``high``."""
    fixed = fix_shapes(model, batch)
    feeds = generated_feeds(module, high)
    runs: dict[str, Run] = {
        OURS: lambda given: list(module.run(given).values()),
        ONNX_RUNTIME: onnxruntime_run(fixed),
    }
    openvino = openvino_run(fixed)
    if openvino is not None:
        runs[OPENVINO] = openvino
    difference = relative_difference(runs[OURS](feeds), runs[ONNX_RUNTIME](feeds))
    seconds = in_turns(runs, feeds, rounds, progress, clock)
    ratios = {
        name: Ratio(*(float(q) for q in np.percentile(
            [other / own for own, other in zip(seconds[OURS], times, strict=True)], [50, 25, 75])))
        for name, times in seconds.items() if name != OURS
    }
    medians = {name: 1e3 * float(np.median(times)) for name, times in seconds.items()}
    return Speed(difference, medians, ratios)


def in_turns(
    runs: Mapping[str, Run], feeds: Feeds, rounds: int, progress: Callable[[int], None],
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """Seconds per call of each contender, one value a round."""
    calls = {}
    for name, run in runs.items():
        for _ in range(WARM_UP):
            start = clock()
            run(feeds)
            last = clock() - start
        calls[name] = max(1, min(MOST_CALLS, int(ROUND_SECONDS / max(last, 1e-6))))
    found: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            times = []
            for _ in range(calls[name]):
                start = clock()
                runs[name](feeds)
                times.append(clock() - start)
            found[name].append(float(np.median(times)))
        progress(number + 1)
    return found
