"""Tensors that must be quantized with the same scale.

A pooling, a resize, a reshape or a concatenation only moves numbers. When what goes in and what
comes out have one scale, the integers themselves move and nothing is computed or lost; else every
value would be scaled anew. So the tensors around such nodes are tied into groups, and a group's
range is the union of its members' ranges.
"""

from collections.abc import Iterable, Mapping

from solutions.phase2_optimization.calibration import Range


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


def shared_ranges(ranges: Mapping[str, Range], tied: TiedTensors) -> dict[str, Range]:
    """For each tensor the union of the ranges of its group."""
    united: dict[str, Range] = {}
    for name, found in ranges.items():
        known = united.get(tied.leader(name), found)
        union = Range(min(known.low, found.low), max(known.high, found.high))
        united[tied.leader(name)] = union
    return {name: united[tied.leader(name)] for name in ranges}
