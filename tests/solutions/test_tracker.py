"""Association against brute force; the tracker's life cycle; its tracks on held-out streets."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.phase4_production.video_analysis.association import associate
from solutions.phase4_production.video_analysis.detections import Detections
from solutions.phase4_production.video_analysis.tracker import ByteTracker, TrackerConfig
from zoo.evaluate import FrameTracks, tracking_scores
from zoo.street import CLASSES, Street, StreetConfig


def best_total(similarity: np.ndarray, least: float) -> float:
    """The greatest total over all ways to pair rows with columns or with nobody."""
    rows, columns = similarity.shape
    best = 0.0
    choices = list(range(columns)) + [None] * rows
    for chosen in set(permutations(choices, rows)):
        total = 0.0
        for row, column in enumerate(chosen):
            if column is not None:
                value = similarity[row, column]
                total += value if value >= least else -1e9
        best = max(best, total)
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.floats(0.05, 0.8), st.integers(0, 2**31))
def test_association_equals_brute_force(rows, columns, least, seed) -> None:
    similarity = np.random.default_rng(seed).random((rows, columns))
    matches = associate(similarity, least)
    assert np.all(similarity[matches.rows, matches.columns] >= least)
    total = similarity[matches.rows, matches.columns].sum()
    assert total == pytest.approx(best_total(similarity, least))
    assert sorted([*matches.rows, *matches.free_rows]) == list(range(rows))
    assert sorted([*matches.columns, *matches.free_columns]) == list(range(columns))


def seen(*boxes, score=0.9, label=0) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, score, np.float32),
        np.full(count, label, np.int64),
    )


def walk(step: int) -> tuple[float, float, float, float]:
    return (10 + 4 * step, 20, 30 + 4 * step, 60)


def test_a_track_is_confirmed_after_enough_hits_and_keeps_its_identity() -> None:
    tracker = ByteTracker(1, TrackerConfig(confirm_hits=3))
    outcomes = [tracker.update(seen(walk(i))) for i in range(6)]
    assert [len(o) for o in outcomes] == [0, 0, 1, 1, 1, 1]
    assert {t.identity for o in outcomes for t in o} == {1}
    np.testing.assert_allclose(outcomes[-1][0].box, walk(5), atol=3)


def test_a_flicker_never_becomes_a_track() -> None:
    tracker = ByteTracker(1)
    for i in range(20):
        assert tracker.update(seen(walk(0)) if i % 2 else seen()) == []
    assert tracker.last_identity == 0


def test_a_hidden_object_keeps_its_identity_for_a_while_only() -> None:
    for hidden, same in ((10, True), (60, False)):
        tracker = ByteTracker(1, TrackerConfig(lost_seconds=1.0))
        for i in range(10):
            tracker.update(seen(walk(i)))
        for _ in range(hidden):
            assert tracker.update(seen()) == []
        for i in range(10 + hidden, 16 + hidden):
            last = tracker.update(seen(walk(i)))
        assert (last[0].identity == 1) == same


def test_time_not_frames_decides_when_a_track_is_forgotten() -> None:
    tracker = ByteTracker(1, TrackerConfig(lost_seconds=1.0))
    for _ in range(5):
        tracker.update(seen((10, 20, 30, 60)), seconds=0.1)
    for _ in range(8):
        tracker.update(seen(), seconds=0.1)
    assert tracker.update(seen((10, 20, 30, 60)), seconds=0.1)[0].identity == 1
    tracker.update(seen(), seconds=5.0)
    assert tracker.alive() == set()


def test_weak_detections_continue_a_track_but_start_none() -> None:
    tracker = ByteTracker(1)
    for i in range(5):
        tracker.update(seen(walk(i)))
    kept = [tracker.update(seen(walk(i), score=0.3)) for i in range(5, 15)]
    assert all(len(o) == 1 and o[0].identity == 1 for o in kept)
    fresh = ByteTracker(1)
    assert all(fresh.update(seen(walk(i), score=0.3)) == [] for i in range(10))


def test_two_that_cross_keep_their_identities() -> None:
    tracker = ByteTracker(1)
    last = []
    for i in range(40):
        a, b = (10 + 6 * i, 20, 40 + 6 * i, 80), (250 - 6 * i, 40, 280 - 6 * i, 100)
        last = tracker.update(seen(a, b))
        if i == 5:
            first = {t.identity: t.box[0] for t in last}
    assert len(first) == 2 and tracker.last_identity == 2
    right_mover = min(first, key=lambda k: first[k])
    assert max(last, key=lambda t: t.box[0]).identity == right_mover


def test_the_class_is_voted_over_the_life() -> None:
    tracker = ByteTracker(3)
    labels = [2, 2, 1, 2, 1, 2]
    for i, label in enumerate(labels):
        last = tracker.update(seen(walk(i), label=label))
    assert last[0].label == 2


def test_no_second_track_on_a_detected_object() -> None:
    """Two classes on one object (suppression is per class) stay one track."""
    tracker = ByteTracker(2)
    box = (10, 20, 60, 90)
    near = (11, 20, 61, 91)
    both = Detections(
        np.array([box, near], np.float32), np.array([0.9, 0.85], np.float32), np.array([0, 1])
    )
    tracker.update(seen(box))
    for _ in range(10):
        last = tracker.update(both)
    assert len(last) == 1 and tracker.last_identity == 1


def street_tracks(config: StreetConfig, miss: float, jitter: float):
    """Tracks from the truth, worsened: boxes jittered, some missed, some invented."""
    rng = np.random.default_rng(config.seed)
    street, tracker = Street(config), ByteTracker(len(CLASSES))
    truth, tracks = [], []
    for _, frame in street:
        objects = [o for o in frame.objects if o.counts and rng.random() > miss]
        boxes = np.array([o.box for o in objects], np.float32).reshape(-1, 4)
        sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + rng.normal(0, jitter, boxes.shape).astype(np.float32) * sizes
        found = Detections(
            boxes,
            np.full(len(boxes), 0.9, np.float32),
            np.array([o.label for o in objects], np.int64),
        )
        out = tracker.update(found)
        truth.append(frame)
        tracks.append(
            FrameTracks(
                np.array([t.identity for t in out], dtype=np.int64),
                np.array([t.box for t in out]).reshape(-1, 4),
                np.array([t.label for t in out], dtype=np.int64),
            )
        )
    return tracking_scores(truth, tracks)


def test_tracks_on_held_out_streets() -> None:
    """With nearly perfect detections the tracker loses little (scored by TrackEval)."""
    good = street_tracks(StreetConfig(seed=21, frames=120), miss=0.0, jitter=0.01)
    assert good.mota > 0.85 and good.idf1 > 0.85 and good.hota > 0.75
    worse = street_tracks(StreetConfig(seed=21, frames=120), miss=0.15, jitter=0.03)
    assert 0.6 < worse.mota < good.mota
    assert worse.idf1 > 0.7


@pytest.mark.parametrize("scores", [{"high_score": 0.05}, {"confirm_hits": 0}, {"new_score": 0.2}])
def test_senseless_thresholds_are_refused(scores) -> None:
    with pytest.raises(AssertionError):
        TrackerConfig(**scores)


def test_what_left_the_picture_is_not_what_follows_it() -> None:
    """One drives out at the right edge; another arrives there half a second later."""
    identities = {}
    for size in ((200, 100), None):
        tracker = ByteTracker(1)
        out = []
        for i in range(45):
            boxes = []
            for start in (100, -20):
                x = start + 4 * i
                if 0 <= x < 196:
                    boxes.append((x, 30, min(x + 40, 200), 70))
            out = tracker.update(seen(*boxes), 1 / 30, size) or out
        identities[size] = out[-1].identity
    assert identities[(200, 100)] == 2
