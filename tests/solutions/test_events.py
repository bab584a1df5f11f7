"""Lines, zones and counts: against geometry by hand and against the street's truth."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from solutions.phase4_production.video_analysis.census import Census
from solutions.phase4_production.video_analysis.detections import TrackedObject
from solutions.phase4_production.video_analysis.events import EventWatch, LineCounter, ZoneWatch
from solutions.phase4_production.video_analysis.geometry import (
    Line,
    Zone,
    parse_line,
    parse_zone,
)
from solutions.phase4_production.video_analysis.model_pipeline import build_pipeline
from solutions.phase4_production.video_analysis.result_files import EventFile
from zoo.errors import InferenceError
from zoo.street import Street, StreetConfig
from zoo.street.truth import CLASSES

LABELS = ("car", "person")
DOWN = Line("gate", (100, 0), (100, 200))  # seen along it, right is where x is smaller


def at(x: float, y: float, identity: int = 1, label: int = 0, width: float = 20) -> TrackedObject:
    """An object that stands there."""
    box = np.array([x - width / 2, y - 30, x + width / 2, y], np.float32)
    return TrackedObject(identity, box, label, 0.9)


def crossings(line: Line, way: list[tuple[float, float]], **more: float) -> list[str]:
    counter, found = LineCounter(line), []
    for frame, (x, y) in enumerate(way):
        found += counter.update(frame / 30, frame, [at(x, y, **more)], LABELS)
    assert all(e.event == "crossing" and e.where == "gate" for e in found)
    return [e.direction for e in found]


def straight(start: tuple[float, float], end: tuple[float, float], steps: int = 30):
    return [tuple(p) for p in np.linspace(start, end, steps).tolist()]


def test_directions_are_those_of_one_who_walks_along_the_line() -> None:
    assert crossings(DOWN, straight((150, 100), (50, 100))) == ["right"]
    assert crossings(DOWN, straight((50, 100), (150, 100))) == ["left"]
    across = Line("gate", (0, 100), (200, 100))  # walking right, the right hand is below
    assert crossings(across, straight((90, 50), (90, 150))) == ["right"]


def test_passing_beyond_the_ends_or_turning_back_is_no_crossing() -> None:
    assert crossings(DOWN, straight((150, 250), (50, 250))) == []
    there, back = straight((150, 100), (99.5, 100)), straight((99, 100), (150, 100))
    assert crossings(DOWN, there + back) == []


def test_one_who_trembles_on_the_line_is_counted_once() -> None:
    rng = np.random.default_rng(0)
    waiting = [(100 + float(rng.normal(0, 0.4)), 100.0) for _ in range(300)]
    assert crossings(DOWN, straight((150, 100), (101, 100)) + waiting) == []
    way = straight((150, 100), (101, 100)) + waiting + straight((100, 100), (50, 100))
    assert crossings(DOWN, way) == ["right"]


def test_a_jump_over_the_line_counts_and_an_old_place_does_not() -> None:
    assert crossings(DOWN, [(150, 100), (50, 100)]) == ["right"]
    counter = LineCounter(DOWN)
    counter.update(0.0, 0, [at(150, 100)], LABELS)
    counter.update(30.0, 900, [], LABELS)
    assert counter.update(31.0, 930, [at(50, 100)], LABELS) == []


def test_zones_measure_the_stay_and_forgive_a_moment_outside() -> None:
    watch = ZoneWatch(Zone("square", ((0, 0), (50, 0), (50, 50), (0, 50))))
    events = []
    for frame in range(300):
        x = 25 if 30 <= frame < 90 or 100 <= frame < 150 else 80
        events += watch.update(frame / 30, frame, [at(x, 40, label=1)], LABELS)
    assert [e.event for e in events] == ["enter", "leave"]
    assert events[0].time == 1.0 and events[1].dwell == pytest.approx((149 - 30) / 30, abs=1e-3)
    assert watch.entered == {"person": 1} and watch.left == 1 and watch.occupied == 0


def test_who_is_inside_at_the_end_leaves_with_the_video() -> None:
    found = []
    watch = EventWatch([], [Zone("z", ((0, 0), (99, 0), (50, 99)))], LABELS, found.append)
    for frame in range(60):
        watch.update(frame / 30, frame, [at(50, 20)])
    watch.finish(2.0, 60)
    assert [e.event for e in found] == ["enter", "leave"]
    assert found[1].dwell == pytest.approx(59 / 30, abs=1e-3)
    summary = watch.summary()["zones"]["z"]
    assert summary["entered"] == {"car": 1} and summary["longest_s"] == found[1].dwell


def test_inside_equals_opencv() -> None:
    import cv2

    rng = np.random.default_rng(1)
    corners = tuple((float(x), float(y)) for x, y in rng.uniform(0, 100, (7, 2)))
    order = sorted(corners, key=lambda p: np.arctan2(p[1] - 50, p[0] - 50))  # a simple polygon
    zone, outline = Zone("z", tuple(order)), np.array(order, np.float32)
    points = rng.uniform(0, 100, (2000, 2))
    inside = [zone.contains((x, y)) for x, y in points.tolist()]
    expected = [cv2.pointPolygonTest(outline, p, False) > 0 for p in points.tolist()]
    assert inside == expected and 0 < sum(inside) < 2000


def test_places_are_read_in_pixels_or_shares() -> None:
    assert parse_line("10,20,30,40", 1, (640, 360)) == Line("line 1", (10, 20), (30, 40))
    assert parse_line("door=0.5,0,0.5,1", 1, (640, 360)) == Line("door", (320, 0), (320, 360))
    assert parse_zone("1,2,5,9", 3, (64, 36)) == Zone("zone 3", ((1, 2), (5, 2), (5, 9), (1, 9)))
    assert len(parse_zone("t=0,0,1,0,0.5,1", 1, (10, 10)).corners) == 3


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "1,1,1,1", "1,2,3,4,5,6", "nan,0,1,1",
                                  "inf,0,1,1", "1e9,0,1,1", "="])
def test_what_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(InferenceError, match="--line"):
        parse_line(text, 1, (640, 360))


@pytest.mark.parametrize("text", ["", "1,1", "1,1,1,9", "0,0,5,5,9,9", "x,1,2,3"])
def test_what_is_no_zone_is_refused(text: str) -> None:
    with pytest.raises(InferenceError, match="--zone"):
        parse_zone(text, 1, (640, 360))


def test_events_are_one_json_a_line(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "events.jsonl")
    watch = EventWatch([DOWN], [], LABELS, file.add)
    for frame, (x, y) in enumerate(straight((150, 100), (50, 100))):
        watch.update(frame / 30, frame, [at(x, y)])
    file.count("car", 1)
    file.close()
    first, second = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    assert first["event"] == "crossing" and first["direction"] == "right" and "dwell" not in first
    assert second == {"event": "unique", "label": "car", "count": 1}


def test_the_census_stays_small_and_counts_all() -> None:
    census = Census()
    for identity in range(1, 4001):
        for step in range(3):
            census.add(identity + step / 10, [at(5, 5, identity, identity % 2)])
    assert census.counts() == {1: 2000, 0: 2000}
    assert len(census._alive) < 300 and census.longest(0) == pytest.approx(0.2)


def test_the_street_is_counted_as_its_truth_says() -> None:
    """Feet of the true boxes, through the same line, against those of the pipeline's tracks."""
    street = Street(StreetConfig(seed=11, frames=240))
    pipeline = build_pipeline("zoo:street-large")
    line = Line("middle", (320, 0), (320, 360))
    true, found = LineCounter(line), LineCounter(line)
    unique_true: dict[int, int] = {}
    seen: Counter[int] = Counter()
    census = Census()
    for index in range(240):
        image, truth = street.frame(index)
        objects = [TrackedObject(o.identity, np.array(o.box, np.float32), o.label, 1.0)
                   for o in truth.objects if o.visibility > 0.3]
        seen.update(o.identity for o in objects)
        unique_true |= {o.identity: o.label for o in objects if seen[o.identity] > 10}
        true.update(index / 30, index, objects, CLASSES)
        tracks = pipeline.analyse(image).tracks
        found.update(index / 30, index, tracks, CLASSES)
        census.add(index / 30, tracks)
    expected, counted = true.counts.total(), found.counts.total()
    assert expected >= 4 and abs(counted - expected) <= max(1, 0.25 * expected), (
        true.counts, found.counts)
    unique = sum(census.counts().values())
    assert 0.7 * len(unique_true) <= unique <= 1.4 * len(unique_true), (unique, len(unique_true))
