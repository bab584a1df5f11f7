"""What stands along the far side of the street, in six styles.

Everything is made of :class:`Quad` polygons in world metres, painted far to near. Styles for
training and for held-out streets are disjoint (``STYLES``), so a detector scored on held-out
streets has never seen their backgrounds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.street.light import Light
from zoo.street.vehicles import Colour

Floats = NDArray[np.float64]

STYLES: dict[str, tuple[str, ...]] = {
    "train": ("downtown", "oldtown", "suburb", "park"),
    "test": ("brickrow", "waterfront"),
}


@dataclass(frozen=True)
class Quad:
    """One flat polygon of the scenery."""

    points: Floats  # [n, 3], world metres
    colour: Colour
    normal: tuple[float, float, float] = (0.0, -1.0, 0.0)
    glow: bool = False  # keeps its colour at night


def wall(
    x0: float, x1: float, z0: float, z1: float, y: float, colour: Colour, glow: bool = False
) -> Quad:
    """A rectangle that faces the camera."""
    points = np.array([[x0, y, z0], [x1, y, z0], [x1, y, z1], [x0, y, z1]], dtype=np.float64)
    return Quad(points, colour, glow=glow)


def ground(x0: float, x1: float, y0: float, y1: float, colour: Colour, z: float = 0.0) -> Quad:
    """A rectangle that lies flat."""
    points = np.array([[x0, y0, z], [x1, y0, z], [x1, y1, z], [x0, y1, z]], dtype=np.float64)
    return Quad(points, colour, (0.0, 0.0, 1.0))


def flank(x: float, y0: float, y1: float, z0: float, z1: float, colour: Colour) -> Quad:
    """A rectangle across the street's direction."""
    points = np.array([[x, y0, z0], [x, y1, z0], [x, y1, z1], [x, y0, z1]], dtype=np.float64)
    return Quad(points, colour, (-1.0 if x > 0 else 1.0, 0.0, 0.0))


def shaded(colour: Colour, share: float) -> Colour:
    """The colour made darker (share < 1) or lighter."""
    blue, green, red = (min(255.0, c * share) for c in colour)
    return (blue, green, red)


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _window(
    rng: np.random.Generator,
    x0: float,
    x1: float,
    z0: float,
    z1: float,
    y: float,
    frame: Colour,
    light: Light,
) -> list[Quad]:
    lit = light.lamps and rng.random() < 0.45
    glass: Colour = (
        (110, 190, 236) if lit else shaded((150, 132, 112), float(rng.uniform(0.55, 1.1)))
    )
    border = 0.09
    panes = [
        wall(x0 - border, x1 + border, z0 - border, z1 + border, y - 0.02, frame),
        wall(x0, x1, z0, z1, y - 0.04, glass, glow=lit),
    ]
    if not lit and rng.random() < 0.3:
        split = z0 + (z1 - z0) * float(rng.uniform(0.4, 0.9))
        panes.append(wall(x0, x1, split, z1, y - 0.05, shaded(frame, 0.92)))
    return panes


def _shop(rng: np.random.Generator, x0: float, x1: float, y: float, light: Light) -> list[Quad]:
    sign = _pick(rng, ((60, 60, 150), (120, 80, 40), (60, 110, 70), (40, 130, 190), (70, 60, 66)))
    glass: Colour = (120, 200, 240) if light.lamps else (128, 116, 100)
    quads = [
        wall(x0 + 0.4, x1 - 0.4, 0.45, 2.7, y - 0.03, (66, 62, 60)),
        wall(x0 + 0.55, x1 - 1.8, 0.6, 2.55, y - 0.05, glass, glow=light.lamps),
        wall(x1 - 1.55, x1 - 0.6, 0.1, 2.55, y - 0.05, shaded(glass, 0.7)),
        wall(x0 + 0.3, x1 - 0.3, 2.8, 3.35, y - 0.06, sign),
    ]
    if rng.random() < 0.55:
        a, b = x0 + 0.35, x1 - 0.35
        points = np.array(
            [[a, y - 0.05, 2.8], [b, y - 0.05, 2.8], [b, y - 1.1, 2.35], [a, y - 1.1, 2.35]]
        )
        quads.append(
            Quad(
                points,
                _pick(rng, ((70, 70, 190), (200, 200, 210), (90, 140, 80))),
                (0.0, -0.4, 0.9),
            )
        )
    return quads


