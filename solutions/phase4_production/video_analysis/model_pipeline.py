"""The video machine in three lines: detect, track, classify.

Each stage is a plain object with one job; the pipeline only passes frames along and keeps time.
It knows nothing of files, screens or devices.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.detections import Detections, TrackedObject
from solutions.phase4_production.video_analysis.detector import (
    DetectionStage,
    Detector,
    DetectorConfig,
    PreparedFrame,
)
from solutions.phase4_production.video_analysis.detector_choice import (
    NetworkLoader,
    choose_detector,
    onnx_loader,
)
from solutions.phase4_production.video_analysis.route_reader import (
    ClassificationStage,
    RouteReader,
)
from solutions.phase4_production.video_analysis.tracker import ByteTracker, TrackerConfig
from zoo import registry
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

    def analyse(
        self, frame: NDArray[np.uint8], seconds: float = 1 / 30,
        prepared: PreparedFrame | None = None,
    ) -> FrameResult:
        """Analyse one frame uint8 [H, W, 3] BGR, ``seconds`` after the one before.

        ``prepared`` is the network's input for it where another thread has made it already.
        """
        stage = StageClock(self.clock)
        if prepared is None:
            prepared = self.detector.prepare(frame)
            stage.end("preprocess")
        detections = self.detect(prepared, stage)
        tracks = self.track(frame, detections, seconds, stage)
        tracks = self.classify(frame, tracks, stage)
        return FrameResult(detections, tuple(tracks), stage.stages_ms)

    def detect(self, prepared: PreparedFrame, stage: StageClock) -> Detections:
        """The objects in the frame."""
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
    kept = []
    for track in tracks:
        x1, y1, x2, y2 = track.box.tolist()
        if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
            x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
            track = replace(track, box=np.array([x1, y1, x2, y2], np.float32))
        if x2 > x1 and y2 > y1:
            kept.append(track)
    return kept


def build_detector(
    name: str, threads: int = 1, config: DetectorConfig | None = None,
) -> Detector:
    """The detector of that zoo or registry name, or in that ONNX file, in ONNX Runtime.

    Raises InferenceError for an unknown name, a model that is no detector, or a missing file.
    """
    return choose_detector(name, onnx_loader(threads), config=config).detector


def build_pipeline(
    name: str, threads: int = 1, tracker: TrackerConfig | None = None,
    config: DetectorConfig | None = None,
) -> VideoPipeline:
    """A pipeline around the detector of that name; street detectors also read route numbers."""
    return assemble(build_detector(name, threads, config), onnx_loader(threads), tracker)


def for_tracking(tracker: TrackerConfig | None = None) -> DetectorConfig:
    """A detector that leaves out the boxes which the tracker would not look at.

    Tracks stay the same, since a weak box never suppresses a stronger one; the detections' own
    accuracy is that of fewer boxes, so a run that is scored keeps them.
    """
    return DetectorConfig(score_threshold=(tracker or TrackerConfig()).low_score)


def assemble(
    detector: Detector, load: NetworkLoader, tracker: TrackerConfig | None = None
) -> VideoPipeline:
    """A pipeline around a detector; where it finds street buses, their numbers are read."""
    classifier = None
    if detector.labels == CLASSES:
        spotter, digits = (
            load(registry.fetch(registry.find(part))) for part in ("zoo:route-sign", "zoo:digits")
        )
        classifier = RouteReader(spotter, digits, CLASSES.index("bus"))
    return VideoPipeline(detector, ByteTracker(len(detector.labels), tracker), classifier)
