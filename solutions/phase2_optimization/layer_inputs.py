"""What the layers of a network see: means and second moments of their inputs, batch by batch.

Two techniques need no more of the data than this: bias correction the means, AdaRound the moments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from solutions.phase2_optimization.observation import Batches, activations
from solutions.phase2_optimization.onnx_rewrite import Array, Model, Node, OnnxGraph, attribute
from zoo.errors import InferenceError

Floats = NDArray[np.floating]
MOST_ROWS = 4096  # of windows that one batch adds to the moments
MOST_SIZE = 2304  # of a window whose moments are kept: 42 MB per layer


@dataclass
class Seen:
    """The sums of one layer's windows; ``mean`` and ``moment`` divide by their number.

    A window is what one output value is computed from: in the layout of a row of the weights.
    Grouped convolutions have one matrix per group.
    """

    count: int
    total: Floats  # [groups, size]
    products: Floats | None  # [groups, size, size], where they were asked for

    @property
    def mean(self) -> Floats:
        """E[x], float64 [groups, size]."""
        return self.total / max(self.count, 1)

    @property
    def moment(self) -> Floats:
        """E[x x^T], float64 [groups, size, size]."""
        assert self.products is not None, "observe_layers(..., moments=True) keeps them"
        return self.products / max(self.count, 1)


def windows(node: Node, weights: Array, x: Floats, rng: np.random.Generator) -> Floats:
    """What a layer's outputs are computed from, [groups, rows, size], at most MOST_ROWS rows.

    ``x``: the layer's input. Rows are drawn without replacement where there are more.
    """
    if node.op_type != "Conv":
        flat = x.reshape(1, -1, x.shape[-1])
        return _drawn(flat, rng)
    spatial = weights.ndim - 2
    strides = attribute(node, "strides", [1] * spatial)
    dilations = attribute(node, "dilations", [1] * spatial)
    edges = _pads(node, weights.shape[2:], x.shape[2:], strides, dilations)
    padded = np.pad(x, [(0, 0), (0, 0), *edges])
    reach = [(k - 1) * d + 1 for k, d in zip(weights.shape[2:], dilations, strict=True)]
    axes = tuple(range(2, 2 + spatial))
    views = sliding_window_view(padded, reach, axis=axes)
    steps = [slice(None, None, step) for step in (*strides, *dilations)]
    views = np.moveaxis(views[(slice(None), slice(None), *steps)], 1, 1 + spatial)
    # views: [n, positions..., channels, kernel...]
    positions = int(np.prod(views.shape[: 1 + spatial]))
    chosen = np.arange(positions)
    if positions > MOST_ROWS:
        chosen = np.sort(rng.choice(positions, MOST_ROWS, replace=False))
    rows = views[np.unravel_index(chosen, views.shape[: 1 + spatial])]
    groups = attribute(node, "group", 1)
    grouped = rows.reshape(len(rows), groups, -1)
    return np.ascontiguousarray(grouped.swapaxes(0, 1))


def _pads(
    node: Node, kernel: Sequence[int], size: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """Zeros before and after each spatial axis."""
    kind = attribute(node, "auto_pad", "NOTSET")
    if kind in ("NOTSET", "VALID"):
        count = len(kernel)
        pads = attribute(node, "pads", [0] * 2 * count) if kind == "NOTSET" else [0] * 2 * count
        return [(pads[i], pads[i + count]) for i in range(count)]
    edges = []
    for k, n, s, d in zip(kernel, size, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        less, more = total // 2, total - total // 2
        edges.append((less, more) if kind == "SAME_UPPER" else (more, less))
    return edges


def _drawn(rows: Floats, rng: np.random.Generator) -> Floats:
    if rows.shape[1] <= MOST_ROWS:
        return rows
    return rows[:, np.sort(rng.choice(rows.shape[1], MOST_ROWS, replace=False))]


def observe_layers(
    model: Model, batches: Batches, names: Sequence[str], moments: bool, seed: int = 0
) -> dict[str, Seen]:
    """Sums of what the named Conv, Gemm and MatMul nodes of a prepared float model see.

    With ``moments``, layers whose windows are larger than MOST_SIZE are left out. Raises
    InferenceError where there are no data.
    """
    graph = OnnxGraph(model)
    nodes = {n.name: n for n in graph.nodes if n.name in set(names)}
    if moments:
        nodes = {k: n for k, n in nodes.items() if window_size(graph, n) <= MOST_SIZE}
    rng = np.random.default_rng(seed)
    seen: dict[str, Seen] = {}
    batch_count = 0
    for values in activations(model, batches, [node.input[0] for node in nodes.values()]):
        batch_count += 1
        for name, node in nodes.items():
            weights = graph.constants[node.input[1]]
            rows = windows(node, weights, values[node.input[0]], rng).astype(np.float32)
            groups, count, size = rows.shape
            if name not in seen:
                products = np.zeros((groups, size, size)) if moments else None
                seen[name] = Seen(0, np.zeros((groups, size)), products)
            so_far = seen[name]
            so_far.count += count
            so_far.total += rows.sum(axis=1, dtype=np.float64)
            if so_far.products is not None:
                so_far.products += np.matmul(rows.swapaxes(1, 2), rows)
    if not batch_count:
        raise InferenceError("calibration got no data: give at least one batch")
    return seen


def window_size(graph: OnnxGraph, node: Node) -> int:
    """How many numbers one output value is computed from."""
    weights = graph.constants[node.input[1]]
    return int(weights_as_rows(node, weights).shape[-1])


def weights_as_rows(node: Node, weights: Array) -> Array:
    """Weights with one row per output: [groups, outputs of a group, size]."""
    if node.op_type == "Conv":
        groups = attribute(node, "group", 1)
        return weights.reshape(groups, len(weights) // groups, -1)
    transposed = node.op_type == "Gemm" and attribute(node, "transB", 0)
    return (weights if transposed else weights.T)[None]


def rows_as_weights(node: Node, rows: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of :func:`weights_as_rows`: weights of ``shape``."""
    if node.op_type == "Conv" or attribute(node, "transB", 0):
        return rows.reshape(shape)
    return np.ascontiguousarray(rows[0].T)
