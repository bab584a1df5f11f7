"""The run against the street's ground truth, by the zoo's scorers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solutions.phase4_production.video_analysis.run_record import RunRecord
from zoo import evaluate
from zoo.errors import InferenceError
from zoo.street.truth import CLASSES, FrameTruth


@dataclass(frozen=True)
class Accuracy:
    """All scores of a run."""

    detection: evaluate.DetectionScores
    tracking: evaluate.TrackingScores
    route: evaluate.RouteScores

    def metrics(self) -> dict[str, float]:
        """As they stand in ``metrics.json``."""
        return {
            "map50": round(self.detection.map50, 4),
            "map": round(self.detection.map, 4),
            "mota": round(self.tracking.mota, 4),
            "idf1": round(self.tracking.idf1, 4),
            "hota": round(self.tracking.hota, 4),
            "route_accuracy": round(self.route.accuracy, 4),
        }


def score_run(
    record: RunRecord, truth: Sequence[FrameTruth], labels: Sequence[str]
) -> Accuracy:
    """Score the analysed frames; classes match by name, others are left out.

    Raises InferenceError where the truth ends before the video does.
    """
    if record.indices and record.indices[-1] >= len(truth):
        raise InferenceError(
            f"the ground truth has {len(truth)} frames, the video more than {record.indices[-1]}: "
            "it belongs to another video"
        )
    index = np.array([CLASSES.index(n) if n in CLASSES else -1 for n in labels], dtype=np.int64)
    detections, tracks = [], []
    for result in record.results:
        found = result.detections
        known = index[found.labels] >= 0
        detections.append(
            evaluate.FrameBoxes(
                found.boxes[known], found.scores[known], index[found.labels[known]]
            )
        )
        mine = [track for track in result.tracks if index[track.label] >= 0]
        tracks.append(
            evaluate.FrameTracks(
                np.array([t.identity for t in mine], dtype=np.int64),
                np.array([t.box for t in mine], dtype=np.float64).reshape(-1, 4),
                np.array([index[t.label] for t in mine], dtype=np.int64),
            )
        )
    seen = [truth[index] for index in record.indices]
    return Accuracy(
        evaluate.detection_scores(seen, detections),
        evaluate.tracking_scores(seen, tracks),
        evaluate.route_scores(seen, tracks, record.routes()),
    )
