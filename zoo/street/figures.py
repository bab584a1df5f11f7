"""Draws road users: from meshes and limbs to patches.

A user is drawn at two to four times the resolution of the image, the more the smaller it is, so
that an object of ten pixels is as exact as one of two hundred.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo import digits
from zoo.street import people
from zoo.street.camera import NEAR, Camera
from zoo.street.canvas import Easel, Patch
from zoo.street.light import Light
from zoo.street.traffic import BICYCLE, RoadUser
from zoo.street.vehicles import Mesh

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]

PANEL_COLOURS = (  # background and ink, BGR
    ((26, 24, 22), (60, 190, 255)),
    ((30, 28, 26), (240, 244, 246)),
    ((232, 236, 238), (40, 34, 30)),
)
PANEL_HEIGHT = 48  # pixels of the panel's texture; digits fill 40 of them


@dataclass(frozen=True)
class DigitCentre:
    """Where one route digit is in the image."""

    identity: int
    digit: int
    x: float
    y: float
    height: float  # pixels


@dataclass(frozen=True)
class Figure:
    """A drawn road user."""

    user: RoadUser
    patch: Patch
    box: Box  # of the whole object, image pixels, not clipped
    panel: Floats | None = None  # corners of the route panel [4, 2], image pixels
    digit_centres: tuple[DigitCentre, ...] = ()


class VehiclePainter:
    """Draws one vehicle; colours under the street's light are computed once."""

    def __init__(self, user: RoadUser, mesh: Mesh, light: Light, split: str) -> None:
        self.user, self.mesh, self.light = user, mesh, light
        turn = np.array([user.direction, user.direction, 1.0])  # half a turn for the way left
        faces = sorted(mesh.faces, key=lambda face: face.layer)
        self.splits = np.cumsum([len(face.points) for face in faces])[:-1]
        self.points: Floats = np.concatenate([face.points for face in faces]) * turn
        polygons = np.split(self.points, self.splits)
        self.centres = np.array([polygon.mean(axis=0) for polygon in polygons])
        self.normals = _outward_normals(polygons, self.centres, mesh.height)
        colours = np.array([face.colour for face in faces])
        glowing = np.array([face.glow and light.lamps for face in faces])
        shaded = light.shade(colours, self.normals)
        self.colours = np.where(glowing[:, None], colours, shaded)
        self.texture = _panel_texture(user, split, light) if mesh.panel else None

    def draw(self, camera: Camera, x: float) -> Figure | None:
        """The vehicle with its middle at ``x``; None where it is too near or out of sight."""
        place = np.array([x, self.user.y, 0.0])
        viewed = camera.view(self.points + place)
        if viewed[:, 2].min() < 2 * NEAR:
            return None
        pixels = camera.to_image(viewed)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        if not _in_sight(low, high, camera):
            return None
        easel = Easel.around(low, high, _factor(high[1] - low[1]))
        enlarged = (pixels - np.array(easel.offset)) * easel.factor
        towards = np.asarray(camera.position) - (self.centres + place)
        facing = np.einsum("ij,ij->i", self.normals, towards) > 0
        distance = float(np.linalg.norm(np.asarray(camera.position) - place))
        colours = self.light.haze(self.colours, distance)
        for polygon, colour, front in zip(
            np.split(enlarged, self.splits), colours.tolist(), facing.tolist(), strict=True
        ):
            if front:
                easel.fill(polygon, colour)
        panel, centres = self._panel(camera, place, easel)
        box = easel.box()
        if box is None:
            return None
        return Figure(self.user, easel.patch(), box, panel, centres)

    def _panel(
        self, camera: Camera, place: Floats, easel: Easel
    ) -> tuple[Floats | None, tuple[DigitCentre, ...]]:
        if self.mesh.panel is None or self.texture is None:
            return None, ()
        x0, x1, z0, z1 = self.mesh.panel
        left, right = sorted((x0 * self.user.direction, x1 * self.user.direction))
        y = -self.mesh.width / 2 - 0.02
        corners = np.array([[left, y, z1], [right, y, z1], [right, y, z0], [left, y, z0]]) + place
        if camera.position[1] >= corners[0, 1]:
            return None, ()
        image_corners = camera.project(corners)
        height, width = self.texture.shape[:2]
        source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        target = ((image_corners - np.array(easel.offset)) * easel.factor).astype(np.float32)
        transform = cv2.getPerspectiveTransform(source, target)
        size = (easel.mask.shape[1], easel.mask.shape[0])
        warped = cv2.warpPerspective(self.texture, transform, size, flags=cv2.INTER_AREA)
        inside = np.zeros(easel.mask.shape, np.uint8)
        cv2.fillConvexPoly(inside, np.rint(target).astype(np.int32), 255)
        np.copyto(easel.colour, warped, where=inside[..., None] > 0)
        return image_corners, self._digit_centres(camera, corners, width)

    def _digit_centres(
        self, camera: Camera, corners: Floats, texture_width: int
    ) -> tuple[DigitCentre, ...]:
        found = []
        for digit, left in zip(
            self.user.route, _digit_lefts(self.user.route, texture_width), strict=True
        ):
            share = (left + 20) / texture_width
            top = corners[0] + share * (corners[1] - corners[0])
            bottom = corners[3] + share * (corners[2] - corners[3])
            edge = 4 / PANEL_HEIGHT
            ends = camera.project(
                np.stack([top + edge * (bottom - top), bottom + edge * (top - bottom)])
            )
            middle = ends.mean(axis=0)
            found.append(
                DigitCentre(
                    self.user.identity,
                    int(digit),
                    float(middle[0]),
                    float(middle[1]),
                    float(ends[1, 1] - ends[0, 1]),
                )
            )
        return tuple(found)


