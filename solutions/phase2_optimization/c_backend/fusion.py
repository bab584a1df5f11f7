"""Which nodes become one kernel: a layer and what is done to its result on the spot.

A group starts at a layer (convolution, pool, matrix product, ...) or at a tensor, and takes in the
elementwise nodes behind it as long as nobody else reads what lies between. x * sigmoid(x), where
two nodes read x, is taken in as one function.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from solutions.phase2_optimization.c_backend.pointwise import Pointwise
from solutions.phase2_optimization.fixed_shapes import TensorShape
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute
from zoo.errors import InferenceError

PLAIN_UNARY = {
    "Relu": "relu", "Neg": "neg", "Abs": "abs", "Exp": "exp", "Sigmoid": "sigmoid", "Tanh": "tanh",
    "Erf": "erf", "HardSwish": "hard_swish", "Sqrt": "sqrt", "Log": "log", "Softplus": "softplus",
    "Reciprocal": "reciprocal",
}
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Min": "min", "Max": "max",
          "PRelu": "prelu"}
ELEMENTWISE = frozenset({
    *PLAIN_UNARY, *BINARY, "Clip", "LeakyRelu", "HardSigmoid", "Elu", "Gelu", "Pow",
    "BatchNormalization",
})
FUSIBLE = frozenset({"Conv", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool",
                     "GlobalMaxPool"})


@dataclass(frozen=True)
class Group:
    """Nodes that run as one: ``layer`` (None: elementwise only), then ``chain``."""

    nodes: tuple[Node, ...]
    layer: Node | None
    source: str  # what the chain starts from
    chain: tuple[Pointwise, ...]
    output: str

    @property
    def node(self) -> Node:
        """The layer, of a group that has one."""
        assert self.layer is not None
        return self.layer


def grouped(graph: OnnxGraph, shapes: Mapping[str, TensorShape]) -> list[Group]:
    """All nodes of a graph in groups, in an order in which they can run."""
    taken: set[int] = set()
    found: list[tuple[int, Group]] = []
    places = {id(node): place for place, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if id(node) in taken:
            continue
        group = _group(graph, shapes, node, taken)
        taken |= {id(member) for member in group.nodes}
        found.append((max(places[id(member)] for member in group.nodes), group))
    return [group for _, group in sorted(found, key=lambda pair: pair[0])]


def _group(
    graph: OnnxGraph, shapes: Mapping[str, TensorShape], node: Node, taken: set[int]
) -> Group:
    nodes, chain = [node], []
    layer: Node | None = node
    source = current = node.output[0]
    if node.op_type in ELEMENTWISE:
        layer = None
        source = largest_input(graph, shapes, node)
        stages = stages_of(graph, shapes, node, source)
        assert stages is not None
        chain += stages
    elif node.op_type not in FUSIBLE:
        return Group((node,), node, source, (), current)
    while True:
        step = _swish(graph, current) or _next(graph, shapes, current)
        if step is None or any(id(member) in taken for member in step[0]):
            return Group(tuple(nodes), layer, source, tuple(chain), current)
        members, stages = step
        nodes += members
        chain += stages
        current = members[-1].output[0]


def largest_input(graph: OnnxGraph, shapes: Mapping[str, TensorShape], node: Node) -> str:
    """The input that an elementwise node's chain starts from: of the output's shape if any is."""
    shape = shapes[node.output[0]].shape
    inputs = [name for name in node.input if name]
    if node.op_type not in BINARY or node.op_type == "PRelu":
        return str(inputs[0])
    alike = [name for name in inputs[:2] if shapes[name].shape == shape]
    computed = [name for name in alike if name not in graph.constants]
    return str((computed or alike or inputs)[0])


def _next(
    graph: OnnxGraph, shapes: Mapping[str, TensorShape], current: str
) -> tuple[list[Node], list[Pointwise]] | None:
    """The one elementwise node that reads ``current``, where it can be taken in."""
    if not graph.is_private(current):
        return None
    (node,) = graph.uses(current)
    if node.op_type not in ELEMENTWISE or shapes[node.output[0]].shape != shapes[current].shape:
        return None
    stages = stages_of(graph, shapes, node, current)
    return None if stages is None else ([node], stages)


def _swish(graph: OnnxGraph, current: str) -> tuple[list[Node], list[Pointwise]] | None:
    """x * sigmoid(x), or x * hard_sigmoid(x) as HardSwish has it."""
    uses = graph.uses(current)
    if len(uses) != 2 or current in graph.outputs or current in graph.captured:
        return None
    gate, product = sorted(uses, key=lambda node: node.op_type == "Mul")
    if product.op_type != "Mul" or not graph.is_private(gate.output[0]):
        return None
    if sorted(product.input) != sorted([current, gate.output[0]]):
        return None
    if gate.op_type == "Sigmoid":
        return [gate, product], [Pointwise("silu")]
    if gate.op_type == "HardSigmoid":
        alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
        if np.allclose([alpha, beta], [1 / 6, 0.5]):
            return [gate, product], [Pointwise("hard_swish")]
    return None


def stages_of(
    graph: OnnxGraph, shapes: Mapping[str, TensorShape], node: Node, current: str
) -> list[Pointwise] | None:
    """An elementwise node as stages on ``current``; None where another form of it is needed."""
    kind = node.op_type
    if kind in PLAIN_UNARY:
        return [Pointwise(PLAIN_UNARY[kind])]
    if kind in BINARY:
        stage = _binary(graph, shapes, node, current)
        return None if stage is None else [stage]
    if kind == "Clip":
        return [Pointwise("clip", _bounds(graph, node))]
    if kind == "LeakyRelu":
        return [Pointwise("leaky_relu", (attribute(node, "alpha", 0.01),))]
    if kind == "Elu":
        return [Pointwise("elu", (attribute(node, "alpha", 1.0),))]
    if kind == "HardSigmoid":
        numbers = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        return [Pointwise("hard_sigmoid", numbers)]
    if kind == "Gelu" and attribute(node, "approximate", "none") == "none":
        return [Pointwise("gelu")]
    if kind == "Pow":
        return _power(graph, node, current)
    if kind == "BatchNormalization":
        return _batch_norm(graph, node)
    raise InferenceError(f"{node.name or kind}: this form of {kind} is not known to the C back end")


def _bounds(graph: OnnxGraph, node: Node) -> tuple[float, float]:
    """The limits of a Clip; attributes before opset 11, constant inputs since."""
    found = [attribute(node, "min", -np.inf), attribute(node, "max", np.inf)]
    for place, name in enumerate(node.input[1:3]):
        if name and name not in graph.constants:
            raise InferenceError(f"{node.name or 'Clip'}: the C back end needs constant limits")
        if name:
            found[place] = float(graph.constants[name].item())
    return found[0], found[1]


def _power(graph: OnnxGraph, node: Node, current: str) -> list[Pointwise] | None:
    exponent = graph.constants.get(node.input[1])
    known = {2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}
    value = float(exponent.item()) if exponent is not None and exponent.size == 1 else np.nan
    if current == node.input[0] and value in known:
        return [Pointwise(known[value])]
    raise InferenceError(
        f"{node.name or 'Pow'}: the C back end knows powers of 2, 0.5 and -1 only"
    )


def _batch_norm(graph: OnnxGraph, node: Node) -> list[Pointwise]:
    """A BatchNormalization that no convolution could take in: a factor and a summand."""
    if any(name not in graph.constants for name in node.input[1:5]):
        raise InferenceError(f"{node.name}: the C back end needs constant statistics")
    scale, shift, mean, variance = (
        graph.constants[name].astype(np.float64) for name in node.input[1:5]
    )
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    channels = (-1, 1, 1)
    names = [graph.fresh(f"{node.output[0]}_{kind}") for kind in ("factor", "summand")]
    for name, values in zip(names, (factor, shift - mean * factor), strict=True):
        graph.set_constant(name, values.astype(np.float32).reshape(channels))
    return [Pointwise("mul", form="channel", source=names[0]),
            Pointwise("add", form="channel", source=names[1])]


def _binary(
    graph: OnnxGraph, shapes: Mapping[str, TensorShape], node: Node, current: str
) -> Pointwise | None:
    if len(node.input) != 2:
        raise InferenceError(
            f"{node.name or node.op_type}: the C back end knows {node.op_type} of two inputs only"
        )
    left = node.input[1] == current and node.input[0] != current
    if left and node.op_type == "PRelu":
        return None
    other = node.input[0] if left else node.input[1]
    op, shape = BINARY[node.op_type], shapes[node.output[0]].shape
    if other == current:
        return Pointwise(op, form="self")
    constant = graph.constants.get(other)
    if constant is not None and constant.size == 1 and op != "prelu":
        return Pointwise(op, (float(constant.item()),), "number", left=left)
    images = constant is not None or len(shapes[other].shape) == 4
    if images and is_per_channel(shapes[other].shape, shape):
        return Pointwise(op, form="channel", source=other, left=left)
    return Pointwise(op, form="tensor", source=other, left=left)


def is_per_channel(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a shape has one value for each channel of an image [n, c, h, w], and no more."""
    if len(whole) != 4 or len(shape) > 4 or prod(whole[2:]) == 1:
        return False
    full = (1,) * (4 - len(shape)) + shape
    return full[1:] == (whole[1], 1, 1) and full[0] in (1, whole[0])
