"""The edge pipeline: where each microsecond goes, in real time, and the tracker beside others."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Interleaved, Spread, interleave
from benchmarks.peers import tracking as peers
from benchmarks.suite import Context, Goal, Row, SuiteResult, at_least, at_most, unmeasured
from solutions.phase4_production.video_analysis.edge_inference import DEMO, warm_up
from solutions.phase4_production.video_analysis.model_pipeline import (
    build_detector,
    build_pipeline,
    for_tracking,
)
from solutions.phase4_production.video_analysis.run_record import RunRecord, percentiles
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from solutions.phase4_production.video_analysis.video_run import run_video
from zoo import registry
from zoo.errors import InferenceError
from zoo.street import materialise

DETECTORS = ("zoo:street-small", "zoo:street-middle", "zoo:street-large")
LEAST_FPS = {"zoo:street-small": 250.0, "zoo:street-middle": 180.0}
PROGRAM = "solutions.phase4_production.video_analysis.edge_inference"
OBJECTS = 50


def run(context: Context) -> SuiteResult:
    """Pipeline, real time, tracker, a public detector and the start of the program."""
    clip = materialise(DEMO, registry.cache_folder() / "streets")
    rounds = 3 if context.quick else 9
    context.say(f"pipeline against decoding and detecting alone: {rounds} rounds")
    runs = {name: _against_bare(name, clip.video, rounds) for name in DETECTORS}
    context.say("real time at 30 frames per second")
    live = [_real_time() for _ in range(1 if context.quick else 5)]
    context.say(f"tracker with {OBJECTS} objects, and on held-out streets")
    speed, quality, missing = _trackers(context.quick)
    context.say("yolox-nano on people-video, and the start of the program")
    stages = {name: _stages(records) for name, (_, records) in runs.items()}
    goals = [
        *(at_most(f"whole / (decode + detect), {name}",
                  found.ratio("whole", "decode and detect").median, 1.4)
          for name, (found, _) in runs.items()),
        *(at_least(f"frames per second, {name}",
                   Spread.of([r.fps for r in runs[name][1]]).median, bound)
          for name, bound in LEAST_FPS.items()),
        at_most("real time, p99 latency in ms",
                Spread.of([m["latency_ms"]["p99"] for m in live]).median, 15),
        at_most("real time, frames dropped", sum(m["dropped"] for m in live), 0),
        *_tracker_goals(speed, quality, missing),
        _public_detector(context.quick),
        at_most("seconds from process start to the first result",
                Spread.of([m["first_result_s"] for m in live]).median, 1.5),
        at_most("torch modules loaded by the edge path", _torch_modules(), 0),
    ]
    rows = [_row(name, *runs[name]) for name in DETECTORS] + _tracker_rows(speed, quality)
    facts = {"stages_ms": stages, "real_time": live,
             "tracker_us": {n: 1e6 * speed.spread(n).median for n in speed.seconds}}
    return SuiteResult(rows, goals, lambda figure: _plot(figure, stages), facts)


def _against_bare(name: str, video: Path, rounds: int) -> tuple[Interleaved, list[RunRecord]]:
    """The run without drawing, against decoding and the network's inference one after the other."""
    records: list[RunRecord] = []

    def whole() -> None:
        reader, pipeline = VideoReader(video), build_pipeline(name, config=for_tracking())
        warm_up(pipeline, reader)
        records.append(run_video(pipeline, reader, record=RunRecord(keep=False)))
        reader.close()

    detector = build_detector(name)
    first = next(VideoReader(video).frames()).image
    batch = detector.prepare(first)

    def bare() -> None:
        reader = VideoReader(video)
        for _ in reader.frames():
            detector.infer(batch)
        reader.close()

    seconds: dict[str, list[float]] = {"whole": [], "decode and detect": []}
    for _ in range(rounds):
        whole()
        seconds["whole"].append(records[-1].seconds)
        start = time.perf_counter()
        bare()
        seconds["decode and detect"].append(time.perf_counter() - start)
    return Interleaved(seconds), records


def _stages(records: list[RunRecord]) -> dict[str, float]:
    names = list(records[0].stages_ms)
    return {n: float(np.median([record.stages_ms[n] for record in records])) for n in names}


