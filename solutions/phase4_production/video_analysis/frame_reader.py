"""What every source of frames gives: a file, a folder of pictures, a camera, a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One frame of a video."""

    index: int  # from 0
    time: float  # seconds since the first frame
    image: NDArray[np.uint8]  # [H, W, 3] BGR


class FrameReader(Protocol):
    """Frames in order, and what is known of them beforehand."""

    width: int  # pixels
    height: int
    fps: float
    expected_frames: int | None  # None: nobody knows
    live: bool  # whether it goes on by itself, ready or not
    broken: str | None  # why it ended early; None: it did not

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        """The frames in order; at most ``limit``."""

    def close(self) -> None:
        """Release the source."""
