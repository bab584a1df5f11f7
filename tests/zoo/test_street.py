"""The street against its own pixels, closed forms and independent readers of its files."""

import itertools
import json
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from zoo.errors import InferenceError
from zoo.street import CLASSES, Street, StreetConfig, materialise
from zoo.street.camera import NEAR, Camera, clip_near
from zoo.street.canvas import Compositor, Easel, Patch
from zoo.street.traffic import BUS, Flow, RoadUser
from zoo.street.truth_files import read_coco

SMALL = StreetConfig(seed=3, frames=24, width=320, height=192)


def alone(street: Street, user: RoadUser | None) -> Street:
    """The same street with one road user only: no noise, shake, shadows, motion or props."""
    copy = Street(street.config)
    copy.users = [] if user is None else [replace(user, flow=replace(user.flow, speed=0.0))]
    copy.noise, copy.shake = 0.0, 0.0
    copy.light = replace(copy.light, shadow=0.0)
    copy.__dict__["scenery"] = replace(street.scenery, props=())
    return copy


def test_same_seed_same_pixels_and_any_order() -> None:
    first, second = Street(SMALL), Street(SMALL)
    forwards = [first.frame(i) for i in (0, 7, 12)]
    backwards = [second.frame(i) for i in (12, 7, 0)][::-1]
    for (image, truth), (other, same) in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(image, other)
        assert truth == same
    different, _ = Street(replace(SMALL, seed=4)).frame(0)
    assert np.mean(different != forwards[0][0]) > 0.3


def test_train_and_test_share_neither_backgrounds_nor_digits() -> None:
    styles = {
        split: {Street(StreetConfig(seed=s, split=split, frames=1)).style for s in range(24)}
        for split in ("train", "test")
    }
    assert len(styles["train"]) >= 4 and len(styles["test"]) >= 2
    assert not styles["train"] & styles["test"]


@pytest.mark.parametrize("seed", [1, 2, 5, 8])
def test_boxes_are_where_the_pixels_change(seed: int) -> None:
    """Each object is drawn alone; the pixels that differ from the empty street are its box.

    A box at the image's edge may be larger: it is the whole object's, cut.
    """
    street = Street(StreetConfig(seed=seed, frames=2, difficulty=0.7))
    _, truth = street.frame(0)
    users = {user.identity: user for user in street.users}
    background = alone(street, None).frame(0)[0].astype(int)
    gaps = []
    for item in truth.objects:
        image, only = alone(street, users[item.identity]).frame(0)
        changed = np.abs(image.astype(int) - background).max(axis=2) > 6
        if not only.objects or not changed.any():
            continue
        box = np.array(only.objects[0].box)
        ys, xs = np.nonzero(changed)
        seen = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert np.all(seen[:2] >= np.floor(box[:2]) - 1), (item, seen, box)
        assert np.all(seen[2:] <= np.ceil(box[2:]) + 1), (item, seen, box)
        if box.min() > 0 and box[2] < 640 and box[3] < 360:
            gaps.append(np.abs(seen - box).max())
    assert len(gaps) >= 3 and np.median(gaps) <= 1.5, gaps


def test_visibility_of_a_half_hidden_square() -> None:
    compositor = Compositor(np.zeros((40, 40, 3), np.float32))
    square = np.ones((20, 20), np.float32)
    colour = np.zeros((20, 20, 3), np.float32)
    whole = compositor.add(Patch(5, 5, colour, square), 1)
    compositor.add(Patch(15, 5, colour, square), 2)
    outside = compositor.add(Patch(30, 25, colour, square), 3)
    seen = compositor.visible_pixels()
    assert whole == outside == 400
    assert (seen[1], seen[2], seen[3]) == (200, 400, 10 * 15)


def test_a_polygon_covers_its_area() -> None:
    """Coverage of a subpixel rectangle is its area, up to one enlarged pixel along its edge."""
    easel = Easel.around(np.array([10.0, 10.0]), np.array([20.0, 16.0]), 4)
    corners = np.array([[10.25, 10.5], [19.75, 10.5], [19.75, 15.5], [10.25, 15.5]])
    easel.fill((corners - np.array(easel.offset)) * 4, (200.0, 100.0, 50.0))
    patch = easel.patch()
    assert 9.5 * 5.0 <= patch.alpha.sum() <= 9.75 * 5.25 + 0.1
    x1, y1, x2, y2 = easel.box() or (0, 0, 0, 0)
    np.testing.assert_allclose((x1, y1, x2, y2), (10.25, 10.5, 19.75, 15.5), atol=0.26)


