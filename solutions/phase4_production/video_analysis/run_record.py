"""What a run measured and its summary ``metrics.json``: in bounded memory, however long it is."""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.census import Census
from solutions.phase4_production.video_analysis.frame_samples import FrameSamples
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult
from solutions.phase4_production.video_analysis.timeline import RecentValues, RunningMean, Timeline

PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}


@dataclass
class RunRecord:
    """Measurements of one run.

    The results themselves are kept only where ``keep`` asks for it, for scoring against a truth
    whose length bounds them.
    """

    frames: int = 0  # decoded
    drops: Counter[str] = field(default_factory=Counter)  # frames not analysed, by reason
    undrawn: int = 0  # analysed frames that the video leaves out, since encoding fell behind
    seconds: float = 0.0  # first frame decoded to last frame encoded
    partial: str = ""  # why the run is incomplete, "" if it is not
    keep: bool = True
    latency: RecentValues = field(default_factory=RecentValues)  # ms per analysed frame
    stages: dict[str, RunningMean] = field(default_factory=dict)  # ms per frame
    timeline: Timeline = field(default_factory=Timeline)
    census: Census = field(default_factory=Census)
    results: list[FrameResult] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)  # number of each kept result's frame, from 0
    last_time: float = 0.0  # of the last analysed frame, seconds
    peak_rss_mb: float = 0.0
    first_result: float | None = None  # seconds since the epoch
    samples: FrameSamples = field(default_factory=FrameSamples)

    @property
    def analysed(self) -> int:
        """Frames that went through the pipeline."""
        return self.latency.count

    @property
    def dropped(self) -> int:
        """Frames that did not."""
        return self.drops.total()

    @property
    def fps(self) -> float:
        """Analysed frames per second, decoding to encoding."""
        return self.analysed / self.seconds if self.seconds > 0 else 0.0

    @property
    def latency_ms(self) -> NDArray[np.float64]:
        """Latency of the analysed frames, of the latest ones in a very long run."""
        return self.latency.values()

    @property
    def stages_ms(self) -> dict[str, float]:
        """Mean time of each stage."""
        return {name: spent.mean for name, spent in self.stages.items()}

    def add(
        self, result: FrameResult, latency_ms: float, index: int | None = None, time: float = 0.0
    ) -> None:
        """Note one analysed frame: by default the next one; ``time`` is the video's, seconds."""
        if self.first_result is None:
            self.first_result = _now()
        if self.keep:
            self.indices.append(len(self.results) if index is None else index)
            self.results.append(result)
        self.last_time = time
        self.latency.append(latency_ms)
        self.timeline.add(time, latency_ms, result)
        self.census.add(time, result.tracks)
        for stage, spent in result.stages_ms.items():
            self.add_stage(stage, spent)

    def add_stage(self, stage: str, spent_ms: float) -> None:
        """Note the time of one stage for one frame."""
        mean = self.stages.get(stage)
        if mean is None:
            mean = self.stages[stage] = RunningMean()
        mean.add(spent_ms)

    def routes(self) -> list[dict[int, str]]:
        """The route number that each track was thought to have, frame by frame."""
        return [{t.identity: t.route for t in result.tracks} for result in self.results]

    def note_memory(self) -> None:
        """Take the process's present memory into the peak."""
        used = psutil.Process(os.getpid()).memory_info().rss / 2**20
        self.peak_rss_mb = max(self.peak_rss_mb, used)


def _now() -> float:
    return time.time()


def since_process_start(moment: float) -> float:
    """Seconds from the start of this process to a moment in seconds since the epoch."""
    return moment - psutil.Process(os.getpid()).create_time()


def percentiles(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """p50, p95, p99 and max; zeros where there are no values."""
    if not len(values):
        return dict.fromkeys(PERCENTILES, 0.0)
    found = np.percentile(np.asarray(values), list(PERCENTILES.values()))
    return {name: round(float(v), 3) for name, v in zip(PERCENTILES, found, strict=True)}


def metrics_of(
    record: RunRecord, device: str, runtime: str, detector: str, accuracy: dict[str, float] | None,
    events: dict[str, Any] | None = None, precision: str = "fp32",
) -> dict[str, Any]:
    """The content of ``metrics.json``."""
    first = record.first_result
    metrics: dict[str, Any] = {
        "frames": record.frames,
        "analysed": record.analysed,
        "dropped": record.dropped,
        "drops": dict(record.drops),
        "fps": round(record.fps, 2),
        "latency_ms": percentiles(record.latency_ms),
        "stages_ms": {name: round(mean, 3) for name, mean in record.stages_ms.items()},
        "first_result_s": None if first is None else round(since_process_start(first), 3),
        "peak_rss_mb": round(record.peak_rss_mb, 1),
        "partial": bool(record.partial),
        "device": device,
        "runtime": runtime,
        "detector": detector,
        "precision": precision,
    }
    if events is not None:
        metrics["events"] = events
    return metrics | (accuracy or {})


def write_metrics(metrics: dict[str, Any], path: Path) -> None:
    """Write ``metrics.json``; what is not a number (a class that does not occur) becomes null."""
    clean = {
        key: None if isinstance(value, float) and np.isnan(value) else value
        for key, value in metrics.items()
    }
    path.write_text(json.dumps(clean, indent=2, allow_nan=False) + "\n")