def _real_time() -> dict[str, Any]:
    """The program as a user starts it."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--realtime", "--no-annotate", "--output", folder]
        subprocess.run([sys.executable, "-m", PROGRAM, *words], check=True, capture_output=True)
        metrics: dict[str, Any] = json.loads((Path(folder) / "metrics.json").read_text())
    return metrics


def _trackers(quick: bool) -> tuple[Interleaved, dict[str, tuple[float, ...]], list[str]]:
    """Seconds per frame, and (HOTA, IDF1, MOTA) on held-out streets, of each tracker."""
    found, missing = peers.available()
    frames = peers.crowd(OBJECTS, 120)

    def through(make: Callable[[], peers.Track]) -> Callable[[], object]:
        def follow() -> None:
            track = make()
            for frame in frames:
                track(frame)

        return follow

    timed = interleave({name: through(make) for name, make in found.items()}, 3 if quick else 9)
    per_frame = {n: [s / len(frames) for s in times] for n, times in timed.seconds.items()}
    streets = peers.held_out(range(100, 102 if quick else 110), 300, "zoo:street-large")
    quality = {}
    for name, make in found.items():
        scored = peers.scores(streets, make)
        quality[name] = tuple(peers.mean(scored, key) for key in ("hota", "idf1", "mota"))
    return Interleaved(per_frame), quality, missing


def _tracker_goals(
    speed: Interleaved, quality: dict[str, tuple[float, ...]], missing: list[str]
) -> list[Goal]:
    faster = "trackers ByteTrack's time / ours, 50 objects"
    lower = "HOTA points below trackers ByteTrack, the better of its settings"
    if peers.THEIRS not in quality:
        why = ", ".join(missing)
        return [unmeasured(faster, "at least 5", why), unmeasured(lower, "at most 0.3", why)]
    best = max(quality[peers.THEIRS][0], quality[peers.MATCHED][0])
    return [
        at_least(faster, speed.ratio(peers.THEIRS, peers.OURS).median, 5),
        at_most(lower, 100 * (best - quality[peers.OURS][0]), 0.3),
    ]


def _public_detector(quick: bool) -> Goal:
    name = "frames per second, yolox-nano at 416 on people-video"
    try:
        video = registry.fetch(registry.find("people-video"))
        pipeline = build_pipeline("yolox-nano", config=for_tracking())
    except InferenceError as error:
        return unmeasured(name, "at least 50", str(error))
    reader = VideoReader(video)
    warm_up(pipeline, reader)
    record = run_video(pipeline, reader, limit=300 if quick else None,
                       record=RunRecord(keep=False))
    return at_least(name, record.fps, 50)


def _torch_modules() -> int:
    code = f"import sys, {PROGRAM}; print(sum(n.split('.')[0] == 'torch' for n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout)


COLUMNS = ("what", "FPS", "p99 ms", "whole / (decode + detect)", "µs per frame", "time / ours",
           "HOTA", "IDF1", "MOTA")


def _row(name: str, found: Interleaved, records: list[RunRecord]) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    p99 = Spread.of([percentiles(record.latency_ms)["p99"] for record in records])
    return row | {
        "what": name, "FPS": str(Spread.of([record.fps for record in records])),
        "p99 ms": str(p99),
        "whole / (decode + detect)": str(found.ratio("whole", "decode and detect")),
    }


def _tracker_rows(speed: Interleaved, quality: dict[str, tuple[float, ...]]) -> list[Row]:
    rows: list[Row] = []
    for name, (hota, idf1, mota) in quality.items():
        row: Row = dict.fromkeys(COLUMNS)
        rows.append(row | {
            "what": f"tracker: {name}", "µs per frame": f"{1e6 * speed.spread(name).median:.0f}",
            "time / ours": str(speed.ratio(name, peers.OURS)), "HOTA": f"{100 * hota:.1f}",
            "IDF1": f"{100 * idf1:.1f}", "MOTA": f"{100 * mota:.1f}",
        })
    return rows


def _plot(figure: Any, stages: dict[str, dict[str, float]]) -> None:
    axes = figure.subplots()
    left = np.zeros(len(stages))
    for stage in next(iter(stages.values())):
        width = 1e3 * np.array([found[stage] for found in stages.values()])
        bars = axes.barh(list(stages), width, left=left, label=stage, height=0.6)
        axes.bar_label(bars, [f"{w:.0f}" if w > 90 else "" for w in width], label_type="center",
                       fontsize=7)
        left += width
    axes.invert_yaxis()
    axes.set_xlabel("mean µs per frame and stage (decoding runs beside the others)")
    axes.legend(frameon=False, ncols=6, loc="upper center", bbox_to_anchor=(0.5, 1.2))
    axes.spines[["top", "right"]].set_visible(False)
