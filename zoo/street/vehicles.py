"""Cars, trucks and buses as small polygon meshes.

A vehicle's own axes, in metres: x forward, y to its left, z up, the origin on the ground below
its middle. A :class:`Face` is drawn in the order of its layer (body, cabin, details), which is
enough for these nearly convex shapes seen from above the road.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Colour = tuple[float, float, float]  # BGR, 0..255

PAINTS: tuple[Colour, ...] = (
    (232, 232, 230),
    (196, 198, 200),
    (120, 122, 126),
    (60, 60, 64),
    (36, 34, 34),
    (150, 92, 42),
    (96, 52, 26),
    (46, 44, 176),
    (38, 34, 120),
    (74, 110, 62),
    (70, 160, 196),
    (60, 120, 210),
    (190, 180, 160),
    (120, 140, 150),
    (140, 60, 90),
)
BUS_PAINTS: tuple[Colour, ...] = (
    (48, 50, 190),
    (160, 96, 36),
    (84, 140, 60),
    (58, 170, 220),
    (200, 190, 184),
    (140, 70, 110),
)
GLASS: Colour = (92, 80, 70)
RUBBER: Colour = (34, 33, 32)
METAL: Colour = (168, 166, 164)
HEADLIGHT: Colour = (236, 246, 250)
TAILLIGHT: Colour = (36, 30, 196)


@dataclass(frozen=True)
class Face:
    """One planar polygon of a mesh."""

    points: Floats  # [n, 3], vehicle axes
    colour: Colour
    layer: int = 0
    glow: bool = False  # shines by itself where lamps are on
    two_sided: bool = False


@dataclass
class Mesh:
    """A vehicle: its faces and size, and where its route panel is."""

    length: float
    width: float
    height: float
    faces: list[Face] = field(default_factory=list)
    panel: tuple[float, float, float, float] | None = None  # x0, x1, z0, z1 on both long sides

    def quad(
        self,
        points: list[tuple[float, float, float]],
        colour: Colour,
        layer: int = 0,
        glow: bool = False,
    ) -> None:
        """Add one face."""
        self.faces.append(Face(np.array(points, dtype=np.float64), colour, layer, glow))

    def side(
        self,
        outline: list[tuple[float, float]],
        colour: Colour,
        layer: int,
        half_width: float,
        glow: bool = False,
    ) -> None:
        """Add the same (x, z) outline to the right and the left side."""
        for sign in (-1.0, 1.0):
            points = [(x, sign * half_width, z) for x, z in outline]
            self.quad(points, colour, layer, glow)

    def extrude(
        self,
        profile: list[tuple[float, float]],
        colour: Colour,
        layer: int,
        half_width: float,
        top_half_width: float | None = None,
    ) -> None:
        """Add the sides of an (x, z) profile and the strips that join them.

        The profile runs from the rear over the top to the front. With ``top_half_width`` the
        sides lean inwards, as a car's greenhouse does.
        """
        low = min(z for _, z in profile)
        high = max(z for _, z in profile)
        narrow = half_width if top_half_width is None else top_half_width

        def half(z: float) -> float:
            return half_width + (narrow - half_width) * (z - low) / max(high - low, 1e-6)

        for sign in (-1.0, 1.0):
            self.quad([(x, sign * half(z), z) for x, z in profile], colour, layer)
        for (xa, za), (xb, zb) in itertools.pairwise(profile):
            a, b = half(za), half(zb)
            self.quad([(xa, -a, za), (xa, a, za), (xb, b, zb), (xb, -b, zb)], colour, layer)

    def wheel(self, x: float, radius: float, half_width: float) -> None:
        """Add one axle's wheels with arches and hubs."""
        angles = np.linspace(0.0, 2 * np.pi, 15)[:-1]

        def circle(size: float) -> list[tuple[float, float]]:
            points = zip(np.cos(angles), np.sin(angles), strict=True)
            return [(x + size * float(c), radius + size * float(s)) for c, s in points]

        self.side(circle(radius * 1.12), (22, 21, 20), 1, half_width + 0.005)
        self.side(circle(radius), RUBBER, 2, half_width + 0.01)
        self.side(circle(radius * 0.58), METAL, 2, half_width + 0.02)


def _dark(colour: Colour, share: float) -> Colour:
    blue, green, red = colour
    return (blue * share, green * share, red * share)


def _lights(mesh: Mesh, low: float, high: float, inset: float) -> None:
    front, rear, half = mesh.length / 2 + 0.02, -mesh.length / 2 - 0.02, mesh.width / 2
    for a, b in ((-half + 0.08, -half + 0.08 + inset), (half - 0.08 - inset, half - 0.08)):
        mesh.quad(
            [(front, a, low), (front, b, low), (front, b, high), (front, a, high)],
            HEADLIGHT,
            3,
            glow=True,
        )
        mesh.quad(
            [(rear, a, low), (rear, b, low), (rear, b, high), (rear, a, high)],
            TAILLIGHT,
            3,
            glow=True,
        )


