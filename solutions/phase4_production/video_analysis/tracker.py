"""Identities over time: two-stage association after ByteTrack (Zhang et al., arXiv:2110.06864).

The idea: a weak detection is not noise if a track expects an object there. So tracks first take
the strong detections, then the tracks still unmatched take the weak ones; only strong detections
that nobody expected start new tracks.

A track's life::

    tentative --(seen confirm_hits times in a row)--> confirmed <--> lost --(too long)--> gone
        |                                             seen again
        +--(missed once)--> gone
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.association import associate
from solutions.phase4_production.video_analysis.boxes import iou_matrix
from solutions.phase4_production.video_analysis.detections import Detections, TrackedObject
from solutions.phase4_production.video_analysis.kalman_filter import (
    BoxStates,
    correct,
    initiate,
    predict,
    surprise,
    to_centre,
    to_corners,
)

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class TrackerConfig:
    """Thresholds of the tracker; similarities are IoU, scaled where classes differ."""

    high_score: float = 0.35  # strong detections, matched first
    low_score: float = 0.25  # weak detections, matched second
    new_score: float = 0.45  # needed to start a track
    first_match: float = 0.3
    second_match: float = 0.5
    tentative_match: float = 0.3
    other_class: float = 0.5  # similarity factor where the classes differ
    gate: float = 30.0  # greatest squared Mahalanobis distance of a match
    confirm_hits: int = 3
    lost_seconds: float = 1.0  # how long a hidden object is remembered
    left_seconds: float = 0.15  # the same for one that was about to leave the picture
    duplicate_iou: float = 0.7  # a new track may not overlap a matched detection by more

    @property
    def least_match(self) -> float:
        """The similarity below which no two are ever matched."""
        return min(self.first_match, self.second_match, self.tentative_match)

    def __post_init__(self) -> None:
        assert 0 <= self.low_score <= self.high_score <= self.new_score <= 1, self
        assert self.confirm_hits >= 1 and self.lost_seconds >= 0, self


@dataclass
class TrackTable:
    """All living tracks, one row each."""

    states: BoxStates
    identity: NDArray[np.int64]  # 0 while tentative
    hits: NDArray[np.int64]  # times seen
    missed: NDArray[np.float64]  # seconds since last seen
    score: NDArray[np.float64]  # of the last detection
    votes: NDArray[np.float64]  # [n, classes], sum of scores

    def __len__(self) -> int:
        return len(self.identity)

    @classmethod
    def start(cls, boxes: NDArray[np.float32], scores: NDArray[np.float32],
              labels: NDArray[np.int64], classes: int) -> "TrackTable":
        """Tentative tracks for detections."""
        count = len(scores)
        votes = np.zeros((count, classes))
        votes[np.arange(count), labels] = scores
        return cls(
            initiate(to_centre(boxes)), np.zeros(count, np.int64), np.ones(count, np.int64),
            np.zeros(count), scores.astype(np.float64), votes,
        )

    def select(self, chosen: NDArray[np.generic]) -> "TrackTable":
        """The tracks at indices or under a mask."""
        rest = (getattr(self, f.name)[chosen] for f in fields(self)[1:])
        return TrackTable(self.states.select(chosen), *rest)

    def joined(self, other: "TrackTable") -> "TrackTable":
        """These tracks followed by others."""
        rest = (
            np.concatenate([getattr(self, f.name), getattr(other, f.name)])
            for f in fields(self)[1:]
        )
        return TrackTable(self.states.joined(other.states), *rest)


class ByteTracker:
    """Turns detections of successive frames into tracks with identities from 1."""

    def __init__(self, classes: int, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig()
        self.classes = classes
        self.last_identity = 0
        nothing = Detections.empty()
        self.tracks = TrackTable.start(nothing.boxes, nothing.scores, nothing.labels, classes)

    def update(
        self,
        detections: Detections,
        seconds: float = 1 / 30,
        size: tuple[int, int] | None = None,
    ) -> list[TrackedObject]:
        """The confirmed tracks seen in this frame, ``seconds`` (> 0) after the last one.

        With the frame's ``size`` (width, height), a track that is missed at the edge is taken to
        have left and soon forgotten, so that the next object to leave there is not mistaken for it.
        """
        config, tracks = self.config, self.tracks
        tracks.states = predict(tracks.states, 30.0 * seconds)
        tracks.missed += seconds
        strong = (detections.scores >= config.high_score).nonzero()[0]
        weak = (
            (detections.scores >= config.low_score) & (detections.scores < config.high_score)
        ).nonzero()[0]
        measured = to_centre(detections.boxes)
        similarity = self._similarity(detections, measured)
        confirmed = (tracks.identity > 0).nonzero()[0]
        tentative = (tracks.identity == 0).nonzero()[0]

        first = associate(similarity[confirmed][:, strong], config.first_match)
        left = confirmed[first.free_rows]
        expected = left[tracks.missed[left] <= 1.5 * seconds]  # seen in the last frame
        second = associate(similarity[expected][:, weak], config.second_match)
        unclaimed = strong[first.free_columns]
        third = associate(similarity[tentative][:, unclaimed], config.tentative_match)

        rows = np.concatenate(
            [confirmed[first.rows], expected[second.rows], tentative[third.rows]]
        )
        found = np.concatenate(
            [strong[first.columns], weak[second.columns], unclaimed[third.columns]]
        )
        self._take(rows, detections, measured, found)
        self._forget(tentative[third.free_rows], size)
        self._start(detections, unclaimed[third.free_columns], found)
        return self._seen()

    def _similarity(
        self, detections: Detections, measured: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """IoU of the expected boxes with the detections; less where the class is another, none
        where the box lies too far from what the motion lets expect."""
        similarity = iou_matrix(to_corners(self.tracks.states.position), detections.boxes)
        # What follows only lowers it: pairs too far apart to be matched need no look.
        rows, columns = (similarity >= self.config.least_match).nonzero()
        if not len(rows):
            return similarity
        labels = self.tracks.votes.argmax(axis=1)
        different = labels[rows] != detections.labels[columns]
        similarity[rows[different], columns[different]] *= self.config.other_class
        distance = surprise(self.tracks.states.select(rows), measured[columns])
        far = distance > self.config.gate
        similarity[rows[far], columns[far]] = 0.0
        return similarity

    def _take(
        self, rows: Indices, detections: Detections, measured: NDArray[np.float64], found: Indices
    ) -> None:
        """Correct the matched tracks by their detections; confirm those seen often enough."""
        tracks = self.tracks
        if not len(rows):
            return
        corrected = correct(tracks.states.select(rows), measured[found])
        tracks.states.table[:, rows] = corrected.table
        tracks.hits[rows] += 1
        tracks.missed[rows] = 0.0
        tracks.score[rows] = detections.scores[found]
        tracks.votes[rows, detections.labels[found]] += detections.scores[found]
        ready = rows[(tracks.identity[rows] == 0) & (tracks.hits[rows] >= self.config.confirm_hits)]
        self._confirm(ready)

    def _confirm(self, rows: Indices) -> None:
        self.tracks.identity[rows] = self.last_identity + 1 + np.arange(len(rows))
        self.last_identity += len(rows)

    def _forget(self, missed_tentative: Indices, size: tuple[int, int] | None) -> None:
        """Drop tentative tracks that were missed and tracks lost for too long."""
        config, missed = self.config, self.tracks.missed
        patient = min(config.lost_seconds, config.left_seconds)
        if not len(missed_tentative) and (not len(missed) or missed.max() <= patient):
            return
        patience = np.full(len(missed), config.lost_seconds)
        if size is not None:
            patience[self._at_edge(*size)] = config.left_seconds
        keep = missed <= patience
        keep[missed_tentative] = False
        if not keep.all():
            self.tracks = self.tracks.select(keep)

    def _at_edge(self, width: int, height: int) -> NDArray[np.bool_]:
        """Which tracks touch the edge of the picture."""
        boxes = to_corners(self.tracks.states.position)
        low, high = boxes[:, :2], boxes[:, 2:]
        outside = np.concatenate([low <= 2, high >= np.array([width, height]) - 2], axis=1)
        touching: NDArray[np.bool_] = np.any(outside, axis=1)
        return touching

    def _start(self, detections: Detections, unclaimed: Indices, matched: Indices) -> None:
        """Start tentative tracks from strong detections that nobody expected."""
        fresh = unclaimed[detections.scores[unclaimed] >= self.config.new_score]
        if len(fresh) and len(matched):
            overlap = iou_matrix(detections.boxes[fresh], detections.boxes[matched])
            fresh = fresh[overlap.max(axis=1) <= self.config.duplicate_iou]
        if not len(fresh):
            return
        born = TrackTable.start(detections.boxes[fresh], detections.scores[fresh],
                                detections.labels[fresh], self.classes)
        self.tracks = self.tracks.joined(born)
        if self.config.confirm_hits == 1:
            self._confirm(np.flatnonzero(self.tracks.identity == 0))

    def _seen(self) -> list[TrackedObject]:
        tracks = self.tracks
        rows = ((tracks.identity > 0) & (tracks.missed == 0.0)).nonzero()[0]
        if not len(rows):
            return []
        boxes = to_corners(tracks.states.position[rows])
        labels = tracks.votes[rows].argmax(axis=1).tolist()
        identities, scores = tracks.identity[rows].tolist(), tracks.score[rows].tolist()
        return list(map(TrackedObject, identities, boxes, labels, scores))

    def alive(self) -> set[int]:
        """Identities of the confirmed tracks that are not forgotten yet."""
        return set(self.tracks.identity[self.tracks.identity > 0].tolist())
