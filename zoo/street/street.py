"""A street: seeded, endless variety, exact ground truth, any frame at any time.

>>> image, truth = Street(StreetConfig(seed=7)).frame(0)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError
from zoo.street.background import BORDER, Prop, Scenery, paint_scenery
from zoo.street.buildings import STYLES
from zoo.street.camera import Camera
from zoo.street.canvas import Compositor, Floats, Image
from zoo.street.figures import DigitCentre, Figure, FigurePainter, VehiclePainter, painter_of
from zoo.street.light import LIGHTS, Light
from zoo.street.traffic import BUS, Road, RoadUser, populate
from zoo.street.truth import FrameTruth, StreetTruth, TrueObject

Split = Literal["train", "test"]
EXPOSURE = 1 / 90  # seconds the shutter is open
MAX_SIDE = 8192  # pixels


@dataclass(frozen=True)
class StreetConfig:
    """What to generate. The same configuration always gives the same pixels."""

    seed: int = 0
    frames: int = 300
    width: int = 640
    height: int = 360
    fps: float = 30.0
    difficulty: float = 0.3  # 0 (sparse, clean) .. 1 (crowded, noisy, hidden)
    split: Split = "test"
    zoom: float = 1.25  # of the lens; the training streets are seen wider, at 1

    def __post_init__(self) -> None:
        if self.split not in STYLES:
            raise InferenceError(f"street split {self.split!r}: choose 'train' or 'test'")
        if not 0.0 <= self.difficulty <= 1.0:
            raise InferenceError(f"street difficulty {self.difficulty}: must lie in 0..1")
        if self.seed < 0 or self.frames < 1:
            raise InferenceError(
                f"street seed {self.seed}, frames {self.frames}: seed >= 0 and frames >= 1"
            )
        if min(self.width, self.height) < 32 or max(self.width, self.height) > MAX_SIDE:
            raise InferenceError(
                f"street size {self.width}x{self.height}: each side must lie in 32..{MAX_SIDE}"
            )
        if not 0.5 <= self.zoom <= 4.0:
            raise InferenceError(f"street zoom {self.zoom}: must lie in 0.5..4")
        if not 1.0 <= self.fps <= 240.0:
            raise InferenceError(f"street rate {self.fps} fps: must lie in 1..240")

    @property
    def name(self) -> str:
        """A file name that tells streets apart."""
        return (
            f"street-{self.split}-{self.seed}-{self.frames}x{self.width}x{self.height}"
            f"-{self.fps:g}fps-d{self.difficulty:g}-z{self.zoom:g}"
        )


class Street:
    """A procedural street seen by a fixed, slightly shaking camera."""

    def __init__(self, config: StreetConfig) -> None:
        self.config = config
        split_key = 0 if config.split == "train" else 1
        rng = np.random.default_rng([config.seed, split_key, 20])
        hard = config.difficulty
        self.road = Road(int(rng.integers(1, 3)))
        self.light: Light = list(LIGHTS.values())[int(rng.integers(len(LIGHTS)))]
        styles = STYLES[config.split]
        self.style = styles[int(rng.integers(len(styles)))]
        self.camera = _camera(rng, config.width, config.height, config.zoom)
        self.noise = float(rng.uniform(1.0, 3.0) + 6.0 * hard * rng.random())
        self.shake = (0.3 + 1.4 * hard * float(rng.random())) * config.width / 640
        self.contrast = float(rng.uniform(0.82, 1.08))
        self.exposure = float(rng.uniform(-12, 12))
        crowding = (0.4 + 1.4 * hard) * float(rng.uniform(0.8, 1.2))
        self.users: list[RoadUser] = populate(
            rng, self.road, config.frames / config.fps, crowding, config.split
        )
        self._scenery_seed = int(rng.integers(1 << 31))
        self._shake_phase = rng.uniform(0, 2 * np.pi, 8)
        self._painters: dict[int, VehiclePainter | FigurePainter] = {}

    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[tuple[Image, FrameTruth]]:
        for index in range(len(self)):
            yield self.frame(index)

    @cached_property
    def scenery(self) -> Scenery:
        """The still part, painted on first use."""
        return paint_scenery(
            np.random.default_rng(self._scenery_seed),
            self.camera,
            self.road,
            self.light,
            self.style,
            (self.config.width, self.config.height),
            2 * self.config.difficulty,
        )

    @cached_property
    def _noise_bank(self) -> NDArray[np.int8]:
        rng = np.random.default_rng([self._scenery_seed, 1])
        height, width = self.config.height + 64, self.config.width + 64
        grain = rng.normal(0.0, self.noise, (2, height, width, 3))
        return np.clip(np.rint(grain), -127, 127).astype(np.int8)

    def truth(self) -> StreetTruth:
        """The ground truth of all frames; draws every frame."""
        return self.truth_of(tuple(truth for _, truth in self))

    def truth_of(self, frames: tuple[FrameTruth, ...]) -> StreetTruth:
        """The ground truth file of frames that were drawn already."""
        config = self.config
        return StreetTruth(config.name, config.width, config.height, config.fps, frames)

    def frame(self, index: int) -> tuple[Image, FrameTruth]:
        """Draw one frame: uint8 [H, W, 3] BGR, and what is in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a street of {len(self)} frames")
        image, drawn = self._draw(index)
        return self._develop(image, index), drawn

    def digit_centres(self, index: int) -> list[DigitCentre]:
        """Where the digits of all route numbers that face the camera are in a frame."""
        camera = self._camera_at(index)
        figures = (figure for _, figure in self._figures(index, camera))
        return [centre for figure in figures for centre in figure.digit_centres]

    def _shift(self, index: int) -> tuple[float, float]:
        time = index / self.config.fps
        rates = np.array([1.1, 2.3, 3.7, 7.9])
        waves = np.sin(
            np.outer([1.0, 1.3], rates) * 2 * np.pi * 0.4 * time + self._shake_phase.reshape(2, 4)
        )
        weights = np.array([0.5, 0.3, 0.15, 0.1])
        dx, dy = np.clip(waves @ weights * self.shake, -BORDER + 2, BORDER - 2)
        return float(dx), float(dy)

    def _camera_at(self, index: int) -> Camera:
        return self.camera.moved(*self._shift(index))

    def _figures(self, index: int, camera: Camera) -> Iterator[tuple[RoadUser, Figure]]:
        """Everyone in sight, far ones first."""
        time = index / self.config.fps
        present = [(user, user.x(time)) for user in self.users]
        present = [(user, x) for user, x in present if user.opacity(x) > 0.02]
        present.sort(key=lambda pair: (-pair[0].lane, -abs(pair[1])))
        for user, x in present:
            if user.identity not in self._painters:
                self._painters[user.identity] = painter_of(user, self.light, self.config.split)
            figure = self._painters[user.identity].draw(camera, x)
            if figure is not None:
                yield user, figure

    def _draw(self, index: int) -> tuple[Floats, FrameTruth]:
        config = self.config
        time = index / config.fps
        dx, dy = self._shift(index)
        camera = self.camera.moved(dx, dy)
        drawn = list(self._figures(index, camera))
        view = self.scenery.view(config.width, config.height, dx, dy)
        compositor = Compositor(_with_shadows(view, drawn, camera, self.light, time))
        areas: dict[int, float] = {}
        props = list(self.scenery.props)
        for user, figure in drawn:
            while props and props[0].y >= user.lane:
                _add_prop(compositor, props.pop(0), dx, dy)
            x = user.x(time)
            velocity = user.direction * user.flow.speed_at(time)
            patch = figure.patch.blurred(*_smear(camera, user, x, velocity))
            opacity = user.opacity(x)
            if opacity < 1.0:
                patch = patch.faded(opacity)
            areas[user.identity] = compositor.add(patch, user.identity)
        for prop in props:
            _add_prop(compositor, prop, dx, dy)
        objects = _truths(drawn, compositor, areas, config)
        return compositor.image, FrameTruth(index, time, objects)

    def _develop(self, image: Floats, index: int) -> Image:
        """Contrast, exposure and sensor noise."""
        height, width = image.shape[:2]
        exposed = cv2.convertScaleAbs(
            np.clip((image - 128.0) * self.contrast + 128.0 + self.exposure, 0, 255)
        )
        offset = np.random.default_rng([self._scenery_seed, 2, index]).integers(0, 64, 3)
        rows, columns = slice(offset[0], offset[0] + height), slice(offset[1], offset[1] + width)
        grain = self._noise_bank[offset[2] % 2, rows, columns]
        return np.asarray(cv2.add(exposed, np.ascontiguousarray(grain), dtype=cv2.CV_8U), np.uint8)