def test_camera_agrees_with_opencv() -> None:
    rng = np.random.default_rng(0)
    camera = Camera((1.0, -6.0, 6.5), 0.5, 0.25, 500.0, (320.0, 180.0))
    points = rng.uniform([-20, 5, 0], [40, 40, 8], (50, 3))
    rotation = camera.rotation
    shift = -rotation @ np.array(camera.position)
    matrix = np.array([[500.0, 0, 320.0], [0, 500.0, 180.0], [0, 0, 1]])
    expected, _ = cv2.projectPoints(points, cv2.Rodrigues(rotation)[0], shift, matrix, None)
    np.testing.assert_allclose(camera.project(points), expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_near_plane_clipping_keeps_the_front() -> None:
    triangle = np.array([[0.0, 0, -1.0], [2.0, 0, 3.0], [-2.0, 0, 3.0]])
    clipped = clip_near(triangle)
    assert clipped[:, 2].min() == pytest.approx(NEAR)
    assert len(clipped) == 4
    assert len(clip_near(triangle - [0, 0, 10])) == 0


def test_travelled_is_the_integral_of_the_speed() -> None:
    flow = Flow(speed=9.0, wave=0.8, rate=0.5, phase=1.2)
    times = np.linspace(0, 12, 20001)
    integral = np.trapezoid([flow.speed_at(float(t)) for t in times], times)
    assert flow.travelled(12.0) == pytest.approx(integral, rel=1e-6)


def test_vehicles_of_a_lane_never_touch() -> None:
    street = Street(StreetConfig(seed=11, frames=300, difficulty=1.0))
    for time in (0.0, 4.0, 9.0):
        lanes: dict[float, list[tuple[float, float]]] = {}
        for user in street.users:
            if user.mesh is not None:
                half = user.mesh.length / 2
                x = user.x(time)
                lanes.setdefault(user.lane, []).append((x - half, x + half))
        for spans in lanes.values():
            spans.sort()
            assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))


def test_difficulty_crowds_the_street() -> None:
    def objects(difficulty: float) -> int:
        return sum(
            len(Street(StreetConfig(seed=s, frames=1, difficulty=difficulty)).frame(0)[1].objects)
            for s in range(6)
        )

    assert objects(0.0) < 0.7 * objects(0.5) < 0.7 * objects(1.0)


def test_route_numbers_are_on_buses_and_legible_near_the_camera() -> None:
    heights = []
    for seed in range(20):
        street = Street(StreetConfig(seed=seed, frames=2))
        image, truth = street.frame(1)
        centres = street.digit_centres(1)
        for item in truth.objects:
            assert bool(item.route) == (item.label == BUS)
            if not item.digits_visible:
                continue
            mine = sorted((c for c in centres if c.identity == item.identity), key=lambda c: c.x)
            assert "".join(str(c.digit) for c in mine) == item.route
            x1, y1, x2, y2 = item.box
            assert all(x1 < c.x < x2 and y1 < c.y < y2 for c in mine)
            heights.append(item.digit_height)
            if item.digit_height > 12:
                c, half = mine[0], item.digit_height / 2
                grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
                cell = grey[int(c.y - half) : int(c.y + half), int(c.x - half) : int(c.x + half)]
                assert np.ptp(cell.astype(int)) > 40  # ink on ground, not bare paint
    assert len(heights) >= 4


def test_clip_is_decodable_and_its_truth_reads_back(tmp_path) -> None:
    calls: list[tuple[int, int]] = []
    clip = materialise(SMALL, tmp_path, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (24, 24)
    with av.open(str(clip.video)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        decoded = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(decoded) == 24 and decoded[0].shape == (192, 320, 3)
    street = Street(SMALL)
    for index in (0, 23):
        error = np.abs(decoded[index].astype(int) - street.frame(index)[0].astype(int))
        assert error.mean() < 9
    expected = street.truth()
    assert [f.index for f in clip.truth.frames] == list(range(24))
    for ours, drawn in zip(clip.truth.frames, expected.frames, strict=True):
        assert [o.identity for o in ours.objects] == [o.identity for o in drawn.objects]
        for a, b in zip(ours.objects, drawn.objects, strict=True):
            np.testing.assert_allclose(a.box, b.box, atol=2e-3)
            assert (a.label, a.route, a.digits_visible) == (b.label, b.route, b.digits_visible)
    again = materialise(SMALL, tmp_path, lambda *_: pytest.fail("rendered twice"))
    assert again.truth == clip.truth
    assert [p.name for p in tmp_path.iterdir()] == [clip.video.parent.name]


def test_ground_truth_files_are_what_other_tools_read(tmp_path) -> None:
    clip = materialise(SMALL, tmp_path)
    folder = clip.video.parent
    coco = COCO(str(folder / "coco.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.getImgIds()) == 24
    rows = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",", ndmin=2)
    assert len(rows) == len(coco.getAnnIds()) == sum(len(f.objects) for f in clip.truth.frames)
    assert rows[:, 0].min() == 1 and rows.shape[1] == 9
    assert set(np.unique(rows[:, 6])) <= {0.0, 1.0}


def test_interrupted_rendering_leaves_nothing_behind(tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialise(SMALL, tmp_path, stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"difficulty": 1.5}, "difficulty"),
        ({"width": 8}, "size"),
        ({"width": 99999}, "size"),
        ({"frames": 0}, "frames"),
        ({"split": "other"}, "split"),
        ({"fps": 0.0}, "rate"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_configurations_are_named(changes, word) -> None:
    with pytest.raises(InferenceError, match=word):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", json.dumps({"images": [], "annotations": [], "categories": [], "info": {}})],
)
def test_bad_truth_files_are_named(tmp_path, text) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(InferenceError, match=r"truth\.json"):
        read_coco(path)
    with pytest.raises(InferenceError, match="absent"):
        read_coco(tmp_path / "absent.json")


@pytest.mark.parametrize("size", [(64, 36), (360, 640), (321, 181), (1280, 720)])
def test_any_size(size, tmp_path) -> None:
    config = StreetConfig(seed=2, frames=2, width=size[0], height=size[1])
    image, _ = Street(config).frame(0)
    assert image.shape == (size[1], size[0], 3)
    assert materialise(config, tmp_path).truth.width == size[0]
