"""The tracker beside others, on the same detections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solutions.phase4_production.video_analysis.detections import Detections
from solutions.phase4_production.video_analysis.model_pipeline import build_detector
from solutions.phase4_production.video_analysis.tracker import ByteTracker
from zoo import registry
from zoo.evaluate import FrameTracks, TrackingScores, tracking_scores
from zoo.street import StreetConfig, materialise
from zoo.street.truth import CLASSES, FrameTruth

Track = Callable[[Detections], FrameTracks]
SIZE = (1280, 720)


def crowd(objects: int, frames: int, seed: int = 0) -> list[Detections]:
    """Detections of so many objects that cross a picture: shaken, missed at times, with false
    ones among them."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform((0, 0), SIZE, (objects, 2))
    speed = rng.uniform(-6, 6, (objects, 2))
    half = rng.uniform(12, 40, (objects, 2))
    labels = rng.integers(0, 3, objects)
    found = []
    for _ in range(frames):
        centre += speed
        speed = np.where((centre < 0) | (centre > SIZE), -speed, speed)
        seen = rng.random(objects) > 0.05
        middle = centre[seen] + rng.normal(0, 1, (seen.sum(), 2))
        false = rng.uniform((0, 0), SIZE, (rng.poisson(2), 2))
        middle = np.concatenate([middle, false])
        size = np.concatenate([half[seen], rng.uniform(12, 40, false.shape)])
        sure, unsure = rng.uniform(0.3, 1, seen.sum()), rng.uniform(0.1, 0.5, len(false))
        scores = np.concatenate([sure, unsure])
        classes = np.concatenate([labels[seen], rng.integers(0, 3, len(false))])
        boxes = np.concatenate([middle - size, middle + size], axis=1).astype(np.float32)
        found.append(Detections(boxes, scores.astype(np.float32), classes))
    return found


def ours() -> Track:
    """The solution's tracker."""
    tracker = ByteTracker(len(CLASSES))

    def update(found: Detections) -> FrameTracks:
        tracks = tracker.update(found)
        return FrameTracks(
            np.array([t.identity for t in tracks], dtype=np.int64),
            np.array([t.box for t in tracks], dtype=np.float64).reshape(-1, 4),
            np.array([t.label for t in tracks], dtype=np.int64),
        )

    return update


def trackers_bytetrack(**thresholds: float) -> Track:
    """ByteTrack of the package ``trackers``."""
    import supervision
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(frame_rate=30, **thresholds)

    def update(found: Detections) -> FrameTracks:
        tracked = tracker.update(supervision.Detections(
            xyxy=found.boxes, confidence=found.scores, class_id=found.labels
        ))
        known = tracked.tracker_id >= 0
        return FrameTracks(tracked.tracker_id[known].astype(np.int64) + 1,
                           tracked.xyxy[known].astype(np.float64),
                           tracked.class_id[known].astype(np.int64))

    return update


def norfair_iou() -> Track:
    """norfair with boxes and its IoU distance."""
    import norfair

    tracker = norfair.Tracker(distance_function="iou", distance_threshold=0.7,
                              hit_counter_max=30, initialization_delay=2)

    def update(found: Detections) -> FrameTracks:
        strong = found.scores >= 0.35
        boxes = [norfair.Detection(box.reshape(2, 2), label=int(label)) for box, label in
                 zip(found.boxes[strong], found.labels[strong], strict=True)]
        tracked = [t for t in tracker.update(boxes) if t.hit_counter >= 29]  # seen just now
        return FrameTracks(
            np.array([t.id for t in tracked], dtype=np.int64),
            np.array([t.estimate.reshape(4) for t in tracked], dtype=np.float64).reshape(-1, 4),
            np.array([t.label for t in tracked], dtype=np.int64),
        )

    return update


OURS, THEIRS, MATCHED, NORFAIR = (
    "ours", "trackers ByteTrack, its defaults", "trackers ByteTrack, our thresholds", "norfair",
)


def available() -> tuple[dict[str, Callable[[], Track]], list[str]]:
    """The trackers that are installed, and what is missing."""
    found: dict[str, Callable[[], Track]] = {OURS: ours}
    missing = []
    try:
        trackers_bytetrack()
        found[THEIRS] = trackers_bytetrack
        found[MATCHED] = lambda: trackers_bytetrack(
            track_activation_threshold=0.45, minimum_consecutive_frames=3,
            high_conf_det_threshold=0.35,
        )
    except ImportError as error:
        missing.append(f"trackers ({error})")
    try:
        norfair_iou()
        found[NORFAIR] = norfair_iou
    except ImportError as error:
        missing.append(f"norfair ({error})")
    return found, missing


@dataclass(frozen=True)
class Streets:
    """Held-out streets as one long video: what the detector found and what is true."""

    detections: tuple[tuple[Detections, ...], ...]  # street by street
    truth: tuple[tuple[FrameTruth, ...], ...]


def held_out(seeds: Sequence[int], frames: int, detector: str) -> Streets:
    """Detections of one detector on some streets."""
    from solutions.phase4_production.video_analysis.video_reader import VideoReader

    network = build_detector(detector)
    found, truth = [], []
    for seed in seeds:
        clip = materialise(StreetConfig(seed=seed, frames=frames),
                           registry.cache_folder() / "streets")
        reader, street = VideoReader(clip.video), []
        for frame in reader.frames():
            prepared = network.prepare(frame.image)
            street.append(network.decode(network.infer(prepared), prepared.transform))
        reader.close()
        found.append(tuple(street))
        truth.append(tuple(clip.truth.frames[: len(street)]))
    return Streets(tuple(found), tuple(truth))


def scores(streets: Streets, make: Callable[[], Track]) -> list[TrackingScores]:
    """Scores of a tracker, street by street."""
    result = []
    for found, truth in zip(streets.detections, streets.truth, strict=True):
        track = make()
        result.append(tracking_scores(list(truth), [track(frame) for frame in found]))
    return result


def mean(found: Sequence[TrackingScores], name: str) -> float:
    """Mean of one score over the streets."""
    values: list[Any] = [getattr(one, name) for one in found]
    return float(np.mean(values))
