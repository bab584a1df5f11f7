"""How much memory the activations of one prediction need at once.

The problem: the sum of all activations is far more than is needed, since most are dead long
before the end; the largest one is less. The idea: an activation lives from the operation that
writes it to the last one that reads it; the peak is where the living ones weigh most.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from solutions.phase1_basics.layers import Operation


class Lifetime(NamedTuple):
    """The operations, by position, during which an activation must be kept; both included."""

    first: int
    last: int


class ActivationPeak(NamedTuple):
    """Where most memory is needed."""

    peak_bytes: int
    operation: str  # during which
    living: tuple[str, ...]  # the activations that are alive then
    total_bytes: int  # of all activations: what it would be if none were ever freed


def lifetimes(
    operations: Sequence[Operation], results: Sequence[str] = ()
) -> dict[str, Lifetime]:
    """When each activation lives, by name; ``results`` live to the end.

        a  |=====|          written by 0, last read by 2
        b     |===========| written by 1, a result
           0  1  2  3  4  5

    What is read before it is written (a network's input) lives from the beginning; what is
    never read dies with the operation that wrote it.
    """
    found: dict[str, Lifetime] = {}
    for position, operation in enumerate(operations):
        for name in operation.reads:
            found[name] = Lifetime(found[name].first if name in found else 0, position)
        for name in operation.writes:
            found[name] = Lifetime(found[name].first if name in found else position, position)
    for name in results:
        if name in found:
            found[name] = Lifetime(found[name].first, len(operations) - 1)
    return found


def activation_peak(
    operations: Sequence[Operation], sizes: Mapping[str, int], results: Sequence[str] = ()
) -> ActivationPeak:
    """The peak over the operations, in one sweep over births and deaths.

    ``sizes`` are bytes; a name without a size (a weight) weighs nothing. While an operation
    runs, both its inputs and its outputs are alive.
    """
    lives = {n: life for n, life in lifetimes(operations, results).items() if sizes.get(n, 0)}
    change = [0] * (len(operations) + 1)
    for name, life in lives.items():
        change[life.first] += sizes[name]
        change[life.last + 1] -= sizes[name]
    peak, position, weight = 0, 0, 0
    for step in range(len(operations)):
        weight += change[step]
        if weight > peak:
            peak, position = weight, step
    living = tuple(n for n, life in lives.items() if life.first <= position <= life.last)
    name = operations[position].name if operations else ""
    return ActivationPeak(peak, name, living, sum(sizes[n] for n in lives))
