"""The three parts of an attention that are looked for one by one: scores, projection, output.

Each is read from the graph into plain arrays, or refused.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.graph_passes.index_maps import moved, static_shape
from solutions.phase2_optimization.graph_passes.linear_layer import read_layer
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

Floats = NDArray[np.float32]
FORWARD = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})


class Projection(NamedTuple):
    """x W + b: the tensor, weights [in, out] and bias [out]."""

    source: str
    weights: Floats
    bias: Floats


class Scores(NamedTuple):
    """softmax(scale * product + bias); the bias has the product's shape."""

    product: Node
    scale: float
    bias: Floats | None


def scores_of(graph: OnnxGraph, softmax: Node) -> Scores | None:
    """What a Softmax over keys is taken of, if a product with values alone reads it."""
    shape = static_shape(graph, softmax.input[0])
    if softmax.domain or shape is None or not _reads_values(graph, softmax):
        return None
    if attribute(softmax, "axis", -1) not in (-1, len(shape) - 1):
        return None
    steps: list[tuple[Node, int]] = []
    name = softmax.input[0]
    while (node := graph.producer.get(name)) is not None and graph.is_private(name):
        if node.op_type == "MatMul" and not node.domain:
            return _followed(graph, node, steps[::-1])
        place = _data_place(graph, node)
        if place is None:
            return None
        steps.append((node, place))
        name = node.input[place]
    return None


def projection_of(graph: OnnxGraph, name: str) -> Projection | None:
    """A tensor as x W + b with constant weights in single precision."""
    node, bias = graph.producer.get(name), None
    if node is not None and node.op_type == "Add" and not node.domain:
        place = 0 if node.input[0] in graph.constants else 1
        bias = graph.constants.get(node.input[place])
        node = graph.producer.get(node.input[1 - place])
        if bias is None or (node is not None and not graph.is_private(node.output[0])):
            return None
    if node is None or node.op_type not in ("MatMul", "Gemm") or attribute(node, "transA", 0):
        return None
    layer = read_layer(graph, node)
    if layer is None or layer.weights.dtype != np.float32:
        return None
    total = layer.bias if bias is None else layer.bias + bias.reshape(-1)
    if total.shape != layer.bias.shape:
        return None
    return Projection(node.input[0], layer.weights.T, total)


def joined_output(graph: OnnxGraph, name: str, sizes: tuple[int, ...]) -> str | None:
    """The last tensor after the product with values that holds [B, S, N * D] in order.

    ``sizes`` are B, S, N, D; ``name`` is the product [B, N, S, D] or [B * N, S, D].
    """
    batch, length, heads, depth = sizes
    shape = static_shape(graph, name)
    if shape is None or np.prod(shape) != np.prod(sizes):
        return None
    order = np.arange(np.prod(sizes), dtype=np.int32).reshape(batch, length, heads, depth)
    places = order.transpose(0, 2, 1, 3).reshape(shape)
    found: str | None = None
    while True:
        if (np.diff(places.reshape(-1)) == 1).all():
            found = name
        readers = graph.uses(name)
        if not graph.is_private(name) or readers[0].op_type not in FORWARD or readers[0].domain:
            return found
        name = readers[0].output[0]
        after = moved(graph, readers[0], name, places)
        if after is None:
            return found
        places = after


def _reads_values(graph: OnnxGraph, softmax: Node) -> bool:
    """Whether one product with values is all that reads the weights of attention."""
    name = softmax.output[0]
    reader = graph.uses(name)[0] if graph.is_private(name) else None
    return reader is not None and reader.op_type == "MatMul" and not reader.domain \
        and reader.input[0] == name and reader.input[1] != name


def _data_place(graph: OnnxGraph, node: Node) -> int | None:
    """Which input of a step between product and softmax carries the data."""
    if node.domain or node.op_type not in ("Add", "Mul", "Div", "Reshape", "Unsqueeze", "Squeeze"):
        return None
    if node.op_type in ("Reshape", "Unsqueeze", "Squeeze"):
        return 0
    constant = [name in graph.constants for name in node.input]
    if sum(constant) != 1 or (node.op_type == "Div" and constant[0]):
        return None
    place = constant.index(False)
    single = graph.scalar(node.input[1 - place]) is not None
    return place if single or node.op_type == "Add" else None


def _followed(graph: OnnxGraph, product: Node, steps: list[tuple[Node, int]]) -> Scores | None:
    """Scale and bias after all steps, in the product's own shape."""
    shape = static_shape(graph, product.output[0])
    scale, bias = 1.0, np.zeros((), np.float32)
    current = shape
    for node, place in steps:
        after = static_shape(graph, node.output[0])
        if current is None or after is None or np.prod(after) != np.prod(current):
            return None
        if node.op_type in ("Reshape", "Unsqueeze", "Squeeze"):
            bias = np.broadcast_to(bias, current).reshape(after)
        else:
            other = graph.constants[node.input[1 - place]]
            if node.op_type == "Add":
                bias = bias + other
            else:
                factor = float(other.reshape(())) ** (1 if node.op_type == "Mul" else -1)
                scale, bias = scale * factor, bias * np.float32(factor)
        current = after
    if shape is None or len(shape) not in (3, 4):
        return None
    if not bias.any():
        return Scores(product, scale, None)
    return Scores(product, scale, np.broadcast_to(bias, current or ()).reshape(shape))
