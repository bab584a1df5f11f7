"""Random graphs full of what an optimizer looks for: a program of small numbers makes a model.

Each instruction (operator, first operand, second operand, variant) adds a node or a few to the
tensors made so far; numbers are taken modulo what there is, so that every program is a valid one,
and shorter programs make smaller graphs.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

UNARY = ("Relu", "Neg", "Abs", "Sigmoid", "Identity", "Exp", "Not2", "Dropout")
BINARY = ("Add", "Sub", "Mul", "Max", "Min")
NEUTRAL = (("Add", 0.0), ("Sub", 0.0), ("Mul", 1.0), ("Div", 1.0), ("Mul", 0.5), ("Add", 2.0))
BATCH = 2  # what the free axis of the input becomes
Instruction = tuple[int, int, int, int]
Kind = Callable[["RandomGraph", str, str, int], str | None]


class RandomGraph:
    """A model that grows; the values are computed along, so that every shape is known."""

    def __init__(self, *sizes: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.sizes = sizes or (3, 4)
        rng = np.random.default_rng(5)
        self.feeds = {"x": rng.normal(size=(BATCH, *self.sizes)).astype(np.float32)}
        self.values = dict(self.feeds)
        self.floats = ["x"]

    def constant(self, values: object, dtype: type = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = self.values[name] = np.asarray(values, dtype)
        return name

    def node(self, op_type: str, *inputs: str, **attributes: object) -> str:
        made = f"t{len(self.nodes)}"
        node = helper.make_node(op_type, list(inputs), [made], **attributes)
        feeds = {name: self.values[name] for name in inputs if name}
        self.values[made] = ReferenceEvaluator(_single(node, feeds)).run(None, feeds)[0]
        self.nodes.append(node)
        return made

    def tensor(self, number: int) -> str:
        return self.floats[-1 - number % len(self.floats)]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def run(
        self, program: list[Instruction], kinds: Sequence[Kind] | None = None
    ) -> "RandomGraph":
        chosen = kinds or KINDS
        for operator, first, second, variant in program:
            kind = chosen[operator % len(chosen)]
            made = kind(self, self.tensor(first), self.tensor(second), variant)
            if made is not None and self.values[made].size <= 4096:
                self.floats.append(made)
        return self

    def model(self) -> onnx.ModelProto:
        outputs = list(dict.fromkeys([self.floats[-1], self.floats[len(self.floats) // 2]]))
        if outputs == ["x"]:
            outputs = [self.node("Neg", "x")]
        outputs = [name for name in outputs if name != "x"]
        graph = helper.make_graph(
            self.nodes, "random", [helper.make_tensor_value_info("x", 1, ["N", *self.sizes])],
            [helper.make_tensor_value_info(n, 1, [None] * self.values[n].ndim) for n in outputs],
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()])
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _single(node: onnx.NodeProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph([node], "one", [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        for name, values in feeds.items()],
        [helper.make_empty_tensor_value_info(node.output[0])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def unary(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    op_type = UNARY[variant % len(UNARY)]
    if op_type == "Not2":
        return graph.node("Neg", graph.node("Neg", a))
    if op_type == "Exp" and np.abs(graph.values[a]).max(initial=0) > 4:
        return None
    return graph.node(op_type, a)


def binary(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    try:
        np.broadcast_shapes(graph.shape(a), graph.shape(b))
    except ValueError:
        return None
    if max(np.abs(graph.values[name]).max(initial=0) for name in (a, b)) > 1e3:
        return None
    return graph.node(BINARY[variant % len(BINARY)], a, b)


def with_constant(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    op_type, value = NEUTRAL[variant % len(NEUTRAL)]
    rank = graph.values[a].ndim
    shape = [(), (1,) * rank, graph.shape(a)[rank // 2:], (1,) * (rank + 1)][variant // 6 % 4]
    if shape and BATCH in shape[: len(shape) - rank + 1]:
        shape = ()  # the free axis has no size to write down
    return graph.node(op_type, a, graph.constant(np.full(shape, value), np.float32))


def transposed(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    perm = np.random.default_rng(variant).permutation(graph.values[a].ndim)
    return graph.node("Transpose", a, perm=[int(axis) for axis in perm])


def reshaped(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    """To a list, to another split, with or without the own shape asked for."""
    size, rank = graph.values[a].size, graph.values[a].ndim
    if variant % 5 == 0:
        return graph.node("Reshape", a, graph.constant([-1]))
    if variant % 5 == 1 and rank:
        return graph.node("Flatten", a, axis=variant % (rank + 1))
    if variant % 5 == 2:
        return graph.node("Unsqueeze", a, graph.constant([variant % (rank + 1)]))
    if variant % 5 == 3 and 1 in graph.shape(a):
        return graph.node("Squeeze", a, graph.constant([graph.shape(a).index(1)]))
    last = math.gcd(size, 6) or 1
    return graph.node("Reshape", a, graph.constant([-1, last]))


def like_another(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    """A target that is computed at run time from a shape."""
    if not graph.values[a].ndim or not graph.values[a].size:
        return None
    shape = graph.node("Shape", a)
    first = graph.node("Gather", shape, graph.constant(0))
    listed = graph.node("Unsqueeze", first, graph.constant([0]))
    target = graph.node("Concat", listed, graph.constant([-1]), axis=0)
    if variant % 2:
        return graph.node("Reshape", a, target)
    return graph.node("Reshape", graph.node("Reshape", a, graph.constant([-1])), shape)


def sliced(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    rank = graph.values[a].ndim
    if not rank:
        return None
    axis = variant % rank
    start, end, step = [(0, 1 << 62, 1), (1, 3, 1), (0, -1, 1), (-1, -100, -1), (0, 9, 2)][
        variant // 3 % 5]
    made = graph.node("Slice", a, *(graph.constant([n]) for n in (start, end, axis, step)))
    return made if graph.values[made].size else None


def joined(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    rank = graph.values[a].ndim
    if not rank:
        return None
    axis = variant % rank
    shapes = [list(graph.shape(name)) for name in (a, b)]
    if len(shapes[1]) != rank:
        return graph.node("Concat", a, axis=axis)
    shapes[0][axis] = shapes[1][axis]
    return graph.node("Concat", a, b, axis=axis) if shapes[0] == shapes[1] else None


def recast(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    between = (TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.FLOAT16)[variant % 3]
    return graph.node("Cast", graph.node("Cast", a, to=between), to=TensorProto.FLOAT)


def reduced(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    rank = graph.values[a].ndim
    if not rank:
        return None
    op_type = ("ReduceMax", "ReduceMean", "ReduceMin")[variant % 3]
    return graph.node(op_type, a, axes=[variant % rank], keepdims=variant // 3 % 2)


def expanded(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    try:
        shape = np.broadcast_shapes(graph.shape(a), graph.shape(b))
    except ValueError:
        return None
    if shape != graph.shape(b):
        return None
    wide = graph.node("Expand", a, graph.node("Shape", b))
    return graph.node("Add", wide, b) if variant % 2 else wide


def padded(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    pads = [0] * (2 * graph.values[a].ndim)
    if pads and variant % 2:
        pads[variant % len(pads)] = 1
    return graph.node("Pad", a, graph.constant(pads))


def weighted(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    """A matrix product with one of three weights, two of which are equal."""
    if graph.values[a].ndim < 2 or not graph.values[a].size:
        return None
    rng = np.random.default_rng(variant % 3 // 2)
    weights = rng.normal(0, 0.3, (graph.shape(a)[-1], 3))
    made = graph.node("MatMul", a, graph.constant(weights, np.float32))
    if variant % 2:
        made = graph.node("Add", made, graph.constant([0.1, 0.2, 0.3], np.float32))
    return made


KINDS = (unary, binary, with_constant, transposed, reshaped, like_another, sliced, joined, recast,
         reduced, expanded, padded, weighted)
