"""A few telling frames of a run of any length, in bounded memory."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

WIDEST = 960  # pixels, kept width


@dataclass(frozen=True)
class Sample:
    """One frame worth showing."""

    index: int
    time: float  # seconds
    tracks: int
    image: NDArray[np.uint8]  # [H, W, 3] BGR, at most WIDEST wide


class FrameSamples:
    """Keeps the frame with the most tracks of each stretch of the run.

    When there are twice as many stretches as samples wanted, neighbours are joined::

        stretches of 1 frame  |a|b|c|d|   ->   stretches of 2 frames  |a b|c d|   -> ...
    """

    def __init__(self, wanted: int = 6) -> None:
        assert wanted >= 1, wanted
        self.wanted = wanted
        self.stretch = 1  # frames
        self._best: dict[int, Sample] = {}  # by number of the stretch

    def wants(self, index: int, tracks: int) -> bool:
        """Whether a frame with so many tracks would be kept for now."""
        best = self._best.get(index // self.stretch)
        return best is None or tracks > best.tracks

    def offer(self, index: int, time: float, tracks: int, image: NDArray[np.uint8]) -> None:
        """Keep the frame where it is wanted; the image is not changed later, so not copied."""
        if not self.wants(index, tracks):
            return
        scale = WIDEST / image.shape[1]
        if scale < 1:
            image = np.asarray(
                cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
            )
        self._best[index // self.stretch] = Sample(index, time, tracks, image)
        while len(self._best) > 2 * self.wanted:
            self._join()

    def _join(self) -> None:
        self.stretch *= 2
        joined: dict[int, Sample] = {}
        for sample in self._best.values():
            place = sample.index // self.stretch
            if place not in joined or sample.tracks > joined[place].tracks:
                joined[place] = sample
        self._best = joined

    def chosen(self) -> list[Sample]:
        """The samples with the most tracks, in the order of time."""
        best = sorted(self._best.values(), key=lambda s: (-s.tracks, s.index))[: self.wanted]
        return sorted(best, key=lambda s: s.index)
