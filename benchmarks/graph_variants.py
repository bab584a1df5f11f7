"""One graph in every optimizer's version: how long that took, how large it is, whether it is equal.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.onnx_sessions import OFF, relative_difference, session
from benchmarks.peers.optimizers import SLIM, Optimizer
from solutions.phase2_optimization.onnx_rewrite import Model

Array = NDArray[Any]
UNTOUCHED = "untouched"
OURS = "ours"  # with the fused operators that ONNX Runtime knows
PORTABLE = "ours, portable"  # standard operators only
PATIENCE = 3.0  # seconds: an optimizer that takes longer is timed once
TIMES = 3


@dataclass(frozen=True)
class Variant:
    """What one optimizer made of a graph; without a model where it failed."""

    name: str
    model: Model | None
    nodes: int = 0  # those of subgraphs included
    size: int = 0  # bytes
    seconds: list[float] = field(default_factory=list)  # of the processor, to optimize, by runs
    difference: float = np.inf  # of the outputs, relative to the untouched graph's
    note: str = ""  # why there is no model, or no output


def variants(
    model: Model, optimizers: Mapping[str, Optimizer], feeds: Mapping[str, Array]
) -> dict[str, Variant]:
    """The untouched graph and each optimizer's, the outputs compared."""
    expected = session(model, OFF).run(None, feeds)
    found = {UNTOUCHED: Variant(UNTOUCHED, model, count_nodes(model), model.ByteSize(), [], 0.0)}
    seconds: dict[str, list[float]] = {name: [] for name in optimizers}
    for name, optimize in optimizers.items():
        found[name] = _variant(name, optimize, model, expected, feeds, seconds[name])
    for _ in range(TIMES - 1):
        for name in (OURS, SLIM):  # those whose times are compared take turns
            if len(seconds.get(name, ())) and seconds[name][0] < PATIENCE:
                start = time.process_time()
                optimizers[name](model)
                seconds[name].append(time.process_time() - start)
    return found


def _variant(
    name: str, optimize: Optimizer, model: Model, expected: list[Array],
    feeds: Mapping[str, Array], seconds: list[float],
) -> Variant:
    start = time.process_time()
    try:
        made = optimize(model)
    except Exception as error:  # a peer's fault is a row, not the end of the suite
        return Variant(name, None, note=f"fails: {_line(error)}")
    seconds.append(time.process_time() - start)
    nodes, size = count_nodes(made), made.ByteSize()
    try:
        outputs = session(made, OFF).run(None, feeds)
    except Exception as error:
        return Variant(name, None, nodes, size, seconds, note=f"does not run: {_line(error)}")
    return Variant(name, made, nodes, size, seconds, relative_difference(outputs, expected))


def count_nodes(model: Model) -> int:
    """The nodes of the graph and of its subgraphs and functions."""
    return sum(1 for graph in (model.graph, *model.functions) for _ in _nodes(graph))


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for item in node.attribute:
            for inner in ([item.g] if item.HasField("g") else []) + list(item.graphs):
                yield from _nodes(inner)


def random_feeds(model: Model, high: float) -> dict[str, Array]:
    """Uniform inputs in 0 to ``high``; sizes that the graph leaves open are 1."""
    rng = np.random.default_rng(11)
    return {
        value.name: rng.uniform(
            0, high, [size if isinstance(size, int) else 1 for size in value.shape]
        ).astype(np.float32)
        for value in session(model, OFF).get_inputs()
    }


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]