def _block(
    rng: np.random.Generator,
    x0: float,
    x1: float,
    y: float,
    light: Light,
    *,
    paint: Colour,
    floors: int,
    storey: float,
    window: tuple[float, float],
    pitch: float,
    shop: bool,
    roof: str,
) -> list[Quad]:
    """One building: walls, rows of windows, a ground floor and a roof."""
    height = storey * floors + (0.6 if shop else 0.2)
    depth = 9.0
    quads = [flank(x, y, y + depth, 0, height, shaded(paint, 0.78)) for x in (x0, x1)]
    quads.append(wall(x0, x1, 0, height, y, paint))
    frame = shaded(paint, 1.28) if sum(paint) < 420 else shaded(paint, 0.72)
    count = max(1, int((x1 - x0 - 0.8) / pitch))
    margin = (x1 - x0 - count * pitch) / 2
    for floor in range(1 if shop else 0, floors):
        base = storey * floor + (0.95 if not shop else 1.3)
        for i in range(count):
            middle = x0 + margin + (i + 0.5) * pitch
            if not shop and floor == 0 and i == count // 2:
                door = shaded(_pick(rng, ((70, 70, 120), (60, 90, 60), (110, 80, 60))), 0.9)
                quads.append(wall(middle - 0.6, middle + 0.6, 0.0, 2.3, y - 0.04, door))
                continue
            quads += _window(
                rng,
                middle - window[0] / 2,
                middle + window[0] / 2,
                base,
                base + window[1],
                y,
                frame,
                light,
            )
    if shop:
        pieces = max(1, round((x1 - x0) / 6.5))
        span = (x1 - x0) / pieces
        for i in range(pieces):
            quads += _shop(rng, x0 + i * span, x0 + (i + 1) * span, y, light)
    if roof == "flat":
        quads.append(
            wall(x0 - 0.15, x1 + 0.15, height - 0.1, height + 0.45, y - 0.15, shaded(paint, 0.85))
        )
    else:
        tile: Colour = (64, 72, 128) if roof == "tile" else (92, 84, 82)
        rise = 3.2
        points = np.array(
            [
                [x0 - 0.3, y - 0.4, height],
                [x1 + 0.3, y - 0.4, height],
                [x1 - 0.8, y + depth / 2, height + rise],
                [x0 + 0.8, y + depth / 2, height + rise],
            ]
        )
        quads.append(Quad(points, tile, (0.0, -0.7, 0.7)))
    return quads


def _row(
    rng: np.random.Generator,
    y: float,
    build: Callable[[float, float], list[Quad]],
    widths: tuple[float, float],
    gap: float,
) -> list[Quad]:
    """Buildings side by side; those far from the middle come first (far to near)."""
    plots: list[tuple[float, float]] = []
    x = -75.0
    while x < 150.0:
        width = float(rng.uniform(*widths))
        plots.append((x, x + width))
        x += width + (float(rng.uniform(0.3, 1.0)) * gap if gap else 0.0)
    plots.sort(key=lambda plot: -abs(plot[0] + plot[1]))
    return [quad for a, b in plots for quad in build(a, b)]


def downtown(rng: np.random.Generator, y: float, light: Light) -> list[Quad]:
    """Tall stone and glass blocks with shops."""
    paints: tuple[Colour, ...] = (
        (170, 176, 182),
        (140, 150, 166),
        (196, 200, 204),
        (130, 124, 118),
        (168, 160, 140),
    )

    def build(a: float, b: float) -> list[Quad]:
        glass = rng.random() < 0.35
        return _block(
            rng,
            a,
            b,
            y,
            light,
            paint=_pick(rng, paints),
            floors=int(rng.integers(5, 9)),
            storey=3.4,
            window=(1.9, 2.3) if glass else (1.2, 1.8),
            pitch=2.2 if glass else 2.5,
            shop=True,
            roof="flat",
        )

    return _row(rng, y, build, (12, 22), 0.0)


def oldtown(rng: np.random.Generator, y: float, light: Light) -> list[Quad]:
    """Narrow painted houses with tiled roofs."""
    paints: tuple[Colour, ...] = (
        (150, 200, 226),
        (130, 170, 214),
        (170, 200, 180),
        (190, 190, 214),
        (206, 196, 170),
        (140, 150, 200),
        (200, 214, 222),
    )

    def build(a: float, b: float) -> list[Quad]:
        return _block(
            rng,
            a,
            b,
            y,
            light,
            paint=_pick(rng, paints),
            floors=int(rng.integers(3, 5)),
            storey=3.0,
            window=(0.9, 1.5),
            pitch=1.9,
            shop=rng.random() < 0.7,
            roof="tile",
        )

    return _row(rng, y, build, (6, 11), 0.0)


