"""Reading route numbers: peaks, plausibility, votes; the nets on held-out digits."""

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from solutions.phase4_production.video_analysis.detections import TrackedObject
from solutions.phase4_production.video_analysis.route_reader import (
    CONTRADICTIONS,
    DigitSpot,
    Reading,
    RouteConfig,
    RouteReader,
    RouteVotes,
    cut_square,
    find_peaks,
    plausible_number,
)
from zoo import digits


def bump(shape, x, y, spread=1.0):
    grid_y, grid_x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / (2 * spread**2))


def test_peaks_are_found_in_order_and_between_cells() -> None:
    heat = np.zeros((24, 48), np.float32)
    wanted = [(40.0, 10.0), (8.3, 11.2), (20.0, 10.6)]
    for x, y in wanted:
        heat = np.maximum(heat, bump(heat.shape, x, y).astype(np.float32))
    spots = find_peaks(heat, np.full_like(heat, 0.3), 0.4)
    assert len(spots) == 3
    for spot, (x, y) in zip(spots, sorted(wanted), strict=True):
        assert spot.x * 48 - 0.5 == pytest.approx(x, abs=0.25)
        assert spot.y * 24 - 0.5 == pytest.approx(y, abs=0.25)
        assert spot.height == pytest.approx(0.3)


def test_peaks_equal_a_maximum_filter() -> None:
    heat = np.random.default_rng(8).random((24, 48)).astype(np.float32)
    expected = ((heat == maximum_filter(heat, 3, mode="constant")) & (heat > 0.6)).sum()
    assert len(find_peaks(heat, heat, 0.6)) == expected > 10


@pytest.mark.parametrize(
    ("xs", "ys", "good"),
    [
        ([0.5], [0.3], True),
        ([0.4, 0.5, 0.6], [0.3, 0.31, 0.32], True),
        ([], [], False),
        ([0.2, 0.3, 0.4, 0.5], [0.3] * 4, False),
        ([0.4, 0.5], [0.2, 0.6], False),  # not on one line
        ([0.1, 0.2, 0.6], [0.3] * 3, False),  # not evenly spaced
    ],
)
def test_what_can_be_a_number(xs, ys, good) -> None:
    spots = [DigitSpot(x, y, 0.2, 0.9) for x, y in zip(xs, ys, strict=True)]
    assert plausible_number(spots, 3) is good


def test_a_cut_square_is_the_square() -> None:
    image = np.random.default_rng(9).integers(0, 256, (60, 80), np.uint8)
    np.testing.assert_array_equal(cut_square(image, 39.5, 29.5, 20, 20), image[20:40, 30:50])


def one_hot(number: str, sure: float) -> np.ndarray:
    rows = np.full((len(number), 10), (1 - sure) / 9, np.float32)
    for row, digit in zip(rows, number, strict=True):
        row[int(digit)] = sure
    return rows


def test_votes_outweigh_a_single_mistake() -> None:
    votes = RouteVotes()
    assert votes.answer() == ("", 0.0)
    for number, sure in (("42", 0.6), ("47", 0.7), ("42", 0.6), ("4", 0.9), ("42", 0.6)):
        votes.add(Reading(one_hot(number, sure), 1.0))
    assert votes.answer().number == "42"
    assert 0 < votes.answer().confidence < 1


def test_a_clear_look_counts_more_than_a_doubtful_one() -> None:
    votes = RouteVotes()
    for _ in range(3):
        votes.add(Reading(one_hot("17", 0.9), 0.1))
    votes.add(Reading(one_hot("11", 0.9), 0.9))
    assert votes.answer().number == "11"


def test_summed_logs_equal_the_product_of_probabilities() -> None:
    rng = np.random.default_rng(10)
    looks = rng.dirichlet(np.ones(10), (6, 2)).astype(np.float32)
    votes = RouteVotes()
    for look in looks:
        votes.add(Reading(look, 1.0))
    best = np.clip(looks, 1e-4, 1).astype(np.float64).prod(axis=0).argmax(axis=1)
    assert votes.answer().number == "".join(map(str, best))


class FakeNet:
    """Answers with a fixed array and counts its calls."""

    def __init__(self, answer) -> None:
        self.answer, self.calls = answer, 0

    def run(self, batch):
        self.calls += 1
        return [self.answer(batch)]


