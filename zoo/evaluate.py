"""How good are detections, tracks and route numbers? Scored by well-kept libraries.

Detection: COCO average precision by pycocotools (Lin et al., arXiv:1405.0312). Tracking: MOTA and
IDF1 (Bernardin and Stiefelhagen 2008; Ristani et al., arXiv:1609.01775) and HOTA (Luiten et al.,
arXiv:2009.07736) by TrackEval. Route numbers: exact match of the number a track ends with.

Objects that do not count (``TrueObject.counts``) are neither asked for nor punished: a detection
on one is left out, as MOTChallenge and COCO do.

    python -m zoo score zoo:street-middle
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from zoo.errors import MissingExtraError
from zoo.street.truth import CLASSES, FrameTruth

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


class FrameBoxes(NamedTuple):
    """Detections of one frame: boxes [n, 4] xyxy pixels, scores [n], labels [n] (CLASSES)."""

    boxes: Floats
    scores: Floats
    labels: Ints


class FrameTracks(NamedTuple):
    """Tracks seen in one frame: identities [n], boxes [n, 4] xyxy pixels, labels [n]."""

    identities: Ints
    boxes: Floats
    labels: Ints


@dataclass(frozen=True)
class DetectionScores:
    """Average precision, 0..1; nan where a class or size does not occur."""

    map50: float  # mean over classes at IoU 0.5
    map: float  # mean over classes and IoU 0.5:0.95
    by_class: dict[str, float]  # at IoU 0.5
    small: float  # AP at 0.5 of boxes under 32 x 32 pixels
    medium: float
    large: float


@dataclass(frozen=True)
class TrackingScores:
    """Tracking quality, 0..1 (MOTA may be negative)."""

    mota: float
    idf1: float
    hota: float
    switches: int
    tracks: int


@dataclass(frozen=True)
class RouteScores:
    """Route numbers of buses that could be read at some time."""

    accuracy: float  # share of legible true buses whose track says their number; nan: none
    digit_accuracy: float  # share of their digits
    buses: int


def detection_scores(
    truth: Sequence[FrameTruth], detections: Sequence[FrameBoxes]
) -> DetectionScores:
    """COCO average precision over frames; both sequences must be equally long.

    Raises MissingExtraError without pycocotools, ValueError where the lengths differ.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError("pycocotools", "demo") from error
    if len(truth) != len(detections):
        raise ValueError(f"{len(truth)} frames of truth, {len(detections)} of detections")
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = _coco_truth(truth)
        dataset.createIndex()
        rows = _coco_rows(detections)
        if not len(rows):
            return DetectionScores(0.0, 0.0, dict.fromkeys(CLASSES, 0.0), 0.0, 0.0, 0.0)
        found = dataset.loadRes(rows)
        evaluation = COCOeval(dataset, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    # precision [IoU thresholds, recalls, classes, areas, max detections]; -1: nothing there
    precision = evaluation.eval["precision"][..., -1]
    at_half = [_mean(precision[0, :, k, 0]) for k in range(len(CLASSES))]
    return DetectionScores(
        map50=_mean(precision[0, :, :, 0]),
        map=_mean(precision[:, :, :, 0]),
        by_class=dict(zip(CLASSES, at_half, strict=True)),
        small=_mean(precision[0, :, :, 1]),
        medium=_mean(precision[0, :, :, 2]),
        large=_mean(precision[0, :, :, 3]),
    )


def agreement_scores(
    reference: Sequence[FrameBoxes], found: Sequence[FrameBoxes], least: float = 0.3
) -> float:
    """AP at IoU 0.5 of one detector's boxes where another's with scores >= ``least`` are the truth.

    The mean over the classes that the reference found, 0..1; nan where it found nothing.
    Raises MissingExtraError without pycocotools, ValueError where the lengths differ.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError("pycocotools", "demo") from error
    if len(reference) != len(found):
        raise ValueError(f"{len(reference)} frames of reference, {len(found)} of detections")
    annotations: list[dict[str, Any]] = []
    for number, (boxes, scores, labels) in enumerate(reference, 1):
        for box, _, label in zip(*(part[scores >= least] for part in (boxes, scores, labels)),
                                 strict=True):
            width, height = box[2:] - box[:2]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": int(label) + 1,
                "bbox": [*box[:2], width, height], "area": width * height, "iscrowd": 0,
            })
    rows = _coco_rows(found)
    if not annotations or not len(rows):
        return 0.0 if annotations else float("nan")
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        names = sorted({item["category_id"] for item in annotations})
        dataset.dataset = {
            "images": [{"id": i + 1} for i in range(len(reference))], "info": {},
            "categories": [{"id": name, "name": str(name)} for name in names],
            "annotations": annotations,
        }
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(rows), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    return _mean(evaluation.eval["precision"][0, :, :, 0, -1])


def _mean(precision: Floats) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _coco_truth(truth: Sequence[FrameTruth]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for number, frame in enumerate(truth, 1):
        for item in frame.objects:
            x1, y1, x2, y2 = item.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": item.label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(not item.counts),
                }
            )
    return {
        "images": [{"id": i + 1} for i in range(len(truth))],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": annotations,
        "info": {},
    }


def _coco_rows(detections: Sequence[FrameBoxes]) -> Floats:
    parts = []
    for number, (boxes, scores, labels) in enumerate(detections, 1):
        if len(boxes):
            sizes = boxes[:, 2:] - boxes[:, :2]
            parts.append(
                np.column_stack(
                    [
                        np.full(len(boxes), number),
                        boxes[:, :2],
                        sizes,
                        scores,
                        np.asarray(labels) + 1,
                    ]
                )
            )
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, 7))


def iou_matrix(a: Floats, b: Floats) -> Floats:
    """IoU of boxes [n, 4] and [m, 4] -> [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    joined: Floats = overlap / np.maximum(area_a[:, None] + area_b - overlap, 1e-9)
    return joined


def tracking_scores(truth: Sequence[FrameTruth], tracks: Sequence[FrameTracks]) -> TrackingScores:
    """MOTA, IDF1 and HOTA; a track matches an object of its own class only.

    Raises MissingExtraError without TrackEval, ValueError where the lengths differ.
    """
    try:
        from trackeval.metrics import CLEAR, HOTA, Identity
    except ImportError as error:
        raise MissingExtraError("trackeval", "demo") from error
    if len(truth) != len(tracks):
        raise ValueError(f"{len(truth)} frames of truth, {len(tracks)} of tracks")
    data = _trackeval_data(truth, tracks)
    if not data["num_gt_dets"]:
        nan = float("nan")
        return TrackingScores(nan, nan, nan, 0, data["num_tracker_ids"])
    with contextlib.redirect_stdout(io.StringIO()):
        clear = CLEAR().eval_sequence(data)
        identity = Identity().eval_sequence(data)
        hota = HOTA().eval_sequence(data)
    return TrackingScores(
        mota=float(clear["MOTA"]),
        idf1=float(identity["IDF1"]),
        hota=float(np.mean(hota["HOTA"])),
        switches=int(clear["IDSW"]),
        tracks=int(data["num_tracker_ids"]),
    )


def _trackeval_data(truth: Sequence[FrameTruth], tracks: Sequence[FrameTracks]) -> dict[str, Any]:
    """TrackEval's in-memory form, tracks on ignored objects removed as MOTChallenge does."""
    gt_ids, tracker_ids, similarity = [], [], []
    gt_index: dict[int, int] = {}
    tracker_index: dict[int, int] = {}
    for frame, (identities, boxes, labels) in zip(truth, tracks, strict=True):
        every = np.array([o.box for o in frame.objects], dtype=np.float64).reshape(-1, 4)
        classes = np.array([o.label for o in frame.objects], dtype=np.int64)
        counts = np.array([o.counts for o in frame.objects], dtype=bool)
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        near = iou_matrix(every, boxes) * (classes[:, None] == np.asarray(labels)[None, :])
        kept = ~_on_ignored(near, counts)
        names = [o.identity for o in frame.objects if o.counts]
        gt_ids.append(np.array([gt_index.setdefault(i, len(gt_index)) for i in names], dtype=int))
        mine = np.asarray(identities)[kept].tolist()
        tracker_ids.append(
            np.array([tracker_index.setdefault(i, len(tracker_index)) for i in mine], dtype=int)
        )
        similarity.append(near[counts][:, kept])
    return {
        "gt_ids": gt_ids,
        "tracker_ids": tracker_ids,
        "similarity_scores": similarity,
        "num_gt_ids": len(gt_index),
        "num_tracker_ids": len(tracker_index),
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, tracker_ids)),
        "num_timesteps": len(truth),
    }


