"""A constant-velocity Kalman filter for boxes, all tracks at once.

The state of a box is its centre, width and height and their velocities (Aharon et al., BoT-SORT,
arXiv:2206.14651, section 3.1). Transition, process and measurement noise couple each coordinate
with its own velocity only, so the 8x8 filter falls apart into four 2x2 filters whose algebra fits
on one line each. That is exact, not an approximation::

        [ position ]        [ pp  pv ]
    x = [ velocity ]    P = [ pv  vv ]     for each of cx, cy, w, h
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POSITION_NOISE = 1 / 20  # standard deviations in shares of the box's size, per frame at 30 FPS
VELOCITY_NOISE = 1 / 160


@dataclass
class BoxStates:
    """Filters of n boxes; every array is float64 [n, 4] over cx, cy, w, h."""

    position: Floats
    velocity: Floats
    pp: Floats  # variance of the position
    pv: Floats  # covariance of position and velocity
    vv: Floats  # variance of the velocity

    def __len__(self) -> int:
        return len(self.position)

    def select(self, chosen: NDArray[np.generic]) -> "BoxStates":
        """The filters at indices or under a mask."""
        return BoxStates(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def joined(self, other: "BoxStates") -> "BoxStates":
        """These filters followed by others."""
        parts = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return BoxStates(*(np.concatenate(pair) for pair in parts))


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
    size = np.maximum(position[:, 2:], 1.0)
    return np.concatenate([size, size], axis=1)


def initiate(measured: Floats) -> BoxStates:
    """Filters for new boxes cx, cy, w, h [n, 4]: at rest, unsure of position and velocity."""
    scale = _scale(measured)
    return BoxStates(
        position=measured.astype(np.float64),
        velocity=np.zeros_like(scale),
        pp=(2 * POSITION_NOISE * scale) ** 2,
        pv=np.zeros_like(scale),
        vv=(10 * VELOCITY_NOISE * scale) ** 2,
    )


def predict(states: BoxStates, elapsed: float = 1.0) -> BoxStates:
    """The states ``elapsed`` frames (of 1/30 s) later: x = F x, P = F P F' + Q."""
    scale = _scale(states.position)
    position = states.position + elapsed * states.velocity
    position[:, 2:] = np.maximum(position[:, 2:], 1.0)
    return BoxStates(
        position=position,
        velocity=states.velocity,
        pp=states.pp + elapsed * (2 * states.pv + elapsed * states.vv)
        + elapsed * (POSITION_NOISE * scale) ** 2,
        pv=states.pv + elapsed * states.vv,
        vv=states.vv + elapsed * (VELOCITY_NOISE * scale) ** 2,
    )


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
    noise = (POSITION_NOISE * _scale(states.position)) ** 2
    total = states.pp + noise
    gain, velocity_gain = states.pp / total, states.pv / total
    gap = measured - states.position
    return BoxStates(
        position=states.position + gain * gap,
        velocity=states.velocity + velocity_gain * gap,
        pp=states.pp * (1 - gain),
        pv=states.pv * (1 - gain),
        vv=states.vv - velocity_gain * states.pv,
    )
