"""Who is on the road, and where at any time.

All motion is a closed function of time, so any frame of a street can be drawn without the ones
before it. Vehicles of one lane share the lane's speed (traffic comes in waves, so they slow down
and nearly stop together), which keeps their distances::

    travelled(t) = v * (t + k/w * (sin(w t + p) - sin(p)))        speed v (1 + k cos(w t + p))

The road across, Y in metres, seen from the camera at negative Y::

    0 .. 3        near pavement
    3 .. 4.6      near cycle lane
    4.6 ..        lanes to the right, then as many to the left, 3.4 m each
    ..            far cycle lane (1.6 m) and far pavement (3.4 m), then the buildings
"""

from dataclasses import dataclass

import numpy as np

from zoo import digits
from zoo.street import people, vehicles
from zoo.street.truth import CLASSES

CAR, TRUCK, BUS, BICYCLE, PERSON = range(len(CLASSES))
LANE = 3.4
PAVEMENT = 3.0
CYCLE_LANE = 1.6
VEHICLE_REACH = 82.0  # metres along the road beyond which nothing drives
PEOPLE_REACH = 50.0
FADE = 10.0  # metres over which far objects appear out of the haze


@dataclass(frozen=True)
class Road:
    """The cross-section of a street."""

    lanes_each_way: int

    @property
    def far_kerb(self) -> float:
        """Y where the far pavement begins."""
        return PAVEMENT + 2 * CYCLE_LANE + 2 * self.lanes_each_way * LANE

    @property
    def building_line(self) -> float:
        """Y where the buildings stand."""
        return self.far_kerb + PAVEMENT + 0.4

    def lanes(self) -> list[tuple[float, int]]:
        """The middle of each lane (Y) and its direction (+1 right, -1 left), near ones first."""
        start = PAVEMENT + CYCLE_LANE
        middles = [start + (i + 0.5) * LANE for i in range(2 * self.lanes_each_way)]
        return [(y, 1 if i < self.lanes_each_way else -1) for i, y in enumerate(middles)]


@dataclass(frozen=True)
class Flow:
    """How far everything in one lane has come by a given time."""

    speed: float  # m/s, mean
    wave: float  # 0..1, how much the speed varies
    rate: float  # rad/s of the waves
    phase: float

    def travelled(self, time: float) -> float:
        """Metres since time 0."""
        waved = np.sin(self.rate * time + self.phase) - np.sin(self.phase)
        return float(self.speed * (time + self.wave / self.rate * waved))

    def speed_at(self, time: float) -> float:
        """Metres per second."""
        return float(self.speed * (1 + self.wave * np.cos(self.rate * time + self.phase)))


@dataclass(frozen=True)
class RoadUser:
    """One moving object: what it is, how it looks, where it starts."""

    identity: int
    label: int
    start: float  # X at time 0
    lane: float  # Y that decides who hides whom
    y: float
    direction: int
    flow: Flow
    reach: float
    mesh: vehicles.Mesh | None = None
    look: people.Look | None = None
    paint: vehicles.Colour = (0.0, 0.0, 0.0)
    gait: float = 0.0  # phase offset in radians
    route: str = ""
    glyphs: tuple[int, ...] = ()  # indices into the digits of the street's split
    panel_style: int = 0

    def x(self, time: float) -> float:
        """Where it is along the road."""
        return self.start + self.direction * self.flow.travelled(time)

    def opacity(self, x: float) -> float:
        """1 near the camera, falling to 0 where the far end of the street swallows it."""
        return float(np.clip((self.reach - abs(x)) / FADE, 0.0, 1.0))