def _camera(rng: np.random.Generator, width: int, height: int, zoom: float) -> Camera:
    sign = 1.0 if rng.random() < 0.5 else -1.0
    focal = 0.80 * zoom * width * float(rng.uniform(0.9, 1.15))
    return Camera(
        position=(0.0, float(rng.uniform(-9.0, -5.0)), float(rng.uniform(5.5, 8.0))),
        yaw=sign * float(np.radians(rng.uniform(20, 50))),
        pitch=float(np.radians(rng.uniform(12, 17))),
        focal=focal,
        centre=(width / 2, height / 2),
    )


def _smear(camera: Camera, user: RoadUser, x: float, velocity: float) -> tuple[float, float]:
    """How far the object moves in the image while the shutter is open, in pixels."""
    points = np.array([[x, user.y, 1.0], [x + velocity * EXPOSURE, user.y, 1.0]])
    viewed = camera.view(points)
    if viewed[:, 2].min() < 1.0:
        return 0.0, 0.0
    start, stop = camera.to_image(viewed)
    return float(stop[0] - start[0]), float(stop[1] - start[1])


def _add_prop(compositor: Compositor, prop: Prop, dx: float, dy: float) -> None:
    compositor.add(prop.patch.moved(dx, dy), 0)


def _with_shadows(
    view: Floats, drawn: list[tuple[RoadUser, Figure]], camera: Camera, light: Light, time: float
) -> Floats:
    """The ground darkened where the sun does not reach it (planar projected shadows)."""
    mask = np.zeros(view.shape[:2], np.uint8)
    sun = np.asarray(light.sun)
    lean = -sun[:2] / max(float(sun[2]), 0.35)
    for user, _ in drawn:
        length, width, height = (
            (user.mesh.length, user.mesh.width, user.mesh.height * 0.9)
            if user.mesh is not None
            else (0.5 if user.gait else 0.4, 0.35, 1.6)
        )
        x = user.x(time)
        half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (length / 2, width / 2)
        foot = half + np.array([x, user.y])
        reach = np.concatenate([foot, foot + lean * height])
        hull = cv2.convexHull(reach.astype(np.float32))[:, 0].astype(np.float64)
        viewed = camera.view(np.column_stack([hull, np.zeros(len(hull))]))
        if viewed[:, 2].min() < 1.0:
            continue
        pixels = np.rint(camera.to_image(viewed) * 16).astype(np.int32)
        strength = 255.0 * user.opacity(x)
        cv2.fillConvexPoly(mask, pixels, strength, cv2.LINE_AA, 4)
    size = 2 * light.softness * max(1, view.shape[1] // 640) + 1
    soft = cv2.blur(mask, (size, size)).astype(np.float32) * np.float32(light.shadow / 255)
    shadowed: Floats = view * (1.0 - soft)[..., None]
    return shadowed


def _truths(
    drawn: list[tuple[RoadUser, Figure]],
    compositor: Compositor,
    areas: dict[int, float],
    config: StreetConfig,
) -> tuple[TrueObject, ...]:
    seen = compositor.visible_pixels()
    objects = []
    for user, figure in drawn:
        x1, y1, x2, y2 = figure.box
        box = (
            max(0.0, x1),
            max(0.0, y1),
            min(float(config.width), x2),
            min(float(config.height), y2),
        )
        pixels = seen.get(user.identity, 0)
        if box[0] >= box[2] or box[1] >= box[3] or not pixels:
            continue
        visibility = min(1.0, pixels / max(areas[user.identity], 1.0))
        legible = (
            user.label == BUS
            and figure.panel is not None
            and _panel_is_clear(figure.panel, compositor.owner, user.identity)
        )
        height = float(np.mean([c.height for c in figure.digit_centres] or [0.0]))
        objects.append(
            TrueObject(user.identity, user.label, box, visibility, user.route, legible, height)
        )
    return tuple(objects)


def _panel_is_clear(panel: NDArray[np.float64], owner: NDArray[np.int32], identity: int) -> bool:
    """Whether nothing hides the route panel [4, 2] and all of it is in the image."""
    height, width = owner.shape
    low, high = np.floor(panel.min(axis=0)), np.ceil(panel.max(axis=0))
    if low.min() < 0 or high[0] >= width or high[1] >= height:
        return False
    mask = np.zeros((int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(panel - low).astype(np.int32), 1)
    rows = slice(int(low[1]), int(low[1]) + mask.shape[0])
    columns = slice(int(low[0]), int(low[0]) + mask.shape[1])
    region = owner[rows, columns][mask > 0]
    return bool(region.size and np.mean(region == identity) > 0.97)
