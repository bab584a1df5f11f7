"""Exact ground truth of a street: what is where in each frame, and its two file formats.

The renderer knows every object, so nothing here is estimated. Boxes are *amodal*: they span the
whole object, hidden parts included, clipped to the image. ``visibility`` says how much of it can
be seen.

How it looks on disk: ``truth_files.py``.
"""

from dataclasses import dataclass

CLASSES: tuple[str, ...] = ("car", "truck", "bus", "bicycle", "person")

# An object counts for scores where at least this share of it can be seen and its box is at least
# this many pixels high; smaller or more hidden ones are ignored: neither asked for nor punished.
MIN_VISIBILITY = 0.3
MIN_HEIGHT = 10.0


@dataclass(frozen=True)
class TrueObject:
    """One object in one frame."""

    identity: int  # >= 1, unique within the street
    label: int  # index into CLASSES
    box: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels, inside the image
    visibility: float  # 0..1, share of the object's pixels that are in the image and not hidden
    route: str = ""  # route number of a bus ("7", "42", "108"), else ""
    digits_visible: bool = False  # whether the whole route number can be seen, with its height
    digit_height: float = 0.0  # of the route number's digits in pixels; 0 where it faces away

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.box
        assert self.identity >= 1, self.identity
        assert 0 <= self.label < len(CLASSES), self.label
        assert x1 <= x2 and y1 <= y2, self.box
        assert 0.0 <= self.visibility <= 1.0, self.visibility

    @property
    def counts(self) -> bool:
        """Whether a detector is asked to find this object."""
        height = self.box[3] - self.box[1]
        return self.visibility >= MIN_VISIBILITY and height >= MIN_HEIGHT


@dataclass(frozen=True)
class FrameTruth:
    """Everything that is in one frame."""

    index: int  # 0-based frame number
    time: float  # seconds since the first frame
    objects: tuple[TrueObject, ...]


@dataclass(frozen=True)
class StreetTruth:
    """The ground truth of a whole street video."""

    name: str
    width: int
    height: int
    fps: float
    frames: tuple[FrameTruth, ...]
