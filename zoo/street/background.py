"""Everything that does not move: sky, buildings, road, and the props that hide what is behind.

The scenery is painted once per street at three times the resolution, with a border for the
camera's shake; each frame then cuts its view out of it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.street.buildings import BUILDERS, Quad, ground, shaded
from zoo.street.camera import Camera, clip_near
from zoo.street.canvas import Compositor, Easel, Floats, Image, Patch, fill
from zoo.street.light import Light
from zoo.street.traffic import CYCLE_LANE, LANE, PAVEMENT, Road
from zoo.street.vehicles import Colour

SUPERSAMPLE = 3
BORDER = 16  # pixels around the image, more than the camera ever shakes


@dataclass(frozen=True)
class Prop:
    """Something fixed that stands between the road users, such as a tree or a lamp post."""

    y: float  # world Y, decides who hides whom
    patch: Patch


@dataclass(frozen=True)
class Scenery:
    """The still part of a street."""

    image: Floats  # [H + 2 BORDER, W + 2 BORDER, 3], 0..255
    props: tuple[Prop, ...]  # far ones first

    def view(self, width: int, height: int, dx: float, dy: float) -> Floats:
        """The background of a frame whose camera shook by (dx, dy) pixels."""
        shift = np.array([[1, 0, dx - BORDER], [0, 1, dy - BORDER]], dtype=np.float64)
        view = cv2.warpAffine(self.image, shift, (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray(view, np.float32)


def _paint(canvas: Image, camera: Camera, quads: list[Quad], light: Light) -> None:
    for quad in quads:
        viewed = clip_near(camera.view(quad.points))
        if len(viewed) < 3:
            continue
        pixels = camera.to_image(viewed)
        if pixels[:, 0].max() < 0 or pixels[:, 0].min() > canvas.shape[1]:
            continue
        colour = np.array([quad.colour], dtype=np.float64)
        if not quad.glow:
            colour = light.shade(colour, np.array([quad.normal]))
        distance = float(np.linalg.norm(viewed.mean(axis=0)))
        fill(canvas, pixels, light.haze(colour, distance)[0].tolist())


def _sky(rng: np.random.Generator, height: int, width: int, light: Light) -> Image:
    """Sky from the top of the image to the horizon, uint8 [height, width, 3]."""
    rows, columns = max(2, height // SUPERSAMPLE), width // SUPERSAMPLE
    top, low = np.array(light.sky_top), np.array(light.sky_low)
    share = np.linspace(0, 1, rows)[:, None, None] ** 0.8
    clouds = np.zeros((rows, columns), np.float32)
    for cells, weight in ((2, 0.5), (5, 0.3), (11, 0.2)):
        noise = rng.random((cells, cells * 3)).astype(np.float32)
        clouds += weight * cv2.resize(noise, (columns, rows), interpolation=cv2.INTER_CUBIC)
    cover = np.clip((clouds - 0.5) * 3.0, 0, 0.7)[..., None]
    bright = np.minimum(np.maximum(top, low) * 1.12, 250)
    sky = top + (low - top) * share
    painted = np.asarray(sky + (bright - sky) * cover, np.uint8)
    return np.asarray(cv2.resize(painted, (width, height)), np.uint8)


def _markings(rng: np.random.Generator, road: Road) -> list[Quad]:
    white: Colour = (206, 208, 210)
    start = PAVEMENT + CYCLE_LANE
    quads: list[Quad] = []
    lanes = 2 * road.lanes_each_way
    for i in range(lanes + 1):
        y = start + i * LANE
        if i in (0, lanes):
            quads.append(ground(-90, 180, y - 0.06, y + 0.06, white))
        elif i == road.lanes_each_way:
            quads += [ground(-90, 180, y + d - 0.05, y + d + 0.05, white) for d in (-0.12, 0.12)]
        else:
            quads += [
                ground(float(x), float(x) + 3.0, y - 0.06, y + 0.06, white)
                for x in np.arange(-90.0, 180.0, 7.0)
            ]
    if rng.random() < 0.5:
        x0 = float(rng.uniform(4, 16)) * (1 if rng.random() < 0.5 else -1)
        quads += [
            ground(x0, x0 + 3.2, float(y), float(y) + 0.5, white)
            for y in np.arange(PAVEMENT + 0.3, road.far_kerb - 0.4, 1.0)
        ]
    return quads


def _street_level(rng: np.random.Generator, road: Road) -> list[Quad]:
    asphalt = shaded((98, 96, 94), float(rng.uniform(0.8, 1.12)))
    paving = shaded((156, 162, 168), float(rng.uniform(0.85, 1.1)))
    cycle: Colour = (84, 92, 150) if rng.random() < 0.4 else shaded(asphalt, 0.94)
    kerb: Colour = (176, 180, 184)
    far = road.far_kerb
    quads = [
        ground(-90, 200, -20, PAVEMENT, paving),
        ground(-90, 200, PAVEMENT, far, asphalt),
        ground(-90, 200, far, road.building_line + 1.0, paving),
        ground(-90, 200, PAVEMENT, PAVEMENT + CYCLE_LANE, cycle),
        ground(-90, 200, far - CYCLE_LANE, far, cycle),
    ]
    joints = shaded(paving, 0.9)
    quads += [
        ground(float(x), float(x) + 0.05, y0, y1, joints)
        for x in np.arange(-60.0, 110.0, 1.5)
        for y0, y1 in ((0.0, PAVEMENT), (far, road.building_line))
    ]
    quads += [ground(-90, 200, y - 0.09, y + 0.09, kerb) for y in (PAVEMENT, far)]
    for _ in range(int(rng.integers(3, 9))):
        x, y = float(rng.uniform(-40, 60)), float(rng.uniform(PAVEMENT + 1, far - 2))
        quads.append(
            ground(
                x,
                x + float(rng.uniform(1, 6)),
                y,
                y + float(rng.uniform(0.6, 1.6)),
                shaded(asphalt, float(rng.uniform(0.86, 1.08))),
            )
        )
    return quads + _markings(rng, road)


def _grain(rng: np.random.Generator, canvas: Image, camera: Camera) -> None:
    """Give the ground a fine texture that shrinks with distance."""
    noise = rng.normal(0, 1, (700, 1400)).astype(np.float32)
    noise += 0.8 * cv2.resize(rng.normal(0, 1, (90, 180)).astype(np.float32), (1400, 700))
    corners = np.array([[-60.0, 1.0, 0], [100.0, 1.0, 0], [100.0, 60.0, 0], [-60.0, 60.0, 0]])
    basis = np.array([[0, 0], [1400, 0], [1400, 700], [0, 700]], np.float64)
    to_world = cv2.getPerspectiveTransform(
        basis.astype(np.float32), corners[:, :2].astype(np.float32)
    )
    rotation, place = camera.rotation, np.asarray(camera.position)
    x, y = camera.centre
    intrinsics = np.array([[camera.focal, 0, x], [0, camera.focal, y], [0, 0, 1.0]])
    plane = np.column_stack([rotation[:, 0], rotation[:, 1], -rotation @ place])
    transform = intrinsics @ plane @ to_world
    size = (canvas.shape[1], canvas.shape[0])
    warped = cv2.warpPerspective(noise, transform, size, flags=cv2.INTER_LINEAR)
    horizon = max(0, int(y - np.tan(camera.pitch) * camera.focal) + 4)
    region = canvas[horizon:].astype(np.float32)
    fade = np.linspace(0.1, 1.0, len(region))[:, None]
    region += (np.asarray(warped)[horizon:] * fade * 2.6)[..., None]
    canvas[horizon:] = np.clip(region, 0, 255)


def _tree(
    rng: np.random.Generator, camera: Camera, x: float, y: float, light: Light
) -> Patch | None:
    height, spread = float(rng.uniform(4.8, 7.5)), float(rng.uniform(1.2, 2.0))
    base = camera.view(np.array([[x, y, 0.0], [x, y, height + spread]]))
    if base[:, 2].min() < 2.0:
        return None
    pixels = camera.to_image(base)
    scale = camera.focal / float(base[0, 2])
    reach = np.array([spread * 1.6 * scale, spread * 1.6 * scale])
    low, high = pixels.min(axis=0) - reach, pixels.max(axis=0) + reach * (1, 0)
    if high[0] < 0 or low[0] > 2 * camera.centre[0]:
        return None
    easel = Easel.around(low, high, SUPERSAMPLE)

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        placed: NDArray[np.float64] = (
            camera.project(points) - np.array(easel.offset)
        ) * easel.factor
        return placed

    trunk = light.tint((58, 70, 88))
    line = place(np.array([[x, y, 0.0], [x, y, height - spread * 0.4]]))
    easel.stroke(line, light.haze(trunk, float(base[0, 2])).tolist(), 0.24 * scale * easel.factor)
    green = np.array([(60, 124, 76), (56, 136, 110), (64, 110, 62), (70, 140, 150)])[
        int(rng.integers(4))
    ]
    count = 70
    around = rng.normal(0, 1, (count, 3))
    around *= (rng.random(count) ** 0.4 / np.linalg.norm(around, axis=1))[:, None]
    order = np.argsort(around @ np.array([0.3, -0.5, 0.8]))
    for spot in around[order]:
        centre = np.array(
            [[x + spot[0] * spread, y + spot[1] * 0.6, height + spot[2] * spread * 0.9]]
        )
        bright = 0.72 + 0.34 * (spot[2] + 1) / 2 + float(rng.uniform(-0.06, 0.06))
        colour = light.haze(light.tint((1, 1, 1)) * green * bright * 0.95, float(base[0, 2]))
        radius = spread * float(rng.uniform(0.2, 0.36)) * scale * easel.factor
        easel.disc(place(centre)[0], radius, colour.tolist())
    return easel.patch()


def _pole(
    rng: np.random.Generator, camera: Camera, x: float, y: float, light: Light
) -> Patch | None:
    height = float(rng.uniform(5.5, 7.0))
    reach = 1.6 if y < 10 else -1.6
    points = np.array([[x, y, 0.0], [x, y, height], [x, y + reach, height + 0.25]])
    viewed = camera.view(points)
    if viewed[:, 2].min() < 2.0:
        return None
    pixels = camera.to_image(viewed)
    if pixels[:, 0].max() < 0 or pixels[:, 0].min() > 2 * camera.centre[0]:
        return None
    easel = Easel.around(pixels.min(axis=0) - 4, pixels.max(axis=0) + 4, SUPERSAMPLE)
    line = (pixels - np.array(easel.offset)) * easel.factor
    scale = camera.focal / float(viewed[0, 2]) * easel.factor
    colour = light.tint((96, 94, 90)).tolist()
    easel.stroke(line, colour, 0.13 * scale)
    easel.stroke(
        line[:1].repeat(2, axis=0) - np.array([[0, 0], [0, 0.9 * scale]]), colour, 0.22 * scale
    )
    lamp = (150, 226, 250) if light.lamps else (210, 214, 214)
    easel.disc(line[2], 0.2 * scale, lamp)
    return easel.patch()


def _props(
    rng: np.random.Generator, camera: Camera, road: Road, light: Light, style: str, occlusion: float
) -> list[Prop]:
    """Trees and lamp posts on both pavements, far ones first; more near ones with occlusion."""
    found: list[Prop] = []
    leafy = {"park": 0.9, "suburb": 0.7, "oldtown": 0.3, "downtown": 0.35}.get(style, 0.5)
    sites = [
        (road.building_line - 0.7, 9.0, leafy * 0.7, 0.35),
        (PAVEMENT - 0.4, 14.0 / max(occlusion, 0.2), 0.25 + 0.35 * leafy, 0.5),
    ]
    if style == "park":
        sites.insert(0, (road.building_line + 6.0, 6.0, 0.95, 0.0))
    for y, spacing, tree_share, pole_share in sites:
        for x in np.arange(-64.0, 100.0, spacing):
            place = float(x) + float(rng.uniform(-0.3, 0.3)) * spacing
            draw = rng.random()
            patch = None
            if draw < tree_share:
                patch = _tree(rng, camera, place, y, light)
            elif draw < tree_share + pole_share:
                patch = _pole(rng, camera, place, y, light)
            if patch is not None:
                found.append(Prop(y, patch))
    return sorted(found, key=lambda prop: -prop.y)


def paint_scenery(
    rng: np.random.Generator,
    camera: Camera,
    road: Road,
    light: Light,
    style: str,
    size: tuple[int, int],
    occlusion: float,
) -> Scenery:
    """Paint the still part of a street of ``size`` (width, height) pixels."""
    width, height = size
    large = camera.scaled(SUPERSAMPLE, (-BORDER, -BORDER))
    shape = ((height + 2 * BORDER) * SUPERSAMPLE, (width + 2 * BORDER) * SUPERSAMPLE)
    horizon = large.centre[1] - np.tan(camera.pitch) * large.focal
    sky_rows = int(np.clip(horizon, 0, shape[0]))
    canvas = np.empty((*shape, 3), np.uint8)
    canvas[:] = light.haze(light.tint((120, 124, 126)), 300.0)
    if sky_rows:
        canvas[:sky_rows] = _sky(rng, sky_rows, shape[1], light)
    quads = BUILDERS[style](rng, road.building_line, light)
    _paint(canvas, large, quads, light)
    _paint(canvas, large, _street_level(rng, road), light)
    _grain(rng, canvas, large)
    reduced = cv2.resize(
        canvas, (width + 2 * BORDER, height + 2 * BORDER), interpolation=cv2.INTER_AREA
    )
    framed = Compositor(reduced.astype(np.float32))
    in_front = []
    for prop in _props(rng, camera.moved(BORDER, BORDER), road, light, style, occlusion):
        if not _touches(prop.patch, width + 2 * BORDER, height + 2 * BORDER):
            continue
        if prop.y >= road.building_line - 0.7:  # behind everybody: part of the picture
            framed.add(prop.patch, 0)
        else:
            patch = prop.patch
            in_front.append(
                Prop(prop.y, Patch(patch.x - BORDER, patch.y - BORDER, patch.colour, patch.alpha))
            )
    return Scenery(framed.image, tuple(in_front))


def _touches(patch: Patch, width: int, height: int) -> bool:
    rows, columns = patch.alpha.shape
    return patch.x < width and patch.y < height and patch.x + columns > 0 and patch.y + rows > 0