def _flow(rng: np.random.Generator, low: float, high: float, wave: float) -> Flow:
    return Flow(
        speed=float(rng.uniform(low, high)),
        wave=float(rng.uniform(0.0, wave)),
        rate=float(rng.uniform(0.25, 0.6)),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


class _Identities:
    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        self.last += 1
        return self.last


def _route(rng: np.random.Generator, split: str) -> tuple[str, tuple[int, ...]]:
    """A route number and the handwritten glyphs that spell it."""
    labels = digits.glyphs(split)[1]
    length = int(rng.choice([1, 2, 3], p=[0.25, 0.45, 0.30]))
    wanted = [int(rng.integers(1, 10))] + [int(d) for d in rng.integers(0, 10, length - 1)]
    chosen = tuple(int(rng.choice(np.flatnonzero(labels == digit))) for digit in wanted)
    return "".join(map(str, wanted)), chosen


def _vehicles(
    rng: np.random.Generator,
    road: Road,
    seconds: float,
    crowding: float,
    split: str,
    identities: _Identities,
) -> list[RoadUser]:
    users: list[RoadUser] = []
    for lane, direction in road.lanes():
        flow = _flow(rng, 6.0, 12.0, 0.9)
        longest = VEHICLE_REACH + flow.travelled(seconds) + 12.0
        position = VEHICLE_REACH + 6.0  # of the lane's leader; the others follow behind it
        while position > -longest:
            kind = int(rng.choice([CAR, TRUCK, BUS], p=[0.64, 0.16, 0.20]))
            mesh = (vehicles.car, vehicles.truck, vehicles.bus)[kind](rng)
            route, glyphs = _route(rng, split) if kind == BUS else ("", ())
            position -= mesh.length / 2
            users.append(
                RoadUser(
                    identities.next(),
                    kind,
                    direction * position,
                    lane,
                    lane + float(rng.uniform(-0.25, 0.25)),
                    direction,
                    flow,
                    VEHICLE_REACH,
                    mesh=mesh,
                    route=route,
                    glyphs=glyphs,
                    panel_style=int(rng.integers(3)),
                )
            )
            gap = 2.5 + float(rng.exponential(15.0 / crowding))
            position -= mesh.length / 2 + gap
    return users


def _cyclists(
    rng: np.random.Generator,
    road: Road,
    seconds: float,
    crowding: float,
    identities: _Identities,
) -> list[RoadUser]:
    users: list[RoadUser] = []
    lanes = ((PAVEMENT + CYCLE_LANE / 2, 1), (road.far_kerb - CYCLE_LANE / 2, -1))
    for lane, direction in lanes:
        flow = _flow(rng, 3.2, 6.5, 0.4)
        position = PEOPLE_REACH
        while position > -(PEOPLE_REACH + flow.travelled(seconds)):
            paint = vehicles.PAINTS[int(rng.integers(len(vehicles.PAINTS)))]
            users.append(
                RoadUser(
                    identities.next(),
                    BICYCLE,
                    direction * position,
                    lane,
                    lane + float(rng.uniform(-0.35, 0.35)),
                    direction,
                    flow,
                    PEOPLE_REACH,
                    look=people.random_look(rng),
                    paint=paint,
                    gait=float(rng.uniform(0, 2 * np.pi)),
                )
            )
            position -= 2.6 + float(rng.exponential(20.0 / crowding))
    return users


def _pedestrians(
    rng: np.random.Generator,
    road: Road,
    seconds: float,
    crowding: float,
    identities: _Identities,
) -> list[RoadUser]:
    users: list[RoadUser] = []
    for low, share in ((0.3, 1.0), (road.far_kerb + 0.3, 1.0)):
        span = 2 * PEOPLE_REACH + 1.3 * seconds
        count = int(rng.poisson(span / 15.0 * crowding * share))
        for _ in range(count):
            x = float(rng.uniform(-span / 2, span / 2))
            y = low + float(rng.uniform(0.0, PAVEMENT - 0.7))
            direction = 1 if rng.random() < 0.5 else -1
            standing = rng.random() < 0.12
            flow = Flow(0.0 if standing else float(rng.uniform(0.8, 1.7)), 0.0, 1.0, 0.0)
            group = int(rng.choice([1, 2, 3], p=[0.72, 0.22, 0.06]))
            for member in range(group):
                offset = float(rng.uniform(-0.25, 0.25))
                side = y + member * 0.55
                users.append(
                    RoadUser(
                        identities.next(),
                        PERSON,
                        x + offset + 0.15 * member,
                        side,
                        side,
                        direction,
                        flow,
                        PEOPLE_REACH,
                        look=people.random_look(rng),
                        gait=float(rng.uniform(0, 2 * np.pi)),
                    )
                )
    return users


def populate(
    rng: np.random.Generator, road: Road, seconds: float, crowding: float, split: str
) -> list[RoadUser]:
    """Everyone who passes within ``seconds``, far lanes first (the order of painting)."""
    identities = _Identities()
    users = _vehicles(rng, road, seconds, crowding, split, identities)
    users += _cyclists(rng, road, seconds, crowding, identities)
    users += _pedestrians(rng, road, seconds, crowding, identities)
    return sorted(users, key=lambda user: -user.lane)
