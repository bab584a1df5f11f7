"""Pedestrians and cyclists: limbs as thick lines in the vertical plane of their heading.

A figure is a list of :class:`Limb`; each limb is a polyline in the figure's own plane (x forward,
z up, y a small sideways offset), in metres, with a thickness. The gait is a closed function of the
distance walked, so a figure can be drawn at any time without history.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]  # BGR, 0..255

SKINS: tuple[Colour, ...] = (
    (180, 206, 236),
    (150, 184, 224),
    (120, 156, 204),
    (86, 122, 176),
    (58, 84, 128),
    (42, 58, 92),
)
HAIRS: tuple[Colour, ...] = (
    (28, 26, 26),
    (34, 48, 72),
    (60, 100, 140),
    (150, 150, 152),
    (40, 60, 120),
)
CLOTHES: tuple[Colour, ...] = (
    (44, 42, 40),
    (88, 60, 44),
    (150, 104, 60),
    (60, 60, 170),
    (70, 130, 80),
    (200, 200, 204),
    (60, 150, 210),
    (120, 80, 140),
    (140, 140, 138),
    (180, 160, 90),
    (80, 80, 84),
    (50, 90, 130),
)


@dataclass(frozen=True)
class Look:
    """What one person looks like; lengths in metres."""

    height: float
    build: float  # relative breadth
    skin: Colour
    hair: Colour
    top: Colour
    legs: Colour
    bag: Colour | None
    skirt: bool


@dataclass(frozen=True)
class Limb:
    """A polyline [(x, y, z), ...] with a thickness, or a disc where it is one point."""

    points: tuple[tuple[float, float, float], ...]
    width: float
    colour: Colour
    outline: bool = False  # a filled polygon instead of a line


def random_look(rng: np.random.Generator) -> Look:
    """A person chosen at random."""

    def pick(colours: tuple[Colour, ...]) -> Colour:
        return colours[int(rng.integers(len(colours)))]

    return Look(
        height=float(np.clip(rng.normal(1.72, 0.10), 1.2, 1.98)),
        build=float(rng.uniform(0.88, 1.2)),
        skin=pick(SKINS),
        hair=pick(HAIRS),
        top=pick(CLOTHES),
        legs=pick(CLOTHES),
        bag=pick(CLOTHES) if rng.random() < 0.3 else None,
        skirt=bool(rng.random() < 0.18),
    )


def _head(look: Look, x: float, z: float) -> list[Limb]:
    size = 0.072 * look.height
    return [
        Limb(((x - 0.01, 0.0, z + 0.02),), 2.16 * size, look.hair),
        Limb(((x + 0.025, 0.0, z - 0.012),), 1.8 * size, look.skin),
    ]


def _leg(hip: tuple[float, float], swing: float, side: float, look: Look, reach: float) -> Limb:
    """A two-segment leg that swings by ``swing`` radians about the hip."""
    thigh, shin = 0.245 * reach, 0.245 * reach
    knee_bend = 0.55 * max(0.0, -np.cos(swing * 2.2)) + 0.12
    knee = (hip[0] + thigh * np.sin(swing), hip[1] - thigh * np.cos(swing))
    lower = swing - knee_bend * (0.6 if swing < 0 else 0.25)
    foot = (knee[0] + shin * np.sin(lower), max(0.03, knee[1] - shin * np.cos(lower)))
    points = (
        (hip[0], side, hip[1]),
        (float(knee[0]), side, float(knee[1])),
        (float(foot[0]), side, float(foot[1])),
    )
    return Limb(points, 0.135 * look.build, look.legs)


def pedestrian(look: Look, phase: float, stride: float) -> list[Limb]:
    """A person on foot; ``phase`` in radians of the gait, ``stride`` 0 (standing) to 1."""
    height = look.height
    swing = 0.46 * stride * float(np.sin(phase))
    hip = (0.0, 0.50 * height)
    shoulder = 0.80 * height
    dark = (look.top[0] * 0.82, look.top[1] * 0.82, look.top[2] * 0.82)

    def arm(angle: float, side: float, colour: Colour) -> list[Limb]:
        elbow = (0.17 * height * np.sin(angle), shoulder - 0.17 * height * np.cos(angle))
        hand = (
            elbow[0] + 0.16 * height * np.sin(angle + 0.35),
            elbow[1] - 0.16 * height * np.cos(angle + 0.35),
        )
        line = (
            (0.0, side, shoulder - 0.03),
            (float(elbow[0]), side, float(elbow[1])),
            (float(hand[0]), side, float(hand[1])),
        )
        return [Limb(line, 0.095 * look.build, colour), Limb((line[2],), 0.09, look.skin)]

    breadth = 0.21 * look.build
    torso = [
        (-0.105, breadth * 0.8, hip[1] - 0.03),
        (0.105, -breadth * 0.8, hip[1] - 0.03),
        (0.125, -breadth, shoulder - 0.02),
        (0.05, -0.06, shoulder + 0.06),
        (-0.05, 0.06, shoulder + 0.06),
        (-0.125, breadth, shoulder - 0.02),
    ]
    limbs = arm(-swing * 1.1, 0.22 * look.build, dark)
    limbs += [_leg(hip, -swing, 0.08, look, height), _leg(hip, swing, -0.08, look, height)]
    if look.skirt:
        knee = 0.26 * height
        limbs.append(
            Limb(
                (
                    (-0.13, 0.1, hip[1]),
                    (0.13, -0.1, hip[1]),
                    (0.2, -0.16, knee),
                    (-0.2, 0.16, knee),
                ),
                0.0,
                look.legs,
                outline=True,
            )
        )
    if look.bag is not None:
        limbs.append(
            Limb(((-0.17, 0.0, shoulder - 0.1), (-0.19, 0.0, hip[1] + 0.12)), 0.22, look.bag)
        )
    limbs.append(Limb(tuple(torso), 0.0, look.top, outline=True))
    limbs.append(
        Limb(((0.0, 0.0, hip[1]), (0.0, 0.0, shoulder - 0.05)), 0.26 * look.build, look.top)
    )
    limbs += arm(swing * 1.1, -0.22 * look.build, look.top)
    limbs.append(Limb(((0.0, 0.0, shoulder), (0.01, 0.0, 0.87 * height)), 0.09, look.skin))
    return limbs + _head(look, 0.015, 0.925 * height)


def cyclist(look: Look, phase: float, frame: Colour, helmet: Colour) -> list[Limb]:
    """A person on a bicycle; ``phase`` in radians of the cranks."""
    wheel, rear, front = 0.34, -0.52, 0.54
    seat, bars, crank = (-0.20, 0.92), (0.40, 1.02), (-0.05, 0.30)
    angles = np.linspace(0, 2 * np.pi, 19)
    limbs: list[Limb] = []
    for x in (rear, front):
        ring = tuple(
            (x + wheel * float(np.cos(a)), 0.0, wheel + wheel * float(np.sin(a))) for a in angles
        )
        limbs.append(Limb(ring, 0.055, (36, 35, 34)))
    pipes = (
        ((rear, wheel), (-0.18, 0.80)),
        ((rear, wheel), crank),
        (crank, (-0.18, 0.80)),
        ((-0.18, 0.78), (0.36, 0.84)),
        (crank, (0.36, 0.80)),
        ((0.36, 0.98), (front, wheel)),
    )
    limbs += [Limb(((a[0], 0.0, a[1]), (b[0], 0.0, b[1])), 0.05, frame) for a, b in pipes]
    shoulder = (0.14, 1.44)
    for angle, side in ((phase + np.pi, 0.09), (phase, -0.09)):
        pedal = (crank[0] + 0.17 * np.cos(angle), crank[1] + 0.17 * np.sin(angle))
        middle = ((seat[0] + pedal[0]) / 2, (seat[1] + pedal[1]) / 2)
        knee = (middle[0] + 0.22, middle[1] + 0.06)
        points = (
            (seat[0], side, seat[1]),
            (float(knee[0]), side, float(knee[1])),
            (float(pedal[0]), side, float(pedal[1])),
        )
        limbs.append(Limb(points, 0.13 * look.build, look.legs))
    limbs.append(
        Limb(
            ((seat[0], 0.0, seat[1] + 0.05), (shoulder[0], 0.0, shoulder[1])),
            0.30 * look.build,
            look.top,
        )
    )
    limbs.append(
        Limb(
            ((shoulder[0], -0.18, shoulder[1]), (0.36, -0.2, 1.18), (bars[0], -0.2, bars[1])),
            0.09,
            look.top,
        )
    )
    head = (shoulder[0] + 0.12, shoulder[1] + 0.22)
    limbs += _head(look, *head)
    limbs.append(
        Limb(
            ((head[0] - 0.09, 0.0, head[1] + 0.06), (head[0] + 0.09, 0.0, head[1] + 0.07)),
            0.13,
            helmet,
        )
    )
    return limbs
