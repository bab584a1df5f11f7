"""Which tensors of a graph exist in the blocked layout, too, and how they are brought there.

While a graph is rewritten, a tensor may have a *twin*: the same numbers in NCHWc. An operator that
can compute on blocks asks for the twins of its inputs and leaves a twin of its output; what still
needs the plain tensor gets it by one ReorderOutput at the end.

A twin's channels need not lie densely: where tensors of 24 and 8 channels are concatenated, blocks
of 16 leave a gap, and ``places`` says where each channel lies:

    places    0 ... 23  | 32 ... 39
    blocks    [ 16 ][ 8, 8 filled ][ 8, 8 filled ]
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.graph_passes.blocked_weights import DOMAIN, padded_channels
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

TO_CHANNELS_FIRST = [0, 3, 1, 2]
GRANULE = 4  # ReorderInput takes channels by fours


class Twin(NamedTuple):
    """A tensor in the blocked layout."""

    name: str
    places: NDArray[np.int64]  # [channels], where each channel lies
    width: int  # channels with all filling

    @property
    def channels(self) -> int:
        """Channels that mean something."""
        return len(self.places)

    @property
    def is_dense(self) -> bool:
        """Whether all filling stands at the end."""
        return bool(self.places[-1] == len(self.places) - 1)


class BlockedTensors:
    """The twins of a graph's tensors."""

    def __init__(self, graph: OnnxGraph, block: int) -> None:
        self.graph, self.block = graph, block
        self.twins: dict[str, Twin] = {}
        self.converted: list[Node] = []

    def shape(self, name: str) -> tuple[int | str | None, ...]:
        """A plain tensor's shape, () where it is not known."""
        return self.graph.shape(name) or ()

    def dense(self, name: str, channels: int) -> Twin:
        """A twin without gaps."""
        return Twin(name, np.arange(channels), padded_channels(channels, self.block))

    def convert(self, node: Node, *twins: Twin) -> None:
        """Note that ``node`` is replaced: ``twins`` hold what it computed."""
        self.twins.update(zip(node.output, twins, strict=True))
        self.converted.append(node)

    def reordered(self, name: str) -> Twin | None:
        """The twin of a tensor, made by ReorderInput where there is none; None if impossible."""
        found = self.twins.get(name)
        if found is not None:
            return found
        shape = self.shape(name)
        channels = shape[1] if len(shape) == 4 else None
        if not isinstance(channels, int) or channels % GRANULE or not self._is_float(name):
            return None
        if channels % self.block == 0 and shape[2:] == (1, 1):
            twin = self.dense(name, channels)  # one pixel: both layouts are the same
        else:
            twin = self.dense(self._reorder(name), channels)
        self.twins[name] = twin
        return twin

    def finish(self) -> None:
        """Bring back what plain readers need; take out the operators that were replaced."""
        gone = {id(node) for node in self.converted}
        for name in [name for node in self.converted for name in node.output]:
            twin = self.twins[name]
            readers = [user for user in self.graph.uses(name) if id(user) not in gone]
            if readers or self.graph.is_pinned(name):
                self.graph.replace(name, self._plain(name, twin))
        self.graph.discard([node for node in self.converted if self.graph.has(node)])

    def _reorder(self, name: str) -> str:
        source = self.graph.producer.get(name)
        if source is not None and source.op_type == "Transpose" and not source.domain \
                and attribute(source, "perm") == TO_CHANNELS_FIRST:
            node = self.graph.add("ReorderInput", [source.input[0]], domain=DOMAIN,
                                  channels_last=1)
        else:
            node = self.graph.add("ReorderInput", [name], domain=DOMAIN)
        return str(node.output[0])

    def _plain(self, name: str, twin: Twin) -> str:
        """A plain tensor from a twin; what lies in gaps is brought back, too, and left out."""
        if not twin.is_dense:
            whole = self.graph.add("ReorderOutput", [twin.name], domain=DOMAIN,
                                   channels=twin.width)
            places = self.graph.constant("places", twin.places)
            return str(self.graph.add("Gather", [whole.output[0], places], axis=1).output[0])
        if twin.channels == twin.width and self.shape(name)[2:] == (1, 1):
            return twin.name
        node = self.graph.add("ReorderOutput", [twin.name], domain=DOMAIN, channels=twin.channels)
        return str(node.output[0])

    def _is_float(self, name: str) -> bool:
        return self.graph.dtype(name) == np.float32
