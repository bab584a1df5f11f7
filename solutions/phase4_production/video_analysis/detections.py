"""What the stages hand to each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """The objects found in one frame, best first."""

    boxes: NDArray[np.float32]  # [n, 4] x1, y1, x2, y2 in pixels of the frame
    scores: NDArray[np.float32]  # [n] 0..1
    labels: NDArray[np.int64]  # [n] index into the detector's labels

    def __post_init__(self) -> None:
        count = len(self.scores)
        assert self.boxes.shape == (count, 4), self.boxes.shape
        assert self.labels.shape == (count,), self.labels.shape

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> "Detections":
        """Nothing found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(slots=True)
class TrackedObject:
    """One confirmed track in one frame; a value, though not frozen: that takes thrice as long to
    make, and there are many."""

    identity: int  # >= 1, for the life of the track
    box: NDArray[np.float32]  # [4] x1, y1, x2, y2 in pixels
    label: int  # the class that most of its detections had
    score: float  # of its detection in this frame
    route: str = ""  # route number read so far, "" if none
    route_confidence: float = 0.0  # 0..1
