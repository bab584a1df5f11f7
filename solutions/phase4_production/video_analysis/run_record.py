"""What a run measured, frame by frame, and its summary ``metrics.json``."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from solutions.phase4_production.video_analysis.detections import TrackedObject
from solutions.phase4_production.video_analysis.frame_samples import FrameSamples
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult

PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}


@dataclass
class RunRecord:
    """Measurements of one run."""

    frames: int = 0  # decoded
    dropped: int = 0
    seconds: float = 0.0  # first frame decoded to last frame encoded
    partial: str = ""  # why the run is incomplete, "" if it is not
    latency_ms: list[float] = field(default_factory=list)  # per analysed frame
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    results: list[FrameResult] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)  # number of each result's frame, from 0
    times: list[float] = field(default_factory=list)  # of each result's frame, seconds
    peak_rss_mb: float = 0.0
    samples: FrameSamples = field(default_factory=FrameSamples)

    @property
    def analysed(self) -> int:
        """Frames that went through the pipeline."""
        return len(self.latency_ms)

    @property
    def fps(self) -> float:
        """Analysed frames per second, decoding to encoding."""
        return self.analysed / self.seconds if self.seconds > 0 else 0.0

    def add(
        self, result: FrameResult, latency_ms: float, index: int | None = None, time: float = 0.0
    ) -> None:
        """Note one analysed frame: by default the next one; ``time`` is the video's, seconds."""
        self.indices.append(len(self.results) if index is None else index)
        self.times.append(time)
        self.latency_ms.append(latency_ms)
        self.results.append(result)
        for stage, spent in result.stages_ms.items():
            self.add_stage(stage, spent)

    def add_stage(self, stage: str, spent_ms: float) -> None:
        """Note the time of one stage for one frame."""
        self.stages_ms.setdefault(stage, []).append(spent_ms)

    def routes(self) -> list[dict[int, str]]:
        """The route number that each track was thought to have, frame by frame."""
        return [{t.identity: t.route for t in result.tracks} for result in self.results]

    def note_memory(self) -> None:
        """Take the process's present memory into the peak."""
        used = psutil.Process(os.getpid()).memory_info().rss / 2**20
        self.peak_rss_mb = max(self.peak_rss_mb, used)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and max; zeros where there are no values."""
    if not len(values):
        return dict.fromkeys(PERCENTILES, 0.0)
    found = np.percentile(np.asarray(values), list(PERCENTILES.values()))
    return {name: round(float(v), 3) for name, v in zip(PERCENTILES, found, strict=True)}


def metrics_of(
    record: RunRecord, device: str, runtime: str, detector: str, accuracy: dict[str, float] | None
) -> dict[str, Any]:
    """The content of ``metrics.json``."""
    metrics: dict[str, Any] = {
        "frames": record.frames,
        "analysed": record.analysed,
        "dropped": record.dropped,
        "fps": round(record.fps, 2),
        "latency_ms": percentiles(record.latency_ms),
        "stages_ms": {k: round(float(np.mean(v)), 3) for k, v in record.stages_ms.items() if v},
        "peak_rss_mb": round(record.peak_rss_mb, 1),
        "partial": bool(record.partial),
        "device": device,
        "runtime": runtime,
        "detector": detector,
    }
    return metrics | (accuracy or {})


def write_metrics(metrics: dict[str, Any], path: Path) -> None:
    """Write ``metrics.json``; what is not a number (a class that does not occur) becomes null."""
    clean = {
        key: None if isinstance(value, float) and np.isnan(value) else value
        for key, value in metrics.items()
    }
    path.write_text(json.dumps(clean, indent=2, allow_nan=False) + "\n")


def write_tracks(record: RunRecord, path: Path) -> None:
    """Write ``tracks.txt`` (MOTChallenge): frame from 1, identity, left, top, width, height,
    score, class from 1, visibility (-1: unknown)."""

    def line(frame: int, track: TrackedObject) -> str:
        x1, y1, x2, y2 = track.box.tolist()
        return (
            f"{frame},{track.identity},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},"
            f"{track.score:.4f},{track.label + 1},-1\n"
        )

    with path.open("w") as file:
        for index, result in zip(record.indices, record.results, strict=True):
            file.writelines(line(index + 1, track) for track in result.tracks)
