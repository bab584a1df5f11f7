"""What every source of frames offers, be it a file, a folder of images, a camera or a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One frame of a video."""

    index: int  # from 0
    time: float  # seconds since the first frame, strictly increasing
    image: NDArray[np.uint8]  # [H, W, 3] BGR


class FrameReader(Protocol):
    """Frames of one size, in order, each with its time."""

    width: int  # pixels of every image, upright
    height: int
    fps: float  # the nominal rate; the frames' times are what counts
    expected_frames: int | None  # None: nobody knows
    live: bool  # frames come when they come, and nobody knows how many
    broken: str | None  # why frames are missing; None as long as none is

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        """The frames from the first to the last readable one; at most ``limit``."""

    def close(self) -> None:
        """Release the source. May be called twice, and from another thread: ``frames`` then
        ends soon, even where it waits for a frame."""
