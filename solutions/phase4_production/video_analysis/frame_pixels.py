"""Pixels as every later stage wants them: upright BGR of one size.

Cameras and phones store frames the way that is easiest for them: luma and chroma apart, in 8 or
10 bits, with the sensor's long side always horizontal, and a note (the display matrix) how to turn
the picture. All of that is undone here.
"""

import math
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

MAX_SIDE = 16384  # pixels
MAX_PIXELS = 1 << 27  # 134 million; 8K has 33


class Orientation(NamedTuple):
    """One of the eight ways to turn and mirror a picture: first the axes, then the mirrors."""

    swap_axes: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image [H, W, 3] turned upright, [W, H, 3] where the axes swap."""
        if self.swap_axes:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self.mirror_x or self.mirror_y:
            code = -1 if self.mirror_x and self.mirror_y else int(self.mirror_x)
            image = np.asarray(cv2.flip(image, code), np.uint8)
        return image


UPRIGHT = Orientation()


def orientation_of(a: float, b: float, c: float, d: float) -> Orientation:
    """The orientation that a display matrix asks for, to the nearest right angle.

    A stored point (p, q) is shown at (a*p + c*q, b*p + d*q), apart from a shift: ISO/IEC
    14496-12, 6.2.2.
    """
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, mirror_x=c < 0, mirror_y=b < 0)
    return Orientation(False, mirror_x=a < 0, mirror_y=d < 0)


def _orientation(frame: av.VideoFrame) -> Orientation:
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know all kinds of side data (EXIF); the angle it does
        angle = math.radians(frame.rotation)  # counterclockwise
        sine, cosine = math.sin(angle), math.cos(angle)
        return orientation_of(cosine, -sine, sine, cosine)
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()  # type: ignore[call-overload]
    return orientation_of(a, b, c, d)


def too_large(width: int, height: int) -> str | None:
    """Why a picture of that size is not decoded; None where it may be."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        return (
            f"{width}x{height} pixels are too many: at most {MAX_SIDE} a side "
            f"and {MAX_PIXELS} in all"
        )
    return None


class PixelConverter:
    """Converts decoded frames to upright BGR in the size of the first one.

    The colour matrix (BT.601, BT.709, BT.2020) and the range (limited, full) are those that the
    frame names; without a name BT.601 and limited range, as FFmpeg does. Transparency is ignored.
    """

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None  # width and height of every image
        # Kept, because setting it up costs a third of a conversion; one thread, because starting
        # more for a small frame costs more CPU than it saves time.
        self._reformatter = VideoReformatter()

    def convert(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Pixels uint8 [H, W, 3] BGR of the first frame's upright size."""
        orientation = _orientation(frame)
        if self.size is None:
            stored = (frame.width, frame.height)
            self.size = stored[::-1] if orientation.swap_axes else stored
        width, height = self.size[::-1] if orientation.swap_axes else self.size
        same = self._reformatter.reformat(frame, width, height, "bgr24", threads=1)
        return orientation.apply(np.asarray(same.to_ndarray(), np.uint8))
