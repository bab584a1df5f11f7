"""AdaRound: rounding each weight up or down, whichever is better for the layer's output.

The problem: the nearest step is best for a weight alone, but a layer's output is a sum, and errors
of the same sign add up. The idea: choose the rounding so that the output's squared error is least,

    E |W' x - W x|^2 = sum over outputs of d E[x x^T] d^T           d = W' - W

which needs nothing of the data but the second moments E[x x^T]. Choosing from 2^n roundings is
relaxed: each weight gets h in 0..1 between floor and ceiling, moved by gradients while a
regulariser drives h to the ends.

Source: Nagel et al., arXiv:2004.10568, section 3.2, equations 13 (objective), 22 (soft
quantization), 23 (rectified sigmoid) and 24 (regulariser).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Int32 = NDArray[np.int32]
ZETA, GAMMA = 1.1, -0.1  # how far the sigmoid is stretched, so that it reaches 0 and 1


@dataclass(frozen=True)
class Descent:
    """How the relaxed problem is solved (Adam, arXiv:1412.6980)."""

    steps: int = 600
    rate: float = 2e-2
    strength: float = 0.1  # of the regulariser, relative to the error of rounding to nearest
    first_beta: float = 20.0  # its exponent falls to ...
    last_beta: float = 2.0
    warm_up: float = 0.2  # share of the steps without regulariser


def rectified_sigmoid(v: Floats) -> Floats:
    """h(V): a sigmoid stretched beyond 0 and 1 and clipped there."""
    return np.asarray(np.clip((ZETA - GAMMA) / (1 + np.exp(-v)) + GAMMA, 0.0, 1.0))


def start(fraction: Floats) -> Floats:
    """The V with h(V) = fraction, so that the search begins at the unrounded weights."""
    inner = (np.clip(fraction, 1e-4, 1 - 1e-4) - GAMMA) / (ZETA - GAMMA)
    return np.asarray(np.log(inner / (1 - inner)))


def output_error(difference: Floats, moment: Floats) -> Floats:
    """d E[x x^T] d^T of each output: differences [..., outputs, size], moment [..., size, size]."""
    return np.asarray(((difference @ moment) * difference).sum(axis=-1))


def round_adaptively(
    weights: Floats, scale: Floats, moment: Floats, low: int, high: int,
    descent: Descent | None = None,
) -> Int32:
    """Integers for weights [..., outputs, size] with a scale [..., outputs].

    ``moment``: E[x x^T] [..., size, size] of the layer's inputs; leading axes are the groups of a
    grouped convolution. Never worse than rounding to nearest: an output for which the search found
    nothing better keeps that.
    """
    how = descent or Descent()
    real = (weights / scale[..., None]).astype(np.float32)
    moment = moment.astype(np.float32)
    floor = np.floor(real)
    # in units of steps, the error relative to that of rounding to nearest
    nearest = np.clip(np.rint(real), low, high)
    base = output_error(nearest - real, moment)
    size = np.trace(moment, axis1=-2, axis2=-1)[..., None]
    weight = (1 / np.maximum(base, np.maximum(1e-9 * size, 1e-30)))[..., None]
    v = start(real - floor)
    first, second = np.zeros_like(v), np.zeros_like(v)
    for step in range(how.steps):
        h = rectified_sigmoid(v)
        difference = np.clip(floor + h, low, high) - real
        gradient = 2 * weight * (difference @ moment)
        gradient += regulariser_slope(h, step / how.steps, how)
        inner = 1 / (1 + np.exp(-v))
        gradient *= np.where((h > 0) & (h < 1), (ZETA - GAMMA) * inner * (1 - inner), 0.0)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * np.square(gradient)
        corrected = first / (1 - 0.9 ** (step + 1))
        v -= how.rate * corrected / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-12)
    found = np.clip(floor + (rectified_sigmoid(v) >= 0.5), low, high)
    better = output_error(found - real, moment) < base
    return np.asarray(np.where(better[..., None], found, nearest), np.int32)


def regulariser_slope(h: Floats, progress: float, how: Descent) -> Floats:
    """The derivative by h of 1 - |2h - 1|^beta, with beta falling as the descent goes on."""
    if progress < how.warm_up:
        return np.zeros_like(h)
    gone = (progress - how.warm_up) / (1 - how.warm_up)
    beta = how.last_beta + (how.first_beta - how.last_beta) * 0.5 * (1 + np.cos(np.pi * gone))
    away = 2 * h - 1
    slope = -2 * beta * np.sign(away) * np.abs(away) ** (beta - 1)
    return np.asarray(how.strength * slope)
