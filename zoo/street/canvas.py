"""Where polygons become pixels: supersampled patches, motion blur, compositing, who hides whom.

Every object is drawn alone into a small :class:`Patch` at several times the resolution, reduced
with area averaging (so its edges are smooth and its coverage exact), blurred along its motion,
and composited front over back::

    image = image * (1 - alpha) + patch          (Porter and Duff 1984, "over", premultiplied)

The same alpha decides ownership of pixels, which is how visibility is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

SUBPIXEL_BITS = 4


def fixed_point(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Pixel coordinates [n, 2] for OpenCV's ``shift`` argument, pixel centres at integers."""
    scaled = np.rint((points - 0.5) * (1 << SUBPIXEL_BITS))
    return np.clip(scaled, -(1 << 24), 1 << 24).astype(np.int32)


def fill(image: Image, points: NDArray[np.float64], colour: Sequence[float] | float) -> None:
    """Fill one polygon [n, 2] (pixels), subpixel exact, without antialiasing."""
    shade = (float(colour),) if isinstance(colour, (int, float)) else tuple(map(float, colour))
    cv2.fillPoly(image, [fixed_point(points)], shade, cv2.LINE_8, SUBPIXEL_BITS)


@dataclass(frozen=True)
class Patch:
    """A drawn object: premultiplied colour [h, w, 3] and coverage [h, w] at image position."""

    x: int
    y: int
    colour: Floats  # 0..255
    alpha: Floats  # 0..1

    def moved(self, dx: float, dy: float) -> "Patch":
        """The patch shifted by a fraction of a pixel (bilinear)."""
        shift = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float64)
        size = (self.alpha.shape[1], self.alpha.shape[0])
        return Patch(
            self.x,
            self.y,
            np.asarray(cv2.warpAffine(self.colour, shift, size), np.float32),
            np.asarray(cv2.warpAffine(self.alpha, shift, size), np.float32),
        )

    def faded(self, share: float) -> "Patch":
        """The patch made ``share`` (0..1) opaque."""
        return Patch(self.x, self.y, self.colour * share, self.alpha * share)

    def blurred(self, dx: float, dy: float) -> "Patch":
        """The patch smeared along a motion of (dx, dy) pixels during the exposure."""
        length = float(np.hypot(dx, dy))
        if length < 1.0:
            return self
        kernel = motion_kernel(dx, dy)
        return Patch(
            self.x,
            self.y,
            np.asarray(cv2.filter2D(self.colour, -1, kernel), np.float32),
            np.asarray(cv2.filter2D(self.alpha, -1, kernel), np.float32),
        )


