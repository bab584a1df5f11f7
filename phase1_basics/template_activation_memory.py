"""How much memory the activations of one prediction need at once.

The problem: the sum of all activations is far more than is needed, since most are dead long
before the end; the largest one is less. The idea: an activation lives from the operation that
writes it to the last one that reads it; the peak is where the living ones weigh most.

Your part, to be checked by ``course check``:

    1.14 Memory by liveness: lifetimes, activation_peak

The idea, an example and the usual mistakes: guidelines.md#114-memory-by-liveness
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
    # TODO 1.14 Memory by liveness
    # 1. An activation lives from the operation that writes it to the last one that reads it. What
    #    is read without having been written lives from 0; what nobody reads dies where it was
    #    written.
    # 2. Results live to the end.
    raise NotImplementedError("exercise 1.14: lifetimes")


def activation_peak(
    operations: Sequence[Operation], sizes: Mapping[str, int], results: Sequence[str] = ()
) -> ActivationPeak:
    """The peak over the operations, in one sweep over births and deaths.

    ``sizes`` are bytes; a name without a size (a weight) weighs nothing. While an operation
    runs, both its inputs and its outputs are alive.
    """
    # TODO 1.14 Memory by liveness
    # 1. Add a size up where its life begins, and take it off behind where it ends; the running sum
    #    is the memory of each operation.
    # 2. The first operation with the greatest sum is the peak. Names without a size weigh nothing
    #    and are not listed.
    raise NotImplementedError("exercise 1.14: activation_peak")
