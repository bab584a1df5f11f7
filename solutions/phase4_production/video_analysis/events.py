"""What happened: lines crossed, zones entered and left, objects counted once.

The problem: a tracked box trembles, so a naive test "was left, is right" counts an object that
waits on a line many times. The idea: an object has changed sides only once its foot is clear of
the line by a margin. And a track that is lost for a moment has not left a zone yet::

    foot's way   ....|..|.|...|......      | line, crossed five times by the trembling foot
    counted as   ..............^           once, when it is clear of the line

An object stands where the middle of its box's lower edge is.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from solutions.phase4_production.video_analysis.detections import TrackedObject
from solutions.phase4_production.video_analysis.geometry import Line, Point, Zone

MARGIN = 0.1  # of the box's width: how clear of a line an object must be
FORGET_AFTER = 2.0  # seconds without an object until it has left


@dataclass(frozen=True)
class Event:
    """One thing that happened, as it stands in ``events.jsonl``."""

    time: float  # seconds in the video
    frame: int  # from 0
    event: str  # "crossing", "enter", "leave"
    where: str  # name of the line or zone
    track: int
    label: str
    direction: str | None = None  # of a crossing: the side it went to, seen along the line
    dwell: float | None = None  # of a leave: seconds in the zone

    def record(self) -> dict[str, Any]:
        """As plain data, without what does not apply."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def foot(track: TrackedObject) -> Point:
    """Where the object stands: the middle of its box's lower edge."""
    x1, _, x2, y2 = track.box.tolist()
    return (x1 + x2) / 2, y2


@dataclass
class Clear:
    """Where an object last was clear of a line."""

    point: Point
    right: bool
    seen: float  # seconds


@dataclass
class LineCounter:
    """Counts the objects that cross one line, by direction and class."""

    line: Line
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (direction, label)
    _clear: dict[int, Clear] = field(default_factory=dict)

    def update(
        self, time: float, frame: int, tracks: Sequence[TrackedObject], labels: Sequence[str]
    ) -> list[Event]:
        """The crossings in this frame, ``time`` seconds into the video."""
        events = []
        for track in tracks:
            point, last = foot(track), self._clear.get(track.identity)
            distance = self.line.side(point)
            margin = MARGIN * float(track.box[2] - track.box[0])
            if abs(distance) < margin:
                if last is not None:
                    last.seen = time
                continue
            right = distance > 0
            if last is not None and right != last.right and self.line.cut_by(last.point, point):
                direction, label = "right" if right else "left", labels[track.label]
                self.counts[direction, label] += 1
                events.append(Event(time, frame, "crossing", self.line.name, track.identity,
                                    label, direction))
            self._clear[track.identity] = Clear(point, right, time)
        _forget(self._clear, time, lambda clear: clear.seen)
        return events


@dataclass
class Stay:
    """An object's time in a zone."""

    label: str
    entered: float  # seconds
    seen: float  # last time inside


@dataclass
class ZoneWatch:
    """Measures how long objects stay in one zone."""

    zone: Zone
    entered: Counter[str] = field(default_factory=Counter)  # by label
    left: int = 0
    total_dwell: float = 0.0  # seconds, of those that left
    longest: float = 0.0
    _inside: dict[int, Stay] = field(default_factory=dict)

    @property
    def occupied(self) -> int:
        """Objects inside at present."""
        return len(self._inside)

    def update(
        self, time: float, frame: int, tracks: Sequence[TrackedObject], labels: Sequence[str]
    ) -> list[Event]:
        """The entries and leaves in this frame, ``time`` seconds into the video."""
        events = []
        for track in tracks:
            stay = self._inside.get(track.identity)
            if self.zone.contains(foot(track)):
                if stay is None:
                    label = labels[track.label]
                    self._inside[track.identity] = Stay(label, time, time)
                    self.entered[label] += 1
                    events.append(Event(time, frame, "enter", self.zone.name, track.identity,
                                        label))
                else:
                    stay.seen = time
        gone = [k for k, stay in self._inside.items() if time - stay.seen > FORGET_AFTER]
        return events + [self._leave(time, frame, identity) for identity in gone]

    def finish(self, time: float, frame: int) -> list[Event]:
        """Those who were inside when the video ended, as leaves."""
        return [self._leave(time, frame, identity) for identity in list(self._inside)]

    def _leave(self, time: float, frame: int, identity: int) -> Event:
        stay = self._inside.pop(identity)
        dwell = round(stay.seen - stay.entered, 3)
        self.left += 1
        self.total_dwell += dwell
        self.longest = max(self.longest, dwell)
        return Event(time, frame, "leave", self.zone.name, identity, stay.label, dwell=dwell)


def _forget(known: dict[int, Any], time: float, seen: Callable[[Any], float]) -> None:
    for identity in [k for k, value in known.items() if time - seen(value) > FORGET_AFTER]:
        del known[identity]


class EventWatch:
    """All lines and zones of a run."""

    def __init__(
        self, lines: Sequence[Line], zones: Sequence[Zone], labels: Sequence[str],
        sink: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.lines = [LineCounter(line) for line in lines]
        self.zones = [ZoneWatch(zone) for zone in zones]
        self.labels, self.sink = labels, sink

    def update(self, time: float, frame: int, tracks: Sequence[TrackedObject]) -> None:
        """Hand on what happened in this frame, ``time`` seconds into the video."""
        watches: list[LineCounter | ZoneWatch] = [*self.lines, *self.zones]
        for watch in watches:
            for event in watch.update(time, frame, tracks, self.labels):
                self.sink(event)

    def finish(self, time: float, frame: int) -> None:
        """Close the stays that are still open."""
        for zone in self.zones:
            for event in zone.finish(time, frame):
                self.sink(event)

    def summary(self) -> dict[str, Any]:
        """Counts by line and zone, as plain data."""
        return {
            "lines": {c.line.name: _by_direction(c.counts) for c in self.lines},
            "zones": {
                z.zone.name: {
                    "entered": dict(z.entered), "left": z.left,
                    "mean_dwell_s": round(z.total_dwell / z.left, 3) if z.left else None,
                    "longest_s": z.longest,
                } for z in self.zones
            },
        }


def _by_direction(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    return {way: {label: n for (w, label), n in sorted(counts.items()) if w == way}
            for way in ("right", "left")}
