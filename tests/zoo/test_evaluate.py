"""The scorers: perfect answers score 1, nothing scores 0, known faults cost what they should."""

import numpy as np
import pytest

from zoo.evaluate import (
    FrameBoxes,
    FrameTracks,
    detection_scores,
    iou_matrix,
    route_scores,
    tracking_scores,
)
from zoo.street.truth import CLASSES, FrameTruth, TrueObject


def scene(frames: int = 20, **changes) -> list[FrameTruth]:
    """Two cars and a bus that move apart."""
    result = []
    for i in range(frames):
        objects = tuple(
            TrueObject(
                identity=k + 1,
                label=(0, 0, 2)[k],
                box=(100.0 * k + 2 * i, 50.0, 100.0 * k + 60 + 2 * i, 90.0),
                visibility=1.0,
                route="42" if k == 2 else "",
                digits_visible=k == 2,
                digit_height=14.0 if k == 2 else 0.0,
                **changes,
            )
            for k in range(3)
        )
        result.append(FrameTruth(i, i / 30, objects))
    return result


def boxes_of(frame: FrameTruth) -> np.ndarray:
    return np.array([o.box for o in frame.objects])


def labels_of(frame: FrameTruth) -> np.ndarray:
    return np.array([o.label for o in frame.objects])


def perfect_boxes(truth):
    return [FrameBoxes(boxes_of(f), np.full(3, 0.9), labels_of(f)) for f in truth]


def perfect_tracks(truth):
    return [
        FrameTracks(np.array([o.identity for o in f.objects]), boxes_of(f), labels_of(f))
        for f in truth
    ]


def nothing(truth):
    empty = np.zeros((0, 4))
    none = np.zeros(0, np.int64)
    return [FrameBoxes(empty, np.zeros(0), none) for _ in truth], [
        FrameTracks(none, empty, none) for _ in truth
    ]


def test_perfect_detections_and_none() -> None:
    truth = scene()
    best = detection_scores(truth, perfect_boxes(truth))
    assert best.map50 == best.map == 1.0
    assert best.by_class["car"] == best.by_class["bus"] == 1.0
    assert np.isnan(best.by_class["person"])
    assert detection_scores(truth, nothing(truth)[0]).map50 == 0.0


def test_shifted_boxes_pass_the_loose_overlap_only() -> None:
    truth = scene()
    shifted = [
        FrameBoxes(b.boxes + np.array([15, 0, 15, 0]), b.scores, b.labels)
        for b in perfect_boxes(truth)
    ]
    scores = detection_scores(truth, shifted)
    assert scores.map50 == 1.0  # IoU is 45 / 75 = 0.6
    assert scores.map == pytest.approx(0.3)  # 0.5, 0.55 and 0.6 of ten thresholds


def test_half_of_the_objects_missed() -> None:
    truth = scene()
    found = [
        FrameBoxes(b.boxes[[0, 2]], b.scores[[0, 2]], b.labels[[0, 2]])
        for b in perfect_boxes(truth)
    ]
    scores = detection_scores(truth, found)
    assert scores.by_class["car"] == pytest.approx(0.5, abs=0.01)  # recall 0.5 at full precision
    assert scores.by_class["bus"] == 1.0


def test_a_wrong_class_is_no_detection() -> None:
    truth = scene()
    wrong = [FrameBoxes(b.boxes, b.scores, (b.labels + 1) % 5) for b in perfect_boxes(truth)]
    assert detection_scores(truth, wrong).map50 == 0.0


def test_hidden_and_tiny_objects_are_neither_asked_for_nor_punished() -> None:
    truth = scene()
    hidden = TrueObject(9, 0, (400.0, 50.0, 460.0, 90.0), 0.1)
    tiny = TrueObject(10, 0, (500.0, 50.0, 512.0, 57.0), 1.0)
    extended = [FrameTruth(f.index, f.time, (*f.objects, hidden, tiny)) for f in truth]
    assert detection_scores(extended, perfect_boxes(truth)).map50 == 1.0
    assert tracking_scores(extended, perfect_tracks(truth)).mota == 1.0
    with_them = [FrameBoxes(boxes_of(f), np.full(5, 0.95), labels_of(f)) for f in extended]
    assert detection_scores(extended, with_them).map50 == 1.0
    tracks = [
        FrameTracks(np.array([o.identity for o in f.objects]), boxes_of(f), labels_of(f))
        for f in extended
    ]
    assert tracking_scores(extended, tracks).mota == 1.0


def test_perfect_tracks_and_none() -> None:
    truth = scene()
    best = tracking_scores(truth, perfect_tracks(truth))
    assert (best.mota, best.idf1, best.switches, best.tracks) == (1.0, 1.0, 0, 3)
    assert best.hota == pytest.approx(1.0)
    none = tracking_scores(truth, nothing(truth)[1])
    assert (none.mota, none.idf1, none.hota) == (0.0, 0.0, 0.0)


def test_mota_of_known_faults() -> None:
    """1 - (misses + false alarms + switches) / objects, by counting."""
    truth = scene(20)
    tracks = []
    for i, t in enumerate(perfect_tracks(truth)):
        identities, boxes, labels = t
        if i < 4:  # one object missed in 4 frames
            identities, boxes, labels = identities[1:], boxes[1:], labels[1:]
        if i >= 10:  # identities of two objects swapped once
            identities = identities[[1, 0, 2]]
        if i < 3:  # one false alarm in 3 frames
            identities = np.append(identities, 77)
            boxes = np.vstack([boxes, [500, 200, 540, 240]])
            labels = np.append(labels, 0)
        tracks.append(FrameTracks(identities, boxes, labels))
    scores = tracking_scores(truth, tracks)
    assert scores.switches == 2
    assert scores.mota == pytest.approx(1 - (4 + 3 + 2) / 60)
    assert scores.idf1 < 0.85


def test_route_numbers_by_the_track_that_follows_the_bus() -> None:
    truth = scene()
    tracks = perfect_tracks(truth)
    assert route_scores(truth, tracks, [{3: "42"}] * 20).accuracy == 1.0
    half = route_scores(truth, tracks, [{3: "47"}] * 20)
    assert (half.accuracy, half.digit_accuracy, half.buses) == (0.0, 0.5, 1)
    assert route_scores(truth, tracks, [{1: "42"}] * 20).accuracy == 0.0
    assert route_scores(truth, tracks, [{}] * 20).digit_accuracy == 0.0
    late = [{}] * 10 + [{3: "47"}] * 5 + [{3: "42"}] * 5
    assert route_scores(truth, tracks, late).accuracy == 1.0  # the last word counts
    assert np.isnan(route_scores(truth, tracks, [{3: "42"}] * 20, legible=99).accuracy)


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10]])
    b = np.array([[5, 0, 15, 10], [10, 10, 20, 20], [0, 0, 10, 10]])
    np.testing.assert_allclose(iou_matrix(a, b), [[1 / 3, 0, 1]])


def test_lengths_must_agree() -> None:
    truth = scene(3)
    with pytest.raises(ValueError, match="3 frames of truth, 2"):
        detection_scores(truth, perfect_boxes(truth)[:2])
    with pytest.raises(ValueError, match="3 frames of truth, 2"):
        tracking_scores(truth, perfect_tracks(truth)[:2])


def test_classes_are_the_street_s() -> None:
    assert CLASSES == ("car", "truck", "bus", "bicycle", "person")
