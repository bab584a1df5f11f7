"""The video machine in three lines: detect, track, classify.

Each stage is a plain object with one job; the pipeline only passes frames along and keeps time.
It knows nothing of files, screens or devices.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.onnx_model import OnnxModel
from solutions.phase4_production.video_analysis.detections import Detections, TrackedObject
from solutions.phase4_production.video_analysis.detector import (
    DetectionStage,
    DetectorConfig,
    YoloxDetector,
)
from solutions.phase4_production.video_analysis.route_reader import (
    ClassificationStage,
    RouteReader,
)
from solutions.phase4_production.video_analysis.tracker import ByteTracker, TrackerConfig
from zoo import registry
from zoo.errors import InferenceError
from zoo.street.truth import CLASSES


@dataclass(frozen=True)
class FrameResult:
    """What is known about one frame, and how long each stage took."""

    detections: Detections
    tracks: tuple[TrackedObject, ...]
    stages_ms: dict[str, float]


class StageClock:
    """Splits the time of one frame among the stages: each call ends one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.last = clock()
        self.stages_ms: dict[str, float] = {}

    def end(self, stage: str) -> None:
        """Book the time since the last call to ``stage``."""
        now = self.clock()
        self.stages_ms[stage] = (now - self.last) * 1e3
        self.last = now


class VideoPipeline:
    """Detection, tracking and, where there is a classifier, classification of frames in order."""

    def __init__(
        self,
        detector: DetectionStage,
        tracker: ByteTracker,
        classifier: ClassificationStage | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.detector, self.tracker, self.classifier = detector, tracker, classifier
        self.clock = clock

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the detector's classes."""
        return self.detector.labels

    def analyse(self, frame: NDArray[np.uint8], seconds: float = 1 / 30) -> FrameResult:
        """Analyse one frame uint8 [H, W, 3] BGR, ``seconds`` after the one before."""
        stage = StageClock(self.clock)
        detections = self.detect(frame, stage)
        tracks = self.track(frame, detections, seconds, stage)
        tracks = self.classify(frame, tracks, stage)
        return FrameResult(detections, tuple(tracks), stage.stages_ms)

    def detect(self, frame: NDArray[np.uint8], stage: StageClock) -> Detections:
        """The objects in the frame."""
        prepared = self.detector.prepare(frame)
        stage.end("preprocess")
        raw = self.detector.infer(prepared)
        stage.end("detect")
        detections = self.detector.decode(raw, prepared.transform)
        stage.end("postprocess")
        return detections

    def track(
        self, frame: NDArray[np.uint8], detections: Detections, seconds: float, stage: StageClock
    ) -> list[TrackedObject]:
        """The objects with identities."""
        height, width = frame.shape[:2]
        tracks = self.tracker.update(detections, seconds, (width, height))
        tracks = clip_to_frame(tracks, width, height)
        stage.end("track")
        return tracks

    def classify(
        self, frame: NDArray[np.uint8], tracks: list[TrackedObject], stage: StageClock
    ) -> list[TrackedObject]:
        """The tracks with their route numbers."""
        if self.classifier is not None:
            tracks = self.classifier.classify(frame, tracks, self.tracker.alive())
        stage.end("classify")
        return tracks


def clip_to_frame(
    tracks: list[TrackedObject], width: int, height: int
) -> list[TrackedObject]:
    """The tracks with their boxes cut at the frame's edges; those outside are left out.

    A filtered box may run ahead of an object that leaves the picture.
    """
    limit = np.array([width, height, width, height], np.float32)
    clipped = [replace(track, box=np.clip(track.box, 0, limit)) for track in tracks]
    return [t for t in clipped if t.box[2] > t.box[0] and t.box[3] > t.box[1]]


def build_detector(
    name: str, threads: int = 1, config: DetectorConfig | None = None,
    progress: registry.Progress | None = None,
) -> YoloxDetector:
    """The detector of that zoo or registry name.

    Raises InferenceError for an unknown name, a model that is no detector, or a missing file.
    """
    entry = registry.find(name)
    if entry.kind != "detector" or entry.input is None or entry.layout != "yolox":
        raise InferenceError(f"{name} is no detector ({entry.about}): see python -m zoo list")
    model = OnnxModel(registry.fetch(entry, progress), threads)
    return YoloxDetector(model, entry.input, entry.strides, entry.labels, config)


def build_pipeline(
    name: str, threads: int = 1, progress: registry.Progress | None = None,
    tracker: TrackerConfig | None = None,
) -> VideoPipeline:
    """A pipeline around the detector of that name; street detectors also read route numbers."""
    detector = build_detector(name, threads, progress=progress)
    classifier = None
    if detector.labels == CLASSES:
        spotter, digits = (
            OnnxModel(registry.fetch(registry.find(part)), threads)
            for part in ("zoo:route-sign", "zoo:digits")
        )
        classifier = RouteReader(spotter, digits, CLASSES.index("bus"))
    return VideoPipeline(detector, ByteTracker(len(detector.labels), tracker), classifier)
