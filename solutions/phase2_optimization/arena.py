"""One block of memory for all activations: where in it each tensor goes.

The problem: a network's tensors live for a few steps each, yet a naive runtime allocates every one
of them. Two tensors may share bytes when their lives do not overlap. A tensor is a rectangle,
steps wide and bytes high; the arena is as high as the highest rectangle, and no two may overlap:

    bytes
      |  +------+ +-----+
      |  |  b   | |  d  |
      |  +----+-+-+--+--+
      |  | a  |  c   |
      +--+----+------+------> steps

The best packing is NP-hard (dynamic storage allocation, Garey and Johnson SR2), but placing large
tensors first, each in the smallest gap that holds it, comes close. No packing can be lower than
the bytes that live at the busiest step, so how close is known.

Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
arXiv:2001.03288, section 5.3 (offset calculation, greedy by size).
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zoo.errors import InferenceError

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


@dataclass(frozen=True)
class Tensor:
    """A tensor's bytes and the steps, both included, between which they must stay."""

    name: str
    size: int  # bytes
    first: int  # the step that writes it
    last: int  # the last step that reads it

    def __post_init__(self) -> None:
        if self.size < 0 or self.last < self.first:
            raise InferenceError(
                f"tensor {self.name!r}: {self.size} bytes from step {self.first} to {self.last}: "
                "the size must not be negative, nor the end before the start"
            )

    def meets(self, other: "Tensor") -> bool:
        """Whether both live at some step."""
        return self.first <= other.last and other.first <= self.last


class Arena(NamedTuple):
    """Where each tensor starts, in bytes, and how many bytes all need together."""

    offsets: dict[str, int]
    size: int


def aligned(size: int, alignment: int = ALIGNMENT) -> int:
    """``size`` rounded up to a multiple of ``alignment``."""
    return -(-size // alignment) * alignment


def naive_bytes(tensors: Iterable[Tensor], alignment: int = ALIGNMENT) -> int:
    """The bytes where every tensor has its own."""
    return sum(aligned(tensor.size, alignment) for tensor in tensors)


def lower_bound(tensors: Sequence[Tensor], alignment: int = ALIGNMENT) -> int:
    """The most bytes that live at any one step: no arena can be smaller."""
    change: dict[int, int] = {}
    for tensor in tensors:
        size = aligned(tensor.size, alignment)
        change[tensor.first] = change.get(tensor.first, 0) + size
        change[tensor.last + 1] = change.get(tensor.last + 1, 0) - size
    live = most = 0
    for step in sorted(change):
        live += change[step]
        most = max(most, live)
    return most


def best_fit(ordered: Sequence[Tensor], alignment: int = ALIGNMENT) -> Arena:
    """Place tensors in the given order, each in the smallest gap that holds it.

    A gap lies between tensors that were placed before and live at the same time; above all of
    them there is always room.
    """
    offsets: dict[str, int] = {}
    placed: list[tuple[int, int, Tensor]] = []  # start, end
    for tensor in ordered:
        size = aligned(tensor.size, alignment)
        taken = sorted((a, b) for a, b, other in placed if tensor.meets(other))
        start = smallest_gap(taken, size)
        offsets[tensor.name] = start
        placed.append((start, start + size, tensor))
    return Arena(offsets, max((end for _, end, _ in placed), default=0))


def smallest_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The start of the smallest gap of at least ``size`` bytes between sorted intervals."""
    end = 0
    best, best_room = -1, 0
    for low, high in taken:
        room = low - end
        if room >= size and (best < 0 or room < best_room):
            best, best_room = end, room
        end = max(end, high)
    return best if best >= 0 else end


ORDERS: dict[str, Callable[[Tensor], tuple[int, ...]]] = {
    "size": lambda t: (-t.size, t.first),
    "size times life": lambda t: (-t.size * (t.last - t.first + 1), t.first),
    "life": lambda t: (t.first - t.last, -t.size),
    "schedule": lambda t: (t.first, -t.size),
}
TRIES = 500  # exchanges in the order, where no order of those above reaches the lower bound


def assign(tensors: Sequence[Tensor], alignment: int = ALIGNMENT) -> Arena:
    """The smallest arena that :func:`best_fit` gives in several orders, improved by exchanges.

    The same tensors always give the same arena. Raises InferenceError where a name comes twice.
    """
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise InferenceError("two tensors of one name: an offset would belong to either")
    orders = [sorted(tensors, key=key) for key in ORDERS.values()]
    arenas = [best_fit(order, alignment) for order in orders]
    best = min(range(len(orders)), key=lambda i: arenas[i].size)
    return climbed(orders[best], arenas[best], alignment)


def climbed(order: list[Tensor], arena: Arena, alignment: int = ALIGNMENT) -> Arena:
    """Improve an arena: a tensor that reaches above the lower bound changes its turn.

    It swaps with one that lives at the same time, or moves to its turn; what is not worse stays
    (hill climbing over plateaus). Ends at the lower bound, or after ``TRIES``.
    """
    rng = random.Random(0)
    goal = lower_bound(order, alignment)
    for _ in range(TRIES):
        if arena.size == goal:
            break
        places = arena.offsets
        high = [t for t in order if places[t.name] + aligned(t.size, alignment) > goal]
        tensor = rng.choice(high)
        turn = order.index(tensor)
        other = rng.choice([i for i, one in enumerate(order) if one.meets(tensor)])
        changed = list(order)
        if rng.random() < 0.5:
            changed[turn], changed[other] = changed[other], changed[turn]
        else:
            changed.insert(other, changed.pop(turn))
        found = best_fit(changed, alignment)
        if found.size <= arena.size:
            order, arena = changed, found
    return arena


def overlapping(tensors: Sequence[Tensor], arena: Arena) -> list[tuple[str, str]]:
    """Pairs of tensors that live at the same time and share bytes: none in a correct arena."""
    found = []
    for i, one in enumerate(tensors):
        low = arena.offsets[one.name]
        for other in tensors[i + 1:]:
            start = arena.offsets[other.name]
            if one.meets(other) and low < start + other.size and start < low + one.size:
                found.append((one.name, other.name))
    return found
