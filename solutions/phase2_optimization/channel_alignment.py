"""Channels in numbers that integer kernels like.

The problem: 8-bit kernels work on blocks of 16 output channels and 4 bytes of the sum; a
convolution with 10 output channels takes more than twice the time of one with 16, since the
remainder is computed value by value. Small detectors are full of such layers, which is why "INT8
is slower". The idea: fill up with channels whose weights are zero. They compute zeros, which
nobody reads: the network's function does not change.

    conv 20 -> 10      weights [10, 20, 1, 1]      [16, 20, 1, 1], the last 6 zero
    relu                                           0 stays 0
    conv 10 -> 32      weights [32, 10, 3, 3]      [32, 16, 3, 3], zero for the new inputs

The first layer's 3 input channels cannot be filled up; there the kernel gets a column of zeros
(3x3 becomes 3x4), so that its 36 bytes divide by 4.
"""

import numpy as np

from solutions.phase2_optimization.graph_preparation import infer_shapes
from solutions.phase2_optimization.onnx_rewrite import Model, Node, OnnxGraph, attribute
from solutions.phase2_optimization.shared_scales import TiedTensors

BLOCK = 16  # output channels that ONNX Runtime's kernels compute at once
STEP = 8  # beyond one block
TO_THE_END = 1 << 30  # a Slice that ends here or later ends where its input ends
POINTWISE = frozenset({"Relu", "Clip", "Sigmoid", "LeakyRelu", "Resize", "MaxPool", "AveragePool"})


def align_channels(model: Model) -> Model:
    """A copy of a prepared float model with filled-up channels; its outputs stay the same."""
    graph = OnnxGraph(model)
    _bound_slices(graph)
    groups, fixed = _channel_groups(graph)
    for node in graph.nodes:
        if not _is_plain_conv(graph, node):
            continue
        weights = graph.constants[node.input[1]]
        leader = groups.leader(node.output[0])
        rows = 0 if leader in fixed else aligned(len(weights)) - len(weights)
        source = groups.leader(node.input[0])
        columns = 0 if source in fixed else aligned(weights.shape[1]) - weights.shape[1]
        if rows or columns:
            _fill(graph, node, rows, columns)
    return infer_shapes(graph.to_model())


def aligned(channels: int) -> int:
    """The number of channels to compute instead: 8, 16, 24, 32, ... but 16 for 9."""
    return -(-channels // STEP) * STEP


def _is_plain_conv(graph: OnnxGraph, node: Node) -> bool:
    return (
        node.op_type == "Conv"
        and node.input[1] in graph.constants
        and attribute(node, "group", 1) == 1
        and len(graph.uses(node.input[1])) == 1
    )


def _channel_groups(graph: OnnxGraph) -> tuple[TiedTensors, set[str]]:
    """Tensors that have the same channels, and the leaders of groups that must not change."""
    groups, fixed = TiedTensors(), set(graph.inputs) | graph.captured
    for node in graph.nodes:
        if _is_plain_conv(graph, node):
            continue
        moved = graph.activations(node)
        tied = node.op_type in POINTWISE or (node.op_type in ("Add", "Mul") and len(moved) == 2)
        if tied and len(moved) == len(set(moved)):
            groups.tie([*moved, *node.output])
        elif _cuts_channels(graph, node):
            fixed.update(node.output)
        else:
            fixed.update((*node.input, *node.output))
    fixed.update(graph.outputs)
    made = {node.output[0] for node in graph.nodes if _is_plain_conv(graph, node)}
    sources: dict[str, set[str]] = {}
    for name in {*graph.producer, *graph.inputs}:
        sources.setdefault(groups.leader(name), set()).add(name)
    broken = {leader for leader, names in sources.items() if names & fixed or not names & made}
    return groups, broken


def _cuts_channels(graph: OnnxGraph, node: Node) -> bool:
    """Whether a node takes a fixed part of the channels, so that more of them do not matter."""
    if node.op_type != "Slice" or len(node.input) < 4:
        return False
    starts, ends, axes = (graph.constants.get(name) for name in node.input[1:4])
    if starts is None or ends is None or axes is None or axes.tolist() != [1]:
        return False
    return bool(0 <= starts[0] < ends[0] < TO_THE_END)


def _bound_slices(graph: OnnxGraph) -> None:
    """Let slices of a convolution's last channels say where these end."""
    for node in graph.nodes:
        maker = graph.producer.get(node.input[0]) if node.op_type == "Slice" else None
        if maker is None or not _is_plain_conv(graph, maker) or len(node.input) < 4:
            continue
        ends, axes = graph.constants.get(node.input[2]), graph.constants.get(node.input[3])
        if ends is not None and axes is not None and axes.tolist() == [1] and ends[0] >= TO_THE_END:
            channels = np.array([len(graph.constants[maker.input[1]])], ends.dtype)
            node.input[2] = graph.set_constant(f"{node.name}/end", channels)


def _fill(graph: OnnxGraph, node: Node, rows: int, columns: int) -> None:
    """Zero weights for further output channels (rows) and input channels (columns)."""
    weights = graph.constants[node.input[1]]
    spatial = [(0, 0)] * (weights.ndim - 2)
    graph.set_constant(node.input[1], np.pad(weights, [(0, rows), (0, columns), *spatial]))
    if rows and len(node.input) > 2 and node.input[2]:
        name = f"{node.name}/filled_bias"
        graph.set_constant(name, np.pad(graph.constants[node.input[2]], (0, rows)))
        node.input[2] = name
