"""Draws what the pipeline saw: boxes, identities, route numbers, trails and a line of figures."""

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from solutions.phase4_production.video_analysis.detections import TrackedObject
from solutions.phase4_production.video_analysis.geometry import Line, Zone

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Okabe and Ito's palette (BGR), which people with any colour vision can tell apart.
PALETTE: tuple[Colour, ...] = (
    (233, 180, 86), (0, 159, 230), (66, 228, 240), (115, 158, 0), (167, 121, 204), (178, 114, 0),
    (0, 94, 213),
)
FONT = cv2.FONT_HERSHEY_SIMPLEX
TRAIL = 24  # frames
DARK: Colour = (24, 22, 20)
WATCHED: Colour = (240, 240, 240)


def colour_of(label: int) -> Colour:
    """The colour of a class."""
    return PALETTE[label % len(PALETTE)]


class Annotator:
    """Draws onto frames in place; remembers where each track came from."""

    def __init__(
        self, labels: Sequence[str], lines: Sequence[Line] = (), zones: Sequence[Zone] = ()
    ) -> None:
        self.labels, self.lines, self.zones = labels, lines, zones
        self.trails: dict[int, deque[tuple[int, int]]] = {}

    def draw(self, image: Image, tracks: Sequence[TrackedObject], caption: str) -> Image:
        """The frame uint8 [H, W, 3] with its tracks and a caption at the top left."""
        scale = max(0.32, image.shape[0] / 1000)
        self._places(image, scale)
        for track in sorted(tracks, key=lambda t: float(t.box[3])):
            self._trail(image, track)
            self._box(image, track, scale)
        self._forget({track.identity for track in tracks})
        _text(image, caption, 6, int(30 * scale) + 4, scale * 1.1, (255, 255, 255), DARK)
        return image

    def _places(self, image: Image, scale: float) -> None:
        """The lines and zones that are watched, with their names."""
        for zone in self.zones:
            outline = np.round(zone.corners).astype(np.int32)[:, None]
            cv2.polylines(image, [outline], True, WATCHED, 1, cv2.LINE_AA)
        for line in self.lines:
            start, end = (tuple(round(v) for v in p) for p in (line.start, line.end))
            cv2.arrowedLine(image, start, end, WATCHED, 1, cv2.LINE_AA, tipLength=0.03)
        named = [(zone.name, zone.corners[0]) for zone in self.zones]
        for name, (x, y) in named + [(line.name, line.start) for line in self.lines]:
            _text(image, name, round(x), round(y), scale, DARK, WATCHED)

    def _trail(self, image: Image, track: TrackedObject) -> None:
        x1, _, x2, y2 = track.box.tolist()
        trail = self.trails.setdefault(track.identity, deque(maxlen=TRAIL))
        trail.append((int((x1 + x2) / 2), int(y2)))
        if len(trail) > 1:
            line = np.array(trail, np.int32)[:, None]
            cv2.polylines(image, [line], False, colour_of(track.label), 1, cv2.LINE_AA)

    def _box(self, image: Image, track: TrackedObject, scale: float) -> None:
        x1, y1, x2, y2 = (round(v) for v in track.box.tolist())
        colour = colour_of(track.label)
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, 1 if scale < 0.7 else 2)
        name = f"{self.labels[track.label]} {track.identity}"
        if track.route:
            name += f"  line {track.route}"
        if y2 - y1 >= 24 or track.route:
            _text(image, name, x1, y1 - 2, scale, DARK, colour)

    def _forget(self, present: set[int]) -> None:
        for identity in self.trails.keys() - present:
            trail = self.trails[identity]
            trail.popleft()
            if not trail:
                del self.trails[identity]


def _text(
    image: Image, text: str, x: int, bottom: int, scale: float, ink: Colour, ground: Colour
) -> None:
    """Text on a filled background, kept inside the image."""
    (width, height), base = cv2.getTextSize(text, FONT, scale, 1)
    bottom = max(bottom, height + base + 2)
    x = max(0, min(x, image.shape[1] - width - 4))
    cv2.rectangle(image, (x, bottom - height - base - 1), (x + width + 3, bottom + 1), ground, -1)
    cv2.putText(image, text, (x + 2, bottom - base + 1), FONT, scale, ink, 1, cv2.LINE_AA)