def _outward_normals(polygons: list[Floats], centres: Floats, height: float) -> Floats:
    """Unit normals [n, 3] that point away from the vehicle's middle (Newell's method)."""
    normals = []
    for polygon, centre in zip(polygons, centres, strict=True):
        following = np.roll(polygon, -1, axis=0)
        normal = np.cross(polygon, following).sum(axis=0)
        length = np.linalg.norm(normal)
        normal = normal / length if length > 0 else np.array([0.0, 0.0, 1.0])
        outward = centre - np.array([centre[0] * 0.7, 0.0, height * 0.45])
        normals.append(normal if normal @ outward >= 0 else -normal)
    return np.array(normals)


def _digit_lefts(route: str, width: int) -> list[int]:
    """The left edge of each 40-pixel digit cell, the number centred in the panel."""
    start = (width - 40 * len(route)) // 2
    return [start + 40 * i for i in range(len(route))]


def _panel_texture(user: RoadUser, split: str, light: Light) -> NDArray[np.uint8]:
    """The route panel, uint8 [48, 139, 3]: real handwritten digits in the panel's ink."""
    ground, ink = (np.array(c, dtype=np.float64) for c in PANEL_COLOURS[user.panel_style])
    if user.panel_style > 0 or not light.lamps:
        strength = 1.0 if not light.lamps else 0.8
        ground, ink = ground * strength, ink * strength
    width = round(PANEL_HEIGHT * 2.2 / 0.76)
    cover = np.zeros((PANEL_HEIGHT, width))
    images = digits.glyphs(split)[0]
    for glyph, left in zip(user.glyphs, _digit_lefts(user.route, width), strict=True):
        large = cv2.resize(
            images[glyph].astype(np.float32), (40, 40), interpolation=cv2.INTER_CUBIC
        )
        cover[4:44, left : left + 40] = np.clip((large / 16.0 - 0.12) * 1.25, 0.0, 1.0)
    blended = ground + (ink - ground) * cover[..., None]
    blended[[0, 1, -2, -1]] = blended[:, [0, 1, -2, -1]] = (70, 70, 70)
    texture: NDArray[np.uint8] = np.clip(blended, 0, 255).astype(np.uint8)
    return texture


class FigurePainter:
    """Draws one pedestrian or cyclist."""

    def __init__(self, user: RoadUser, look: people.Look, light: Light) -> None:
        self.user, self.look, self.light = user, look, light
        side = np.array([[0.0, -0.8, 0.6]])
        self.shade = light.shade(np.full((1, 3), 255.0), side)[0] / 255.0

    def limbs(self, x: float) -> list[people.Limb]:
        """The figure's limbs where it stands at ``x``."""
        walked = x * self.user.direction
        if self.user.label == BICYCLE:
            helmet = self.look.top if self.look.skirt else self.look.hair
            phase = -walked / 5.0 * 2 * np.pi + self.user.gait
            return people.cyclist(self.look, phase, self.user.paint, helmet)
        phase = walked / (0.82 * self.look.height) * 2 * np.pi + self.user.gait
        return people.pedestrian(self.look, phase, 1.0 if self.user.flow.speed > 0 else 0.0)

    def draw(self, camera: Camera, x: float) -> Figure | None:
        """The figure at ``x``; None where it is too near or out of sight."""
        place = np.array([x, self.user.y, 0.0])
        turn = np.array([self.user.direction, self.user.direction, 1.0])
        limbs = self.limbs(x)
        splits = np.cumsum([len(limb.points) for limb in limbs])[:-1]
        points = np.concatenate([np.array(limb.points) for limb in limbs]) * turn + place
        viewed = camera.view(points)
        if viewed[:, 2].min() < 2 * NEAR:
            return None
        pixels = camera.to_image(viewed)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        scale = camera.focal / float(viewed[:, 2].mean())  # pixels per metre
        margin = 0.25 * scale
        if not _in_sight(low - margin, high + margin, camera):
            return None
        easel = Easel.around(low - margin, high + margin, _factor(high[1] - low[1]))
        enlarged = (pixels - np.array(easel.offset)) * easel.factor
        distance = float(np.linalg.norm(np.asarray(camera.position) - place))
        for limb, line in zip(limbs, np.split(enlarged, splits), strict=True):
            colour = self.light.haze(np.asarray(limb.colour) * self.shade, distance).tolist()
            if limb.outline:
                easel.fill(line, colour)
            elif len(line) == 1:
                easel.disc(line[0], limb.width / 2 * scale * easel.factor, colour)
            else:
                easel.stroke(line, colour, limb.width * scale * easel.factor)
        box = easel.box()
        return None if box is None else Figure(self.user, easel.patch(), box)


def _factor(height: float) -> int:
    """How much finer than the image an object of that height is drawn."""
    return 4 if height < 40 else 3 if height < 90 else 2


def _in_sight(low: Floats, high: Floats, camera: Camera) -> bool:
    width, height = 2 * camera.centre[0], 2 * camera.centre[1]
    shake = 0.1 * width
    return bool(
        high[0] > -shake
        and low[0] < width + shake
        and high[1] > -shake
        and low[1] < height + shake
        and (high - low).max() < 3 * max(width, height)
    )


def painter_of(user: RoadUser, light: Light, split: str) -> VehiclePainter | FigurePainter:
    """The painter that draws this road user."""
    if user.mesh is not None:
        return VehiclePainter(user, user.mesh, light, split)
    assert user.look is not None, user
    return FigurePainter(user, user.look, light)
