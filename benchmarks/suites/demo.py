"""How fast the edge pipeline runs, from decoding to encoding, and the detector beside its peers."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.measure import Interleaved, Spread, interleave
from benchmarks.suite import Context, Row, SuiteResult, at_least, at_most
from solutions.phase4_production.video_analysis.device_profile import PROFILES
from solutions.phase4_production.video_analysis.edge_inference import DEMO, warm_up
from solutions.phase4_production.video_analysis.model_pipeline import build_detector, build_pipeline
from solutions.phase4_production.video_analysis.run_record import RunRecord, percentiles
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_run import run_video
from zoo import registry
from zoo.street import materialise

SIZES = ("zoo:street-small", "zoo:street-middle", "zoo:street-large")
DETECTORS = tuple(f"{size}{form}" for size in SIZES for form in ("", "-int8"))
DEFAULT = PROFILES["cpu"].detector


def run(context: Context) -> SuiteResult:
    """The demo's run with each detector in turns, then each network in each runtime in turns."""
    clip = materialise(DEMO, registry.cache_folder() / "streets")
    rounds = 3 if context.quick else 9
    context.say(f"pipeline: {len(DETECTORS)} detectors x {rounds} rounds of {DEMO.frames} frames")
    runs: dict[str, list[RunRecord]] = {name: [] for name in DETECTORS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name in DETECTORS:
                runs[name].append(_one_run(name, clip.video, Path(folder) / "annotated.mp4"))
    context.say("networks: ours, ONNX Runtime's defaults, OpenCV's dnn")
    networks = {name: _networks(name, 20 if context.quick else 100) for name in DETECTORS}
    fps = {name: Spread.of([record.fps for record in runs[name]]) for name in DETECTORS}
    p99 = {
        name: Spread.of([percentiles(record.latency_ms)["p99"] for record in runs[name]])
        for name in DETECTORS
    }
    goals = [
        at_least(f"frames per second, {DEFAULT}", fps[DEFAULT].median, 60),
        at_most(f"p99 latency in ms, {DEFAULT}", p99[DEFAULT].median, 50),
    ]
    rows = [_row(name, fps[name], p99[name], networks[name]) for name in DETECTORS]
    stages = {name: _stages(runs[name]) for name in DETECTORS}
    return SuiteResult(rows, goals, lambda figure: _plot(figure, stages), {"stages_ms": stages})


def _one_run(name: str, video: Path, annotated: Path) -> RunRecord:
    reader = VideoReader(video)
    pipeline = build_pipeline(name)
    warm_up(pipeline, reader)
    record = run_video(pipeline, reader, annotated)
    reader.close()
    return record


def _networks(name: str, rounds: int) -> Interleaved:
    """Seconds per inference of one network in each runtime, on the same input."""
    import onnxruntime as ort

    entry = registry.find(name)
    assert entry.input is not None, name
    path = str(registry.fetch(entry))
    rng = np.random.default_rng(0)
    batch = rng.uniform(0, 255, (1, 3, entry.input.height, entry.input.width)).astype(np.float32)
    ours = build_detector(name).network
    default = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    variants: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.run(batch),
        "onnxruntime defaults": lambda: default.run(None, {"images": batch}),
    }
    try:
        opencv = cv2.dnn.readNetFromONNX(path)
        opencv.setInput(batch)
        opencv.forward()
    except cv2.error:  # a peer that cannot read the model is left out of the table
        return interleave(variants, rounds, calls=10)

    def forward() -> object:
        opencv.setInput(batch)
        return opencv.forward()

    return interleave(variants | {"opencv dnn": forward}, rounds, calls=10)


def _row(name: str, fps: Spread, p99: Spread, networks: Interleaved) -> Row:
    row: Row = {
        "detector": name,
        "FPS": str(fps),
        "p99 ms": str(p99),
        "network ms": f"{networks.spread('ours').median * 1e3:.2f}",
    }
    for peer in ("onnxruntime defaults", "opencv dnn"):
        known = peer in networks.seconds
        row[f"{peer} / ours"] = str(networks.ratio(peer, "ours")) if known else None
    return row


def _stages(records: list[RunRecord]) -> dict[str, float]:
    names = list(records[0].stages_ms)
    return {
        n: float(np.median([record.stages_ms[n] for record in records])) for n in names
    }


def _plot(figure: Any, stages: dict[str, dict[str, float]]) -> None:
    axes = figure.subplots()
    left = np.zeros(len(stages))
    names = list(next(iter(stages.values())))
    for stage in names:
        width = np.array([found[stage] for found in stages.values()])
        axes.barh(list(stages), width, left=left, label=stage, height=0.6)
        left += width
    axes.invert_yaxis()
    axes.set_xlabel("mean ms per frame and stage (decode, draw and encode run beside the others)")
    axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.28))
    axes.spines[["top", "right"]].set_visible(False)
