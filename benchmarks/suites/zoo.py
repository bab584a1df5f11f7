"""How good the shipped models are on held-out streets: detection, tracking, route numbers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.suite import Context, Goal, Row, SuiteResult, at_least, within
from solutions.phase4_production.video_analysis.accuracy import Accuracy, score_run
from solutions.phase4_production.video_analysis.device_profile import PROFILES
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult, build_pipeline
from solutions.phase4_production.video_analysis.run_record import RunRecord
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from zoo import registry
from zoo.evaluate import DetectionScores
from zoo.score_detector import score_detectors
from zoo.street import CLASSES, FrameTruth, StreetConfig, materialise
from zoo.street.truth import TrueObject

SIZES = ("zoo:street-small", "zoo:street-middle", "zoo:street-large")
PEER = "yolox-nano"
TRACK_SEED = 500  # streets 500, 501, ... of the test split
APART = 100_000  # identities of one street and the next


def run(context: Context) -> SuiteResult:
    """Score the detectors on the same frames, then the whole pipeline with the middle one."""
    streets, frames = (10, 150) if context.quick else (40, 300)
    entries = [registry.find(name) for name in SIZES]
    peer = registry.find(PEER)
    if registry.available(peer) is not None:
        entries.append(peer)
    else:
        context.say(f"{PEER} is not here: python -m zoo get {PEER} adds it to the table")
    context.say(f"detection: {len(entries)} detectors on {streets} streets of {frames} frames")
    scores = score_detectors(entries, streets, frames)
    count = 6 if context.quick else 20
    default = PROFILES["cpu"].detector
    context.say(f"tracking: {default} on {count} streets of 300 frames")
    accuracy = score_pipeline(default, range(TRACK_SEED, TRACK_SEED + count), 300)
    return SuiteResult(
        rows=[_row(name, found) for name, found in scores.items()],
        goals=_goals(scores, accuracy),
        plot=lambda figure: _plot(figure, scores),
        facts={
            "streets": streets,
            "frames": frames,
            "tracking_streets": count,
            "pipeline": accuracy.metrics(),
            "switches": accuracy.tracking.switches,
            "digit_accuracy": accuracy.route.digit_accuracy,
            "buses": accuracy.route.buses,
            "yolox_nano_finds": _known_to_peer(scores),
        },
    )


def score_pipeline(detector: str, seeds: Sequence[int], frames: int) -> Accuracy:
    """The pipeline's accuracy over several held-out streets, as if they were one long video."""
    record, truth = RunRecord(), []
    for number, seed in enumerate(seeds):
        clip = materialise(
            StreetConfig(seed=seed, frames=frames), registry.cache_folder() / "streets"
        )
        pipeline = build_pipeline(detector)
        reader = VideoReader(clip.video)
        for frame in reader.frames():
            result = pipeline.analyse(frame.image, 1 / reader.fps)
            record.add(_apart(result, number * APART), 0.0)
        reader.close()
        truth += [_truth_apart(frame, number * APART) for frame in clip.truth.frames]
    return score_run(record, truth, CLASSES)


def _apart(result: FrameResult, offset: int) -> FrameResult:
    tracks = tuple(replace(track, identity=track.identity + offset) for track in result.tracks)
    return replace(result, tracks=tracks)


def _truth_apart(frame: FrameTruth, offset: int) -> FrameTruth:
    def moved(item: TrueObject) -> TrueObject:
        return replace(item, identity=item.identity + offset)

    return replace(frame, objects=tuple(moved(item) for item in frame.objects))


def _row(name: str, found: DetectionScores) -> Row:
    entry = registry.find(name)
    path = registry.fetch(entry)
    return {
        "detector": name,
        "mAP@0.5": found.map50,
        "mAP": found.map,
        **{label: found.by_class[label] for label in CLASSES},
        "size_kb": round(path.stat().st_size / 1e3),
    }


def _goals(scores: dict[str, DetectionScores], accuracy: Accuracy) -> list[Goal]:
    small, middle, large = (scores[name].map50 for name in SIZES)
    return [
        at_least("mAP@0.5 of the middle detector", middle, 0.85),
        at_least("points from middle to large", 100 * (large - middle), 2.0),
        at_least("points from small to middle", 100 * (middle - small), 3.0),
        within("MOTA of the pipeline, default detector", accuracy.tracking.mota, 0.75, 0.95),
        at_least("route digits read, by track", accuracy.route.digit_accuracy, 0.97),
    ]


def _known_to_peer(scores: dict[str, DetectionScores]) -> float | None:
    """A check on realism: what a detector of real streets finds of ours (mean AP@0.5)."""
    if PEER not in scores:
        return None
    return float(np.mean([scores[PEER].by_class[label] for label in ("car", "bus", "person")]))


def _plot(figure: Any, scores: dict[str, DetectionScores]) -> None:
    axes = figure.subplots()
    width = 0.8 / len(scores)
    for number, (name, found) in enumerate(scores.items()):
        at = np.arange(len(CLASSES)) + (number - (len(scores) - 1) / 2) * width
        axes.bar(at, [found.by_class[label] for label in CLASSES], width * 0.92, label=name)
    axes.set_xticks(np.arange(len(CLASSES)), CLASSES)
    axes.set_ylabel("AP at IoU 0.5, held-out streets")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, ncols=len(scores), loc="upper center", bbox_to_anchor=(0.5, 1.14))
    axes.spines[["top", "right"]].set_visible(False)