def suburb(rng: np.random.Generator, y: float, light: Light) -> list[Quad]:
    """Family houses set back behind hedges."""
    paints: tuple[Colour, ...] = (
        (206, 214, 220),
        (170, 196, 214),
        (200, 206, 190),
        (150, 166, 190),
    )
    lawn = [ground(-80, 160, y, y + 40, (72, 128, 96))]

    def build(a: float, b: float) -> list[Quad]:
        house = _block(
            rng,
            a,
            b,
            y + 5.0,
            light,
            paint=_pick(rng, paints),
            floors=int(rng.integers(1, 3)),
            storey=2.9,
            window=(1.3, 1.3),
            pitch=2.9,
            shop=False,
            roof=str(rng.choice(["tile", "slate"])),
        )
        hedge = float(rng.uniform(0.8, 1.4))
        green = _pick(rng, ((52, 104, 66), (60, 116, 84), (48, 92, 70)))
        return [
            *house,
            wall(a - 1.5, (a + b) / 2 - 1.0, 0, hedge, y + 0.3, green),
            wall((a + b) / 2 + 1.0, b + 1.5, 0, hedge, y + 0.3, green),
        ]

    return lawn + _row(rng, y, build, (8, 13), 7.0)


def park(rng: np.random.Generator, y: float, light: Light) -> list[Quad]:
    """Lawn, a fence and distant blocks; the trees are props."""
    quads = [
        ground(-120, 220, y, y + 70, (70, 132, 98)),
        ground(-120, 220, y + 14, y + 17, (150, 178, 192)),
    ]
    for x in np.arange(-150.0, 260.0, 16.0):
        height = float(rng.uniform(9, 26))
        quads.append(
            wall(
                float(x),
                float(x) + float(rng.uniform(10, 15)),
                0,
                height,
                y + 70,
                _pick(rng, ((176, 170, 166), (160, 166, 176), (186, 184, 178))),
            )
        )
    for x in np.arange(-70.0, 140.0, 2.0):
        quads.append(wall(float(x), float(x) + 0.12, 0, 1.15, y + 0.2, (60, 66, 60)))
    quads.append(wall(-70, 140, 0.95, 1.05, y + 0.18, (60, 66, 60)))
    return quads


def brickrow(rng: np.random.Generator, y: float, light: Light) -> list[Quad]:
    """Brick terraces and warehouses."""
    paints: tuple[Colour, ...] = (
        (74, 88, 150),
        (86, 100, 166),
        (70, 80, 128),
        (104, 122, 178),
        (96, 110, 140),
    )

    def build(a: float, b: float) -> list[Quad]:
        return _block(
            rng,
            a,
            b,
            y,
            light,
            paint=_pick(rng, paints),
            floors=int(rng.integers(2, 6)),
            storey=3.3,
            window=(1.1, 1.9),
            pitch=float(rng.uniform(2.0, 2.8)),
            shop=rng.random() < 0.4,
            roof=str(rng.choice(["flat", "slate"])),
        )

    return _row(rng, y, build, (8, 17), 0.0)


def waterfront(rng: np.random.Generator, y: float, light: Light) -> list[Quad]:
    """A promenade with a railing, water, and the other shore."""
    quads = [ground(-400, 600, y + 1.0, y + 190, (150, 128, 88))]
    for _ in range(130):
        x, far = float(rng.uniform(-120, 200)), float(rng.uniform(2, 110))
        quads.append(
            ground(
                x,
                x + float(rng.uniform(2, 7)),
                y + far,
                y + far + float(rng.uniform(0.15, 0.5)),
                (176, 158, 122),
            )
        )
    for x in np.arange(-420.0, 620.0, 21.0):
        height = float(rng.uniform(10, 48))
        width = float(rng.uniform(12, 26))
        paint = _pick(rng, ((178, 172, 168), (164, 160, 168), (190, 186, 180)))
        quads.append(wall(float(x), float(x) + width, 0, height, y + 190, paint))
        if light.lamps:
            for _ in range(6):
                wx = float(x) + float(rng.uniform(1, width - 2))
                z = float(rng.uniform(2, height - 2))
                quads.append(wall(wx, wx + 1.6, z, z + 1.4, y + 189.9, (120, 200, 240), glow=True))
    quads.append(ground(-80, 160, y, y + 1.0, (150, 156, 160), 0.1))
    quads += [
        wall(float(x), float(x) + 0.1, 0, 1.1, y + 0.8, (80, 76, 72))
        for x in np.arange(-75.0, 150.0, 1.6)
    ]
    quads += [wall(-75, 150, z, z + 0.07, y + 0.78, (90, 86, 82)) for z in (0.55, 1.05)]
    return quads


BUILDERS: dict[str, Callable[[np.random.Generator, float, Light], list[Quad]]] = {
    "downtown": downtown,
    "oldtown": oldtown,
    "suburb": suburb,
    "park": park,
    "brickrow": brickrow,
    "waterfront": waterfront,
}
