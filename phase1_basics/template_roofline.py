"""Whether a layer is slow because of arithmetic, because of memory, or because of neither.

A machine has two ceilings: operations per second, and bytes per second. A layer that does I
operations for each byte can at best do min(peak, I x bandwidth). Source: S. Williams,
A. Waterman, D. Patterson, "Roofline: an insightful visual performance model", CACM 2009.

Your part, to be checked by ``course check``:

    1.15 Under the roof: Ceilings.ridge, Ceilings.attainable, place

The idea, an example and the usual mistakes: guidelines.md#115-under-the-roof
"""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from solutions.phase1_basics.layers import Layer
from zoo.errors import InferenceError

COPY_BYTES = 128 * 2**20  # of each of two arrays: well beyond the caches


class Product(NamedTuple):
    """A matrix product that can be repeated."""

    call: Callable[[], object]
    flops: float


@dataclass(frozen=True)
class Ceilings:
    """What a machine can do at best."""

    peak_flops: float  # operations per second
    bandwidth: float  # bytes per second, read and written together
    about: str = ""  # how they were measured

    def __post_init__(self) -> None:
        if not (self.peak_flops > 0 and self.bandwidth > 0):
            raise InferenceError(f"ceilings must be positive: {self}")

    @property
    def ridge(self) -> float:
        """The intensity, operations per byte, from which arithmetic is the limit."""
        # TODO 1.15 Under the roof
        # 1. Ceilings.ridge: The intensity at which both ceilings give the same rate.
        # 2. Ceilings.attainable: The lower of the two ceilings at an intensity.
        raise NotImplementedError("exercise 1.15: Ceilings.ridge")

    def attainable(self, intensity: float) -> float:
        """Operations per second at best for a layer of that intensity."""
        raise NotImplementedError("exercise 1.15: Ceilings.attainable")


@dataclass(frozen=True)
class RooflinePoint:
    """One layer under the roof."""

    name: str
    intensity: float  # operations per byte
    achieved: float  # operations per second
    attainable: float
    bound: Literal["compute", "memory"]

    @property
    def efficiency(self) -> float:
        """Achieved over attainable; beyond 1 where the layer's data were in a cache."""
        return self.achieved / self.attainable


def place(layer: Layer, ceilings: Ceilings) -> RooflinePoint | None:
    """The layer's place; None for one without arithmetic, traffic or time."""
    # TODO 1.15 Under the roof
    # 1. A layer without arithmetic, traffic or time has no place: None.
    # 2. Intensity is operations per byte, achieved is operations per second; from the ridge on,
    #    arithmetic is the limit.
    raise NotImplementedError("exercise 1.15: place")


def best_rate(work: float, call: Callable[[], object], repeats: int,
              clock: Callable[[], float]) -> float:
    """``work`` per second of the fastest of some calls: a ceiling is what was reached once."""
    fastest = math.inf
    for _ in range(repeats):
        start = clock()
        call()
        fastest = min(fastest, clock() - start)
    if fastest <= 0:
        raise InferenceError("a ceiling was measured in no time: use a finer clock")
    return work / fastest


def measure_ceilings(
    products: Mapping[str, Product],
    threads: int = 1,
    copy_bytes: int = COPY_BYTES,
    repeats: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> Ceilings:
    """This machine's ceilings: the best matrix product of several libraries, and a large copy.

    ``products`` are named as a reader should know them. The copy moves every byte twice, read and
    written, in ``threads`` slices at once.
    """
    rates = {name: best_rate(product.flops, product.call, repeats, clock)
             for name, product in products.items()}
    best = max(rates, key=lambda name: rates[name])
    source, target = np.ones(copy_bytes, np.uint8), np.zeros(copy_bytes, np.uint8)
    with ThreadPoolExecutor(threads) as pool:
        pairs = list(zip(np.array_split(target, threads), np.array_split(source, threads),
                         strict=True))

        def copy() -> None:
            list(pool.map(lambda pair: np.copyto(*pair), pairs))

        copy()
        bandwidth = best_rate(2 * copy_bytes, copy, repeats, clock)
    many = f"{threads} thread{'' if threads == 1 else 's'}"
    return Ceilings(rates[best], bandwidth, f"{best}, NumPy copy, {many}")