def reader_with(number: str, config: RouteConfig) -> RouteReader:
    heat = np.zeros((1, 2, 24, 48), np.float32)
    for i in range(len(number)):
        heat[0, 0] = np.maximum(heat[0, 0], bump((24, 48), 14 + 6 * i, 6))
    heat[0, 1] = 0.3
    logits = np.stack([10 * np.eye(10)[int(d)] for d in number]).astype(np.float32)
    return RouteReader(FakeNet(lambda _: heat), FakeNet(lambda _: logits), 2, config)


def bus(identity: int, x: float = 100) -> TrackedObject:
    box = np.array([x, 50, x + 120, 120], np.float32)
    return TrackedObject(identity, box, 2, 0.9)


def test_buses_are_read_in_turns() -> None:
    frame = np.zeros((360, 640, 3), np.uint8)
    reader = reader_with("305", RouteConfig(buses_per_frame=1, frames_between=2))
    car = TrackedObject(7, bus(7).box, 0, 0.9)
    tracks = [bus(1), bus(2, 300), bus(3, 610), car]  # the third's number is cut off
    named = {}
    for _ in range(6):
        named = {t.identity: t.route for t in reader.classify(frame, tracks, {1, 2, 3, 7})}
    assert named == {1: "305", 2: "305", 3: "", 7: ""}
    assert reader.spotter.calls == 6
    reader.classify(frame, [], {2})
    assert set(reader.votes) == {2}


def test_a_bus_that_was_never_readable_leaves_nothing_behind() -> None:
    frame = np.zeros((360, 640, 3), np.uint8)
    reader = reader_with("12", RouteConfig(min_digit_height=30))
    reader.classify(frame, [bus(1)], {1})
    assert set(reader.last_read) == {1} and not reader.votes
    reader.classify(frame, [], set())
    assert not reader.last_read


def test_small_digits_and_tiny_boxes_are_left_alone() -> None:
    frame = np.zeros((360, 640, 3), np.uint8)
    reader = reader_with("12", RouteConfig(min_digit_height=30))
    assert reader.read(frame, bus(1).box) is None
    assert reader.read(frame, np.array([10, 10, 15, 14], np.float32)) is None
    assert reader.read(frame, np.array([10, 10, 10, 10], np.float32)) is None


def test_held_out_glyphs_are_named() -> None:
    """The shipped classifier on digits that it never saw, drawn large and plain."""
    import cv2

    from solutions.phase1_basics.onnx_model import OnnxModel
    from zoo import registry

    images, labels = digits.glyphs("test")
    model = OnnxModel(registry.fetch(registry.find("zoo:digits")))
    batch = np.full((len(images), 1, 56, 56), 20, np.float32)
    for cell, glyph in zip(batch, images, strict=True):
        large = cv2.resize(glyph.astype(np.float32), (40, 40), interpolation=cv2.INTER_CUBIC)
        cell[0, 8:48, 8:48] += 200 * np.clip((large / 16 - 0.12) * 1.25, 0, 1)
    small = np.stack([cv2.resize(c[0], (20, 20), interpolation=cv2.INTER_AREA) for c in batch])
    found = model.run(small[:, None])[0].argmax(axis=1)
    assert np.mean(found == labels) >= 0.97


def test_a_run_of_contradictions_drops_the_old_votes() -> None:
    """The track slipped onto another bus: after enough clear looks its number stands."""
    votes = RouteVotes()
    for _ in range(CONTRADICTIONS + 3):
        votes.add(Reading(one_hot("337", 0.9), 1.0))
    for _ in range(CONTRADICTIONS + 3):
        votes.add(Reading(one_hot("22", 0.9), 1.0))
    assert votes.answer().number == "22"
    assert votes.sums.keys() == {2}  # the old votes are gone


def test_a_few_contradictions_do_not_outweigh_a_long_life() -> None:
    votes = RouteVotes()
    for _ in range(30):
        votes.add(Reading(one_hot("337", 0.9), 1.0))
    for _ in range(CONTRADICTIONS + 1):
        votes.add(Reading(one_hot("37", 0.9), 1.0))
    assert votes.answer().number == "337"


def test_contradictions_that_disagree_with_each_other_change_nothing() -> None:
    votes = RouteVotes()
    for _ in range(10):
        votes.add(Reading(one_hot("33", 0.9), 1.0))
    for number in ("31", "32", "38", "31", "32", "38"):
        votes.add(Reading(one_hot(number, 0.9), 1.0))
    assert votes.answer().number == "33"