def motion_kernel(dx: float, dy: float) -> Floats:
    """A normalised line kernel of the given extent, odd sized."""
    radius = int(np.ceil(max(abs(dx), abs(dy)) / 2)) + 1
    size = 2 * radius + 1
    kernel = np.zeros((size, size), np.uint8)
    centre = np.array([radius + 0.5, radius + 0.5])
    half = np.array([dx, dy]) / 2
    ends = fixed_point(np.stack([centre - half, centre + half]))
    start, stop = (int(ends[0, 0]), int(ends[0, 1])), (int(ends[1, 0]), int(ends[1, 1]))
    cv2.line(kernel, start, stop, 255, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    normalised: Floats = (kernel / kernel.sum()).astype(np.float32)
    return normalised


@dataclass
class Easel:
    """A supersampled surface for one object: draw in enlarged pixels, then take the patch."""

    x: int
    y: int
    factor: int
    colour: Image
    mask: Image

    @classmethod
    def around(cls, low: NDArray[np.float64], high: NDArray[np.float64], factor: int) -> "Easel":
        """An easel that covers the image rectangle from ``low`` to ``high`` with a margin."""
        margin = 6
        x, y = int(np.floor(low[0])) - margin, int(np.floor(low[1])) - margin
        width = int(np.ceil(high[0])) + margin - x
        height = int(np.ceil(high[1])) + margin - y
        shape = (height * factor, width * factor)
        return cls(x, y, factor, np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8))

    @property
    def offset(self) -> tuple[float, float]:
        """The image position of the easel's corner."""
        return (float(self.x), float(self.y))

    def fill(self, points: NDArray[np.float64], colour: Sequence[float]) -> None:
        """Fill a polygon given in enlarged pixels."""
        fill(self.colour, points, colour)
        fill(self.mask, points, 255)

    def stroke(self, points: NDArray[np.float64], colour: Sequence[float], width: float) -> None:
        """Draw a round-ended line of ``width`` enlarged pixels through the points."""
        line = fixed_point(points)[:, None]
        thickness = max(1, round(width))
        shade = tuple(map(float, colour))
        cv2.polylines(self.colour, [line], False, shade, thickness, cv2.LINE_8, SUBPIXEL_BITS)
        cv2.polylines(self.mask, [line], False, (255.0,), thickness, cv2.LINE_8, SUBPIXEL_BITS)

    def disc(self, centre: NDArray[np.float64], radius: float, colour: Sequence[float]) -> None:
        """Fill a circle given in enlarged pixels."""
        middle = fixed_point(centre[None])[0]
        spot = (int(middle[0]), int(middle[1]))
        size = max(1, round(radius * (1 << SUBPIXEL_BITS)))
        shade = tuple(map(float, colour))
        cv2.circle(self.colour, spot, size, shade, -1, cv2.LINE_8, SUBPIXEL_BITS)
        cv2.circle(self.mask, spot, size, (255.0,), -1, cv2.LINE_8, SUBPIXEL_BITS)

    def box(self) -> tuple[float, float, float, float] | None:
        """The rectangle x1, y1, x2, y2 (image pixels) of what was drawn; None for nothing."""
        x, y, width, height = cv2.boundingRect(self.mask)
        if not width:
            return None
        scale = 1.0 / self.factor
        return (
            self.x + x * scale,
            self.y + y * scale,
            self.x + (x + width) * scale,
            self.y + (y + height) * scale,
        )

    def patch(self) -> Patch:
        """What was drawn, at image resolution."""
        size = (self.mask.shape[1] // self.factor, self.mask.shape[0] // self.factor)
        colour = cv2.resize(self.colour, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(self.mask, size, interpolation=cv2.INTER_AREA)
        return Patch(
            self.x,
            self.y,
            colour.astype(np.float32),
            alpha.astype(np.float32) * np.float32(1 / 255),
        )


class Compositor:
    """Puts patches onto an image, far ones first, and remembers who owns each pixel."""

    def __init__(self, image: Floats) -> None:
        self.image = image  # [H, W, 3], 0..255, painted over in place
        self.owner: NDArray[np.int32] = np.zeros(image.shape[:2], np.int32)  # 0: background

    def add(self, patch: Patch, identity: int) -> float:
        """Composite one patch; returns its whole area in pixels, outside parts included."""
        height, width = self.owner.shape
        rows, columns = patch.alpha.shape
        top, left = max(0, patch.y), max(0, patch.x)
        bottom, right = min(height, patch.y + rows), min(width, patch.x + columns)
        solid = patch.alpha >= 0.5
        if top < bottom and left < right:
            inside = (
                slice(top - patch.y, bottom - patch.y),
                slice(left - patch.x, right - patch.x),
            )
            region = (slice(top, bottom), slice(left, right))
            target = self.image[region]
            target *= 1.0 - patch.alpha[inside][..., None]
            target += patch.colour[inside]
            self.owner[region][solid[inside]] = identity
        return float(np.count_nonzero(solid))

    def visible_pixels(self) -> dict[int, int]:
        """How many pixels each identity owns in the finished image."""
        identities, counts = np.unique(self.owner, return_counts=True)
        return dict(zip(identities.tolist(), counts.tolist(), strict=True))
