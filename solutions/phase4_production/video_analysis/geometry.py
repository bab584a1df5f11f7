"""Lines and zones in the picture, and points against them."""

from dataclasses import dataclass
from itertools import pairwise

from zoo.errors import InferenceError

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A directed segment; seen along it, one side is its right and one its left.

    In pictures y grows downwards: going right, the right side is below.
    """

    name: str
    start: Point  # pixels
    end: Point

    def side(self, point: Point) -> float:
        """How far the point lies to the right of the line in pixels; negative: to the left."""
        (x1, y1), (x2, y2), (x, y) = self.start, self.end, point
        dx, dy = x2 - x1, y2 - y1
        return float((dx * (y - y1) - dy * (x - x1)) / (dx * dx + dy * dy) ** 0.5)

    def cut_by(self, before: Point, after: Point) -> bool:
        """Whether the way from ``before`` to ``after`` cuts the segment between its ends."""
        a, b = self.side(before), self.side(after)
        if a == b or (a > 0) == (b > 0):
            return False
        share = a / (a - b)
        x = before[0] + share * (after[0] - before[0])
        y = before[1] + share * (after[1] - before[1])
        (x1, y1), (x2, y2) = self.start, self.end
        along = (x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)
        return 0 <= along <= (x2 - x1) ** 2 + (y2 - y1) ** 2


@dataclass(frozen=True)
class Zone:
    """A polygon without holes."""

    name: str
    corners: tuple[Point, ...]  # three or more, pixels

    def contains(self, point: Point) -> bool:
        """Whether the point lies inside: a ray from it cuts the outline an odd number of times."""
        x, y = point
        inside = False
        for (x1, y1), (x2, y2) in pairwise((*self.corners, self.corners[0])):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                inside = not inside
        return inside


def parse_line(text: str, number: int, size: tuple[int, int]) -> Line:
    """A line from ``[name=]x1,y1,x2,y2``: pixels, or shares of the picture where none is above 1.

    ``size`` is the picture's (width, height). Raises InferenceError where it is none.
    """
    name, points = _points(text, f"line {number}", "--line", size)
    if len(points) != 2 or points[0] == points[1]:
        raise InferenceError(f"--line {text}: two different points are needed: x1,y1,x2,y2")
    return Line(name, points[0], points[1])


def parse_zone(text: str, number: int, size: tuple[int, int]) -> Zone:
    """A zone from ``[name=]x1,y1,x2,y2[,x3,y3…]``: two points are corners of a rectangle.

    Raises InferenceError where it is none.
    """
    name, points = _points(text, f"zone {number}", "--zone", size)
    if len(points) == 2:
        (x1, y1), (x2, y2) = points
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    if len(points) < 3 or _area(points) == 0:
        raise InferenceError(f"--zone {text}: it has no area: x1,y1,x2,y2 of a rectangle, or the "
                             "corners of a polygon")
    return Zone(name, tuple(points))


def _points(
    text: str, name: str, option: str, size: tuple[int, int]
) -> tuple[str, list[Point]]:
    if "=" in text:
        name, _, text = text.partition("=")
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if not values or len(values) % 2 or not all(abs(v) < 1e6 for v in values):
        raise InferenceError(f"{option} {text}: x1,y1,x2,y2 in pixels, or in shares from 0 to 1")
    if all(0 <= v <= 1 for v in values):
        values = [v * size[i % 2] for i, v in enumerate(values)]
    return name.strip(), list(zip(values[::2], values[1::2], strict=True))


def _area(points: list[Point]) -> float:
    twice = (x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise((*points, points[0])))
    return abs(sum(twice)) / 2
