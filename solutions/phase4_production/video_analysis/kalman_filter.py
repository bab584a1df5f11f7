"""A constant-velocity Kalman filter for boxes, all tracks at once.

The state of a box is its centre, width and height and their velocities (Aharon et al., BoT-SORT,
arXiv:2206.14651, section 3.1). Transition, process and measurement noise couple each coordinate
with its own velocity only, so the 8x8 filter falls apart into four 2x2 filters whose algebra fits
on one line each. That is exact, not an approximation::

        [ position ]        [ pp  pv ]
    x = [ velocity ]    P = [ pv  vv ]     for each of cx, cy, w, h
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POSITION_NOISE = 1 / 20  # standard deviations in shares of the box's size, per frame at 30 FPS
VELOCITY_NOISE = 1 / 160
SIZES = np.array([2, 3, 2, 3])  # columns of w, h, w, h


class BoxStates:
    """Filters of n boxes: a table float64 [5, n, 4] of five quantities over cx, cy, w, h.

    One table, so that choosing and joining filters is one operation, not five.
    """

    __slots__ = ("position", "pp", "pv", "table", "velocity", "vv")

    def __init__(self, table: Floats) -> None:
        assert table.ndim == 3 and table.shape[::2] == (5, 4), table.shape
        self.table = table
        self.position: Floats = table[0]  # all five are views [n, 4] of the table
        self.velocity: Floats = table[1]
        self.pp: Floats = table[2]  # variance of the position
        self.pv: Floats = table[3]  # covariance of position and velocity
        self.vv: Floats = table[4]  # variance of the velocity

    def __len__(self) -> int:
        return len(self.position)

    def select(self, chosen: NDArray[np.generic]) -> "BoxStates":
        """The filters at indices or under a mask."""
        return BoxStates(self.table[:, chosen])

    def joined(self, other: "BoxStates") -> "BoxStates":
        """These filters followed by others."""
        return BoxStates(np.concatenate([self.table, other.table], axis=1))


def to_centre(boxes: NDArray[np.floating]) -> Floats:
    """Boxes xyxy [n, 4] as cx, cy, w, h."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def to_corners(centred: Floats) -> NDArray[np.float32]:
    """cx, cy, w, h [n, 4] as boxes xyxy."""
    half = centred[:, 2:] / 2
    corners = np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)
    return corners.astype(np.float32)


def _scale(position: Floats) -> Floats:
    """The box's size in the order of the coordinates: w, h, w, h; at least one pixel."""
    return np.maximum(position.take(SIZES, axis=1), 1.0)


def initiate(measured: Floats) -> BoxStates:
    """Filters for new boxes cx, cy, w, h [n, 4]: at rest, unsure of position and velocity."""
    scale = _scale(measured)
    table = np.zeros((5, *measured.shape))
    table[0] = measured
    table[2] = (2 * POSITION_NOISE * scale) ** 2
    table[4] = (10 * VELOCITY_NOISE * scale) ** 2
    return BoxStates(table)


def predict(states: BoxStates, elapsed: float = 1.0) -> BoxStates:
    """The states ``elapsed`` frames (of 1/30 s) later: x = F x, P = F P F' + Q."""
    table = states.table.copy()
    position, velocity, pp, pv, vv = table
    scale = _scale(position)
    area = scale * scale
    position += elapsed * velocity
    np.maximum(position[:, 2:], 1.0, out=position[:, 2:])
    pp += elapsed * (2 * pv + elapsed * vv) + elapsed * POSITION_NOISE**2 * area
    pv += elapsed * vv
    vv += elapsed * VELOCITY_NOISE**2 * area
    return BoxStates(table)


def surprise(states: BoxStates, measured: Floats) -> Floats:
    """Squared Mahalanobis distance [n] of each state to the box cx, cy, w, h [n, 4] beside it.

    Over four coordinates; how many standard deviations the box lies from where the state expects
    it (Wojke et al., arXiv:1703.07402, equation 1).
    """
    noise = (POSITION_NOISE * _scale(states.position)) ** 2
    gap = measured - states.position
    distance: Floats = (gap * gap / (states.pp + noise)).sum(axis=1)
    return distance


def correct(states: BoxStates, measured: Floats) -> BoxStates:
    """The states after measuring cx, cy, w, h [n, 4]: K = P H' / (H P H' + R), P = (I - K H) P."""
    table = states.table.copy()
    position, velocity, pp, pv, vv = table
    total = pp + (POSITION_NOISE * _scale(position)) ** 2
    gain, velocity_gain = pp / total, pv / total
    gap = measured - position
    position += gain * gap
    velocity += velocity_gain * gap
    vv -= velocity_gain * pv
    pp *= 1 - gain
    pv *= 1 - gain
    return BoxStates(table)