def _on_ignored(near: Floats, counts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which tracks [m] match an ignored object; near is the similarity [n, m]."""
    result = np.zeros(near.shape[1], dtype=bool)
    if near.size:
        rows, columns = linear_sum_assignment(-np.where(near >= 0.5, near, 0.0))
        matched = near[rows, columns] >= 0.5
        result[columns[matched & ~counts[rows]]] = True
    return result


def route_scores(
    truth: Sequence[FrameTruth],
    tracks: Sequence[FrameTracks],
    routes: Sequence[Mapping[int, str]],
    legible: float = 9.0,
) -> RouteScores:
    """Do buses leave with the right route number on them?

    ``routes`` says for each frame which number each track is thought to have. A bus is asked for
    where its whole number was seen with digits at least ``legible`` pixels high in 3 frames or
    more. Its answer is the last number that a track on it (IoU >= 0.5) had.
    """
    asked: dict[int, str] = {}
    seen: dict[int, int] = {}
    answers: dict[int, str] = {}
    for frame, (identities, boxes, _), numbers in zip(truth, tracks, routes, strict=True):
        for item in frame.objects:
            if not item.route:
                continue
            if item.digits_visible and item.digit_height >= legible:
                seen[item.identity] = seen.get(item.identity, 0) + 1
                asked[item.identity] = item.route
            near = iou_matrix(np.array([item.box]), np.asarray(boxes, float).reshape(-1, 4))[0]
            if near.size and near.max() >= 0.5:
                number = numbers.get(int(np.asarray(identities)[near.argmax()]), "")
                answers[item.identity] = number or answers.get(item.identity, "")
    buses = [identity for identity, count in seen.items() if count >= 3]
    right = sum(answers.get(bus, "") == asked[bus] for bus in buses)
    total = sum(len(asked[bus]) for bus in buses)
    digits = sum(
        sum(a == b for a, b in zip(answers[bus], asked[bus], strict=True))
        for bus in buses
        if len(answers.get(bus, "")) == len(asked[bus])
    )
    nan = float("nan")
    return RouteScores(
        right / len(buses) if buses else nan, digits / total if total else nan, len(buses)
    )
