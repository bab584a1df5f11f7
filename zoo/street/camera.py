"""A pinhole camera on a mast beside the street.

World axes, in metres: X along the road, Y across it and away from the camera, Z up. The camera
stands near the origin, looks towards +Y, turned by ``yaw`` (positive: towards +X) and tilted
down by ``pitch``. Image axes are pixels: x right, y down, the origin at the top left corner.

Source: Hartley and Zisserman, "Multiple View Geometry", 2nd ed., section 6.1 (finite projective
camera without skew).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

NEAR = 0.5  # metres; nothing nearer is drawn


@dataclass(frozen=True)
class Camera:
    """A camera pose and its intrinsics; angles in radians, focal length in pixels."""

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    focal: float
    centre: tuple[float, float]

    def moved(self, dx: float, dy: float) -> "Camera":
        """The camera after a small shake that moves the image by (dx, dy) pixels."""
        return replace(self, centre=(self.centre[0] + dx, self.centre[1] + dy))

    def scaled(self, factor: float, offset: tuple[float, float] = (0.0, 0.0)) -> "Camera":
        """The camera of an image cut at ``offset`` (pixels) and enlarged by ``factor``."""
        x, y = self.centre
        centre = ((x - offset[0]) * factor, (y - offset[1]) * factor)
        return replace(self, focal=self.focal * factor, centre=centre)

    @cached_property
    def rotation(self) -> Points:
        """Rows: right, down and forward as world directions, [3, 3]."""
        sin_yaw, cos_yaw = np.sin(self.yaw), np.cos(self.yaw)
        sin_pitch, cos_pitch = np.sin(self.pitch), np.cos(self.pitch)
        right = np.array([cos_yaw, -sin_yaw, 0.0])
        forward = np.array([sin_yaw * cos_pitch, cos_yaw * cos_pitch, -sin_pitch])
        return np.stack([right, -np.cross(right, forward), forward])

    def view(self, points: Points) -> Points:
        """World points [n, 3] in camera axes [n, 3]: right, down, forward (the depth)."""
        viewed: Points = (points - np.asarray(self.position)) @ self.rotation.T
        return viewed

    def to_image(self, viewed: Points) -> Points:
        """Camera-axes points [n, 3] with depth > 0 as pixels [n, 2]."""
        pixels: Points = viewed[:, :2] / viewed[:, 2:] * self.focal + np.asarray(self.centre)
        return pixels

    def project(self, points: Points) -> Points:
        """World points [n, 3] in front of the camera as pixels [n, 2]."""
        return self.to_image(self.view(points))


def clip_near(viewed: Points, near: float = NEAR) -> Points:
    """The part of a polygon [n, 3] (camera axes) beyond the near plane, [m, 3], m may be 0.

    Sutherland and Hodgman, "Reentrant polygon clipping" (1974), for one plane.
    """
    inside = viewed[:, 2] >= near
    if inside.all():
        return viewed
    kept: list[Points] = []
    for i in range(len(viewed)):
        here, following = viewed[i], viewed[(i + 1) % len(viewed)]
        if inside[i]:
            kept.append(here)
        if inside[i] != inside[(i + 1) % len(viewed)]:
            share = (near - here[2]) / (following[2] - here[2])
            kept.append(here + share * (following - here))
    return np.array(kept).reshape(-1, 3)
