"""What is known about one layer of a network, whichever runtime ran it."""

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer of one prediction."""

    name: str
    kind: str  # Conv, Gemm, Conv2d, ...
    seconds: float  # median over the measured predictions, the layer's own time
    flops: int = 0  # two for a multiplication and an addition
    bytes_moved: int = 0  # inputs, weights and outputs, each counted once

    def __post_init__(self) -> None:
        assert self.seconds >= 0 and self.flops >= 0 and self.bytes_moved >= 0, self


@dataclass(frozen=True)
class Operation:
    """One step of a network and the activations that it touches, by name."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def top_layers(layers: list[Layer], k: int = 10) -> list[Layer]:
    """The k slowest layers, slowest first; equal ones in the network's order."""
    return sorted(layers, key=lambda layer: -layer.seconds)[:k]
