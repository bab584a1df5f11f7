"""Channels in numbers that integer kernels like.

The problem: 8-bit kernels work on blocks of 16 output channels and 4 bytes of the sum; a
convolution with 10 output channels takes more than twice the time of one with 16, since the
remainder is computed value by value. Small detectors are full of such layers, which is why "INT8
is slower". The idea: fill up with channels whose weights are zero. They compute zeros, which
nobody reads: the network's function does not change.

    conv 20 -> 10      weights [10, 20, 1, 1]      [16, 20, 1, 1], the last 6 zero
    relu                                           0 stays 0
    conv 10 -> 32      weights [32, 10, 3, 3]      [32, 16, 3, 3], zero for the new inputs

Between the two only such operators may lie that treat every channel alike, and whatever an Add or
Mul joins must have the same number of channels: one channel that is spread over 16 would end up as
one channel and 15 of zeros. Channels that are counted elsewhere (a Reshape, a Concat, the sizes of
a Resize, the network's own inputs and outputs) stay as they are.
"""

import numpy as np

from solutions.phase2_optimization.graph_preparation import infer_shapes
from solutions.phase2_optimization.onnx_rewrite import Model, Node, OnnxGraph, attribute
from solutions.phase2_optimization.shared_scales import TiedTensors

BLOCK = 16  # output channels that ONNX Runtime's kernels compute at once
STEP = 8  # beyond one block
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
        read_by_it = node.input[0] in graph.producer and source not in fixed
        columns = aligned(weights.shape[1]) - weights.shape[1] if read_by_it else 0
        if rows or columns:
            _fill(graph, node, rows, columns)
    return infer_shapes(graph.to_model())


def aligned(channels: int) -> int:
    """The number of channels to compute instead: 8, 16, 24, 32, ... but 16 for 9."""
    return -(-channels // STEP) * STEP


def _is_plain_conv(graph: OnnxGraph, node: Node) -> bool:
    """Whether a convolution's weights and bias are its own constants, each for all channels."""
    constant = [name in graph.constants for name in node.input[1:] if name]
    return (
        node.op_type == "Conv"
        and all(constant)
        and attribute(node, "group", 1) == 1
        and graph.is_private(node.input[1])
    )


def _channels(graph: OnnxGraph, name: str) -> tuple[int, int] | None:
    """The number of channels of a tensor and of its axes, None where they are not known."""
    shape = graph.shape(name)
    if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        return None
    return shape[1], len(shape)


def _channel_groups(graph: OnnxGraph) -> tuple[TiedTensors, set[str]]:
    """Tensors that have the same channels, and the leaders of groups that must not change."""
    groups, fixed = TiedTensors(), set(graph.inputs) | graph.captured
    for node in graph.nodes:
        if _is_plain_conv(graph, node):
            continue
        if _keeps_channels(graph, node):
            groups.tie([*graph.activations(node), *node.output])
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


def _keeps_channels(graph: OnnxGraph, node: Node) -> bool:
    """Whether each channel of the output comes from the same one of every input, and no other."""
    moved = graph.activations(node)
    known = {_channels(graph, name) for name in (*moved, *node.output)}
    if len(known) != 1 or None in known or len(node.output) != 1:
        return False
    if node.op_type in ("Add", "Mul"):
        return len(moved) == 2 and moved[0] != moved[1]
    sized = node.op_type == "Resize" and len(node.input) > 3
    return node.op_type in POINTWISE and len(moved) == 1 and not sized


def _cuts_channels(graph: OnnxGraph, node: Node) -> bool:
    """Whether a node takes a fixed part of the channels, so that more of them do not matter."""
    if node.op_type != "Slice" or len(node.input) < 4:
        return False
    known = _channels(graph, node.input[0])
    starts, ends, axes = (graph.constants.get(name) for name in node.input[1:4])
    if starts is None or ends is None or axes is None or known is None or axes.tolist() != [1]:
        return False
    steps = graph.constants.get(node.input[4]) if len(node.input) > 4 else np.ones(1)
    return bool(steps is not None and steps[0] > 0 and 0 <= starts[0] < ends[0] <= known[0])


def _bound_slices(graph: OnnxGraph) -> None:
    """Let slices of a convolution's last channels say where these end."""
    for node in graph.nodes:
        maker = graph.producer.get(node.input[0]) if node.op_type == "Slice" else None
        if maker is None or not _is_plain_conv(graph, maker) or len(node.input) < 4:
            continue
        ends, axes = graph.constants.get(node.input[2]), graph.constants.get(node.input[3])
        count = len(graph.constants[maker.input[1]])
        if ends is not None and axes is not None and axes.tolist() == [1] and ends[0] > count:
            channels = np.array([count], ends.dtype)
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