def car(rng: np.random.Generator) -> Mesh:
    """A hatchback, saloon, estate or off-roader."""
    shape = int(rng.integers(4))
    length = (3.9, 4.6, 4.7, 4.5)[shape] + float(rng.uniform(-0.15, 0.2))
    height = (1.48, 1.44, 1.48, 1.72)[shape] + float(rng.uniform(-0.04, 0.05))
    mesh = Mesh(length, 1.8 + float(rng.uniform(-0.06, 0.08)), height)
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    half, hl = mesh.width / 2, length / 2
    belt = height * 0.60
    mesh.extrude(
        [
            (-hl, 0.26),
            (-hl, belt * 0.86),
            (-hl + 0.10, belt),
            (hl - 1.25, belt),
            (hl - 0.35, belt * 0.84),
            (hl, belt * 0.70),
            (hl, 0.26),
        ],
        paint,
        0,
        half,
    )
    rear_top = (-hl + 0.45, -hl + 1.15, -hl + 0.35, -hl + 0.35)[shape]
    rear_low = (-hl + 0.06, -hl + 0.55, -hl + 0.06, -hl + 0.08)[shape]
    front_low, front_top = hl - 1.15, hl - 1.95
    roof = [(rear_low, belt), (rear_top, height), (front_top, height), (front_low, belt)]
    mesh.extrude(roof, paint, 1, half - 0.06, half - 0.22)
    glass_low, glass_top = belt + 0.04, height - 0.10
    lean = 0.16 * 0.5

    def pane(xa: float, xb: float, xc: float, xd: float) -> None:
        for sign in (-1.0, 1.0):
            low_y, top_y = sign * (half - 0.055), sign * (half - 0.055 - lean - 0.06)
            mesh.quad(
                [
                    (xa, low_y, glass_low),
                    (xb, top_y, glass_top),
                    (xc, top_y, glass_top),
                    (xd, low_y, glass_low),
                ],
                GLASS,
                2,
            )

    middle = (rear_low + front_low) / 2
    pane(rear_low + 0.20, rear_top + 0.10, middle - 0.05, middle - 0.05)
    pane(middle + 0.05, middle + 0.05, front_top - 0.05, front_low - 0.20)
    for x_low, x_top in ((front_low, front_top), (rear_low, rear_top)):
        nudge = 0.015 if x_low > 0 else -0.015
        mesh.quad(
            [
                (x_low * 0.97 + x_top * 0.03 + nudge, -half + 0.12, glass_low),
                (x_low * 0.97 + x_top * 0.03 + nudge, half - 0.12, glass_low),
                (x_low * 0.12 + x_top * 0.88 + nudge, half - 0.26, glass_top),
                (x_low * 0.12 + x_top * 0.88 + nudge, -half + 0.26, glass_top),
            ],
            GLASS,
            2,
        )
    mesh.side(
        [(-hl, 0.26), (hl, 0.26), (hl, 0.38), (-hl, 0.38)], _dark(paint, 0.45), 1, half + 0.004
    )
    for x in (-hl + 0.78, hl - 0.85):
        mesh.wheel(x, 0.33 if shape < 3 else 0.38, half)
    _lights(mesh, belt * 0.62, belt * 0.80, 0.38)
    return mesh


