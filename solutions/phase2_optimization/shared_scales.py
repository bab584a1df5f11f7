"""Tensors that must be quantized with the same scale.

A pooling, a resize, a reshape or a concatenation only moves numbers. When what goes in and what
comes out have one scale, the integers themselves move and nothing is computed or lost; else every
value would be scaled anew. So the tensors around such nodes are tied into groups, and a group's
range is the union of its members' ranges.

A concatenation is the exception: its kernels can give each input a scale of its own. There a tensor
behind a Relu or Clip joins the others only where their range stays within what the clamp lets
through (``clamps``). Residual additions share nothing: their kernels take a scale per side.
"""

from collections.abc import Iterable, Mapping, Sequence

from solutions.phase2_optimization.calibration import Range
from solutions.phase2_optimization.clamps import overlap


class TiedTensors:
    """Groups of names that grow together (a disjoint-set forest, Tarjan 1975)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def leader(self, name: str) -> str:
        """The name that stands for the group of ``name``."""
        path = []
        while (parent := self._parent.get(name, name)) != name:
            path.append(name)
            name = parent
        for passed in path:
            self._parent[passed] = name
        return name

    def tie(self, names: Iterable[str]) -> None:
        """Join the groups of these names."""
        first, *others = [self.leader(name) for name in names] or [""]
        for other in others:
            self._parent[self.leader(other)] = self.leader(first)


def tie_within_limits(
    tied: TiedTensors, joined: Iterable[Sequence[str]], ranges: Mapping[str, Range],
    limits: Mapping[str, Range],
) -> None:
    """Tie each first name to those of the others whose clamps allow the range of both groups.

    ``limits``: what the clamp before a tensor lets through, where there is one.
    """
    for first, *others in joined:
        for other in others:
            shared = shared_ranges(ranges, tied)
            allowed = shared_limits(limits, tied)
            both = [shared[first], shared[other]]
            union = Range(min(r.low for r in both), max(r.high for r in both))
            limit = overlap([allowed[tied.leader(n)] for n in (first, other)
                             if tied.leader(n) in allowed])
            if limit.low <= union.low and union.high <= limit.high:
                tied.tie([first, other])


def shared_limits(limits: Mapping[str, Range], tied: TiedTensors) -> dict[str, Range]:
    """What every clamp of a group lets through, by the group's leader."""
    groups: dict[str, list[Range]] = {}
    for name, limit in limits.items():
        groups.setdefault(tied.leader(name), []).append(limit)
    return {leader: overlap(found) for leader, found in groups.items()}


def shared_ranges(ranges: Mapping[str, Range], tied: TiedTensors) -> dict[str, Range]:
    """For each tensor the union of the ranges of its group."""
    united: dict[str, Range] = {}
    for name, found in ranges.items():
        known = united.get(tied.leader(name), found)
        union = Range(min(known.low, found.low), max(known.high, found.high))
        united[tied.leader(name)] = union
    return {name: united[tied.leader(name)] for name in ranges}
