"""Reads the route number of a bus: find its digits, name each, vote over the bus's life.

One look at a bus is often wrong (far, blurred, half hidden), but a bus is seen a hundred times.
So every reading is a vote: log-probabilities of the digits are added up over the readings of the
same length, and the number with the most support wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.postprocessing import softmax
from solutions.phase4_production.video_analysis.detections import TrackedObject
from solutions.phase4_production.video_analysis.detector import Network

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

CONTRADICTIONS = 5
CONTRADICTION_SHARE = 0.5  # of the weight of all looks so far


class DigitSpot(NamedTuple):
    """A digit's centre and height in a crop, in shares of the crop's size, and how sure."""

    x: float
    y: float
    height: float
    score: float


class Reading(NamedTuple):
    """One look at a number: a distribution over the ten digits for each place."""

    probabilities: Floats  # [digits, 10]
    weight: float  # 0..1, how much this look counts

    def number(self) -> str:
        """The likeliest number."""
        return "".join(map(str, self.probabilities.argmax(axis=1).tolist()))


class RouteAnswer(NamedTuple):
    """What the votes say so far."""

    number: str  # "" without votes
    confidence: float  # 0..1


NO_ANSWER = RouteAnswer("", 0.0)


@dataclass(frozen=True)
class RouteConfig:
    """When and how buses are read."""

    spot_threshold: float = 0.4
    min_digit_height: float = 6.0  # pixels of the frame
    clear_digit_height: float = 14.0  # pixels; smaller digits count less
    buses_per_frame: int = 2
    frames_between: int = 3  # at least, for the same bus
    max_digits: int = 3
    digit_share: float = 1.4  # side of a digit's crop in digit heights


def find_peaks(heat: Floats, heights: Floats, threshold: float) -> list[DigitSpot]:
    """Local maxima of a heat map [h, w] above a threshold, from left to right.

    A cell is a peak where none of its eight neighbours is higher; the position is refined to the
    centre of mass of the 3 x 3 cells around it.
    """
    padded = np.pad(heat, 1)
    rows, columns = heat.shape
    shifted = [
        padded[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    is_peak = (heat >= np.max(shifted, axis=0)) & (heat > threshold)
    spots = []
    for y, x in zip(*np.nonzero(is_peak), strict=True):
        window = padded[y : y + 3, x : x + 3]
        offset = np.array([-1.0, 0.0, 1.0])
        total = window.sum()
        dx, dy = (window.sum(axis=0) @ offset) / total, (window.sum(axis=1) @ offset) / total
        spots.append(
            DigitSpot(float((x + 0.5 + dx) / columns), float((y + 0.5 + dy) / rows),
                      float(heights[y, x]), float(heat[y, x]))
        )
    return sorted(spots)


def plausible_number(spots: Sequence[DigitSpot], max_digits: int) -> bool:
    """Whether the spots can be one number: few, on one line, evenly spaced."""
    if not 1 <= len(spots) <= max_digits:
        return False
    ys = [spot.y for spot in spots]
    height = float(np.mean([spot.height for spot in spots]))
    if max(ys) - min(ys) > 0.8 * height:
        return False
    gaps = np.diff([spot.x for spot in spots])
    return not (len(gaps) > 1 and gaps.max() > 1.6 * gaps.min())


def cut_square(grey: Image, x: float, y: float, side: float, size: int) -> Image:
    """The square of ``side`` pixels around (x, y) of a grey image, resized to ``size``.

    Coordinates are of pixel centres: (0, 0) is the middle of the first pixel.
    """
    step = side / size
    start_x, start_y = x - (side - step) / 2, y - (side - step) / 2
    matrix = np.array([[step, 0, start_x], [0, step, start_y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(grey, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.uint8)


@dataclass
class RouteVotes:
    """Votes of one bus: summed log-probabilities for each length of number.

    A bus does not change its number: where ``CONTRADICTIONS`` looks in a row agree with each other
    and not with the answer, and weigh enough against all looks so far, the track has slipped onto
    another bus, and the old votes are dropped.
    """

    sums: dict[int, Floats] = field(default_factory=dict)  # digits -> [digits, 10]
    weights: dict[int, float] = field(default_factory=dict)
    against: list[Reading] = field(default_factory=list)  # the latest contradictions
    _answer: RouteAnswer = NO_ANSWER  # what the votes so far say

    def add(self, reading: Reading) -> None:
        """Count one reading."""
        number = reading.number()
        if number == self.answer().number or any(r.number() != number for r in self.against):
            self.against = []
        if number != self.answer().number:
            self.against.append(reading)
        evidence = sum(one.weight for one in self.against)
        enough = evidence >= CONTRADICTION_SHARE * sum(self.weights.values())
        if len(self.against) >= CONTRADICTIONS and enough:
            readings, self.against = self.against, []
            self.sums, self.weights = {}, {}
            for one in readings:
                self._count(one)
        else:
            self._count(reading)
        self._answer = self._likeliest()

    def _count(self, reading: Reading) -> None:
        length = len(reading.probabilities)
        logs = np.log(np.clip(reading.probabilities, 1e-4, 1.0)) * np.float32(reading.weight)
        before = self.sums.get(length)
        self.sums[length] = logs if before is None else before + logs
        self.weights[length] = self.weights.get(length, 0.0) + reading.weight

    def answer(self) -> RouteAnswer:
        """The number with the most support."""
        return self._answer

    def _likeliest(self) -> RouteAnswer:
        length = max(self.weights, key=lambda k: self.weights[k])
        share = self.weights[length] / sum(self.weights.values())
        mean_logs = self.sums[length] / self.weights[length]
        best = mean_logs.argmax(axis=1)
        sure = float(softmax(mean_logs, axis=1).max(axis=1).prod())
        return RouteAnswer("".join(map(str, best.tolist())), share * sure)


class ClassificationStage(Protocol):
    """What the pipeline asks of its third stage."""

    def classify(
        self, frame: Image, tracks: Sequence[TrackedObject], alive: set[int]
    ) -> list[TrackedObject]:
        """The tracks with what is known of them by now."""


class RouteReader:
    """Reads buses in a frame and keeps the votes of each track."""

    def __init__(
        self,
        spotter: Network,
        classifier: Network,
        bus_label: int,
        config: RouteConfig | None = None,
    ) -> None:
        self.spotter, self.classifier, self.bus_label = spotter, classifier, bus_label
        self.config = config or RouteConfig()
        self.votes: dict[int, RouteVotes] = {}
        self.last_read: dict[int, int] = {}
        self.frame_number = 0

    def classify(
        self, frame: Image, tracks: Sequence[TrackedObject], alive: set[int]
    ) -> list[TrackedObject]:
        """Read the buses whose turn it is; every track gets its number as known by now."""
        self.frame_number += 1
        for gone in self.last_read.keys() - alive:
            del self.last_read[gone]
            self.votes.pop(gone, None)
        for track in self._due(tracks):
            self.last_read[track.identity] = self.frame_number
            reading = self.read(frame, track.box)
            if reading is not None:
                self.votes.setdefault(track.identity, RouteVotes()).add(reading)
        return [self._named(track) for track in tracks]

    def _due(self, tracks: Sequence[TrackedObject]) -> list[TrackedObject]:
        """Buses that were not read lately, the longest waiting first."""
        waiting = []
        for track in tracks:
            last = self.last_read.get(track.identity, -self.config.frames_between)
            rested = self.frame_number - last >= self.config.frames_between
            if track.label == self.bus_label and rested:
                waiting.append((last, track.identity, track))
        return [track for _, _, track in sorted(waiting)[: self.config.buses_per_frame]]

    def read(self, frame: Image, box: Floats) -> Reading | None:
        """One look at the bus in ``box``; None where no whole number can be made out."""
        x1, y1 = max(0, int(box[0])), max(0, int(box[1]))
        x2, y2 = int(np.ceil(box[2])), int(np.ceil(box[3]))
        region = frame[y1:y2, x1:x2]
        if min(region.shape[:2]) < 12:
            return None
        grey = np.asarray(cv2.cvtColor(region, cv2.COLOR_BGR2GRAY), np.uint8)
        small = cv2.resize(grey, (96, 48), interpolation=cv2.INTER_LINEAR)
        maps = self.spotter.run(small[None, None].astype(np.float32))[0][0]
        spots = find_peaks(maps[0], maps[1], self.config.spot_threshold)
        rows, columns = grey.shape
        if not plausible_number(spots, self.config.max_digits):
            return None
        if min(spot.height for spot in spots) * rows < self.config.min_digit_height:
            return None
        if any(self._cut_off(spot, x1, columns, rows, frame.shape[1]) for spot in spots):
            return None
        cuts = [
            cut_square(grey, spot.x * columns - 0.5, spot.y * rows - 0.5,
                       self.config.digit_share * spot.height * rows, 20)
            for spot in spots
        ]
        logits = self.classifier.run(np.stack(cuts)[:, None].astype(np.float32))[0]
        return Reading(softmax(logits), self._weight(spots, rows))

    def _cut_off(
        self, spot: DigitSpot, left: int, columns: int, rows: int, width: int
    ) -> bool:
        """Whether a digit lies so near the side of the frame that another may be beyond it."""
        x, reach = left + spot.x * columns, spot.height * rows
        return x < reach or x > width - reach

    def _weight(self, spots: Sequence[DigitSpot], rows: int) -> float:
        """How much a look counts: how sure the spotter was, less where digits are small."""
        height = float(np.mean([spot.height for spot in spots])) * rows
        clarity = min(1.0, height / self.config.clear_digit_height) ** 2
        return clarity * min(spot.score for spot in spots)

    def _named(self, track: TrackedObject) -> TrackedObject:
        votes = self.votes.get(track.identity)
        if votes is None:
            return track
        answer = votes.answer()
        return TrackedObject(track.identity, track.box, track.label, track.score,
                             answer.number, answer.confidence)