def truck(rng: np.random.Generator) -> Mesh:
    """A box truck: a cab and a cargo body, sometimes with a stripe or a sign on it."""
    length, height = float(rng.uniform(6.4, 9.0)), float(rng.uniform(2.8, 3.4))
    mesh = Mesh(length, 2.35, height)
    hl, half = length / 2, mesh.width / 2
    cab_paint = PAINTS[int(rng.integers(len(PAINTS)))]
    cargo = ((226, 228, 230), (190, 196, 200), (96, 120, 150), (110, 84, 60), (80, 130, 90))[
        int(rng.integers(5))
    ]
    cab = 1.9
    mesh.extrude([(-hl, 0.62), (hl, 0.62)], (60, 58, 56), 0, half - 0.15)
    mesh.side(
        [(-hl, 0.5), (hl - cab, 0.5), (hl - cab, 0.95), (-hl, 0.95)], (52, 50, 50), 0, half - 0.1
    )
    mesh.extrude(
        [
            (hl - cab, 0.42),
            (hl - cab, height * 0.80),
            (hl - 0.55, height * 0.80),
            (hl - 0.08, height * 0.50),
            (hl, 0.42),
        ],
        cab_paint,
        1,
        half - 0.06,
    )
    mesh.extrude(
        [(-hl, 0.92), (-hl, height), (hl - cab - 0.12, height), (hl - cab - 0.12, 0.92)],
        cargo,
        2,
        half,
    )
    if rng.random() < 0.6:
        stripe = PAINTS[int(rng.integers(len(PAINTS)))]
        z = float(rng.uniform(1.2, height - 0.9))
        mesh.side(
            [
                (-hl + 0.2, z),
                (hl - cab - 0.35, z),
                (hl - cab - 0.35, z + 0.5),
                (-hl + 0.2, z + 0.5),
            ],
            stripe,
            3,
            half + 0.01,
        )
    top = height * 0.76
    mesh.side(
        [
            (hl - 1.45, height * 0.52),
            (hl - 1.45, top),
            (hl - 0.62, top),
            (hl - 0.26, height * 0.52),
        ],
        GLASS,
        3,
        half - 0.05,
    )
    mesh.quad(
        [
            (hl - 0.06, -half + 0.2, height * 0.51),
            (hl - 0.06, half - 0.2, height * 0.51),
            (hl - 0.48, half - 0.2, top),
            (hl - 0.48, -half + 0.2, top),
        ],
        GLASS,
        3,
    )
    mesh.quad(
        [
            (-hl - 0.01, -half + 0.1, 1.0),
            (-hl - 0.01, half - 0.1, 1.0),
            (-hl - 0.01, half - 0.1, height - 0.1),
            (-hl - 0.01, -half + 0.1, height - 0.1),
        ],
        _dark(cargo, 0.88),
        3,
    )
    for x in (-hl + 1.0, -hl + 2.0, hl - 1.15):
        mesh.wheel(x, 0.48, half - 0.02)
    _lights(mesh, 0.68, 0.92, 0.35)
    return mesh


def bus(rng: np.random.Generator) -> Mesh:
    """A city bus with a route panel above the windows of both long sides."""
    length, height = float(rng.uniform(9.8, 12.2)), float(rng.uniform(3.15, 3.4))
    mesh = Mesh(length, 2.5, height)
    hl, half = length / 2, mesh.width / 2
    paint = BUS_PAINTS[int(rng.integers(len(BUS_PAINTS)))]
    trim = ((235, 235, 232), _dark(paint, 0.6), (60, 60, 60))[int(rng.integers(3))]
    mesh.extrude(
        [
            (-hl, 0.34),
            (-hl, height - 0.12),
            (-hl + 0.15, height),
            (hl - 0.3, height),
            (hl - 0.05, height - 0.2),
            (hl, 1.2),
            (hl, 0.34),
        ],
        paint,
        0,
        half,
    )
    mesh.side(
        [(-hl + 0.02, 0.34), (hl - 0.02, 0.34), (hl - 0.02, 0.62), (-hl + 0.02, 0.62)],
        trim,
        1,
        half + 0.005,
    )
    low, top = 1.15, 2.22
    count = 6
    span = (length - 0.9) / count
    for i in range(count):
        x = -hl + 0.4 + i * span
        mesh.side(
            [(x, low), (x + span - 0.14, low), (x + span - 0.14, top), (x, top)],
            GLASS,
            2,
            half + 0.01,
        )
    for x in (hl - 1.6, -0.2):
        mesh.side(
            [(x, 0.42), (x + 1.1, 0.42), (x + 1.1, top), (x, top)],
            _dark(GLASS, 0.85),
            2,
            half + 0.012,
        )
        mesh.side(
            [(x + 0.52, 0.42), (x + 0.58, 0.42), (x + 0.58, top), (x + 0.52, top)],
            _dark(paint, 0.7),
            2,
            half + 0.014,
        )
    mesh.quad(
        [
            (hl + 0.01, -half + 0.12, 1.15),
            (hl + 0.01, half - 0.12, 1.15),
            (hl - 0.03, half - 0.15, height - 0.55),
            (hl - 0.03, -half + 0.15, height - 0.55),
        ],
        GLASS,
        2,
    )
    mesh.quad(
        [
            (-hl - 0.01, -half + 0.25, 1.6),
            (-hl - 0.01, half - 0.25, 1.6),
            (-hl - 0.01, half - 0.25, 2.5),
            (-hl - 0.01, -half + 0.25, 2.5),
        ],
        GLASS,
        2,
    )
    for x in (-hl + 2.4, hl - 2.7):
        mesh.wheel(x, 0.48, half)
    _lights(mesh, 0.55, 0.85, 0.4)
    middle = float(rng.uniform(-0.5, hl - 2.6))
    mesh.panel = (middle - 1.1, middle + 1.1, 2.32, 3.08)
    return mesh
