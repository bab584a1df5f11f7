"""Which nodes compute with integers, and which tensors are quantized for it.

The problem: runtimes fuse ``DequantizeLinear -> operator -> QuantizeLinear`` into one integer
kernel, but only where every tensor around the operator is quantized, and each quantizing that no
kernel absorbs costs time and accuracy. The idea: begin with the multiplications, then let the
integers flow on through the nodes between them:

    conv -> relu -> maxpool -> conv        everything between two integer layers stays integer
    conv -> slice -> sigmoid -> output     no integer layer follows: float after the convolution

| nodes | rule |
|---|---|
| Conv, Gemm, MatMul | integer, where the weights are known and the type is float32 |
| Relu, Clip behind them | part of the range of their output (``clamps``) |
| max pooling, resize, reshape, ... | integer between integer nodes; one scale on both sides |
| Concat | the same; clamped inputs keep a scale of their own where the others reach further |
| Add, Mul, Sigmoid, average pooling, ... | integer between integer nodes; scales of their own |
| x * sigmoid(x) | float: with 8 bits in between it costs more than it saves |
| everything else | float |
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from solutions.phase2_optimization.calibration import Range
from solutions.phase2_optimization.clamps import CLAMPS, clamp_limits, clamped_by
from solutions.phase2_optimization.onnx_protobuf import captured_names
from solutions.phase2_optimization.onnx_rewrite import SUBGRAPHS, Node, OnnxGraph, attribute
from solutions.phase2_optimization.shared_scales import TiedTensors
from solutions.phase2_optimization.swish import FUSED, is_swish

LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
NO_KERNEL = frozenset({"Attention", "ConvTranspose", "DeformConv", "Einsum", "GRU", "LSTM", "RNN"})
MOVES = frozenset({
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "MaxPool", "Reshape", "Resize",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
})
ARITHMETIC = frozenset({"Add", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"})
ONNX_DOMAINS = ("", "ai.onnx")
FLOAT32 = 1  # onnx.TensorProto.FLOAT


@dataclass
class Placement:
    """The plan of a quantized graph; nodes by name."""

    integer: set[str] = field(default_factory=set)
    float_reasons: dict[str, str] = field(default_factory=dict)  # layers that stay float, and why
    quantized: dict[str, bool] = field(default_factory=dict)  # tensor: made by an integer node?
    float_outputs: list[str] = field(default_factory=list)  # the network's last convolutions
    tied: TiedTensors = field(default_factory=TiedTensors)
    joined: list[list[str]] = field(default_factory=list)  # a Concat's output, then its inputs
    limits: dict[str, Range] = field(default_factory=dict)  # of tensors behind a clamp


def place(
    graph: OnnxGraph,
    types: dict[str, int],
    keep_float: dict[str, str],
    integer_outputs: Collection[str] = (),
) -> Placement:
    """Plan the quantized graph of a prepared model.

    ``types``: ONNX element types of the tensors; ``keep_float``: names of nodes that shall stay
    float, with the reason; ``integer_outputs``: names of the network's last convolutions whose
    results may be integers.
    """
    plan = Placement()
    for node in graph.nodes:
        reason = keep_float.get(node.name) or _obstacle(graph, node, types)
        if node.op_type in LAYERS and not reason:
            plan.integer.add(node.name)
        elif reason:
            plan.float_reasons[node.name] = reason
    _spread(graph, plan, types)
    ahead = _leads_to_layers(graph, plan)
    for node in graph.nodes:
        if node.name in integer_outputs:
            ahead.update(node.output)
            clamp = clamped_by(graph, node)
            ahead.update(clamp.output if clamp is not None else ())
    for node in graph.nodes:
        if node.name in plan.integer:
            _quantize_inputs(graph, node, plan)
            _quantize_outputs(graph, node, plan, ahead)
    return plan


def _obstacle(graph: OnnxGraph, node: Node, types: dict[str, int]) -> str:
    """Why a node cannot be an integer layer; nothing for nodes that are no layers."""
    if node.op_type in SUBGRAPHS:
        return f"{node.op_type}: what is inside a subgraph is not quantized"
    if node.op_type in NO_KERNEL:
        return f"{node.op_type} has no integer kernel"
    if node.domain not in ONNX_DOMAINS and node.op_type != FUSED:
        return f"{node.op_type} of {node.domain} is no operator of ONNX"
    if node.op_type not in LAYERS:
        return ""
    known = {types.get(name, FLOAT32) for name in (*graph.activations(node), *node.output)}
    if known != {FLOAT32}:
        return "it does not compute in float32"
    weights = graph.constants.get(node.input[1])
    if node.op_type == "Conv":
        return "" if weights is not None and _constant_bias(graph, node) else (
            "its weights depend on the data"
        )
    if node.op_type == "Gemm":
        plain = attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0
        if weights is None or not plain or attribute(node, "transA", 0):
            return "only a plain x @ w + b has an integer kernel"
        out = weights.shape[0 if attribute(node, "transB", 0) else 1]
        fits = len(node.input) < 3 or (
            _constant_bias(graph, node)
            and graph.constants[node.input[2]].shape in ((out,), (1, out))
        )
        return "" if fits else "its bias is not one number per output"
    if node.input[0] in graph.constants:
        return "a constant on the left has no integer kernel"
    return "" if weights is None or weights.ndim == 2 else "stacked weights have no integer kernel"


def _constant_bias(graph: OnnxGraph, node: Node) -> bool:
    return len(node.input) < 3 or not node.input[2] or node.input[2] in graph.constants


def _may_flow(graph: OnnxGraph, node: Node, types: dict[str, int]) -> bool:
    """Whether a node between layers has an integer kernel."""
    kind = node.op_type
    moved = data_inputs(graph, node)
    real = all(types.get(name, FLOAT32) == FLOAT32 for name in (*moved, *node.output))
    if not real or node.domain not in ONNX_DOMAINS:
        return False
    if kind == "Resize":
        frame, mode = (attribute(node, name) for name in ("coordinate_transformation_mode", "mode"))
        return mode in (None, "nearest") and frame != "tf_crop_and_resize"
    if kind in ("Add", "Mul"):
        return len(moved) == 2 and not is_swish(graph, node)
    if kind == "Sigmoid":
        return not is_swish(graph, node)
    if kind == "Concat":
        return len(moved) == len(node.input)
    if kind in ("MaxPool", "Slice", "Gather", "Clip"):
        return len(node.output) == 1 and len(moved) == 1
    return kind in MOVES | ARITHMETIC | CLAMPS and len(moved) == 1


def data_inputs(graph: OnnxGraph, node: Node) -> list[str]:
    """The inputs that carry values (not shapes or indices) and depend on the data."""
    many = ("Concat", "Add", "Mul", "MatMul")
    places = node.input if node.op_type in many else node.input[:1]
    return [name for name in places if name and name not in graph.constants]


def _spread(graph: OnnxGraph, plan: Placement, types: dict[str, int]) -> None:
    """Add nodes between integer nodes: first all that might, then out with those that end."""
    wanted = {n.name for n in graph.nodes if n.name not in plan.float_reasons
              and n.op_type not in LAYERS and _may_flow(graph, n, types)}
    while True:
        inside = wanted | plan.integer
        lost = {
            node.name
            for node in graph.nodes
            if node.name in wanted
            and not (_is_followed(graph, node, inside) and _is_fed(graph, node, inside))
        }
        if not lost:
            break
        wanted -= lost
    plan.integer |= wanted


def _is_followed(graph: OnnxGraph, node: Node, inside: set[str]) -> bool:
    users = [user for name in node.output for user in graph.uses(name)]
    return any(user.name in inside for user in users)


def _is_fed(graph: OnnxGraph, node: Node, inside: set[str]) -> bool:
    """Whether integers come in; what only moves may also begin with the quantizing of floats.

    Moving bytes is cheaper than moving floats, provided that nobody reads the floats as well. Not
    so for max pooling (``hidden_integers``).
    """
    makers = [graph.producer.get(name) for name in data_inputs(graph, node)]
    if any(maker is not None and maker.name in inside for maker in makers):
        return True
    if node.op_type not in MOVES or node.op_type == "MaxPool":
        return False
    return None in makers or all(
        user.name in inside for name in node.output for user in graph.uses(name)
    )


def _leads_to_layers(graph: OnnxGraph, plan: Placement) -> set[str]:
    """The tensors from which the data reach an integer layer, whatever lies between."""
    ahead: set[str] = set()
    for node in reversed(list(graph.ordered())):
        integer_layer = node.name in plan.integer and node.op_type in LAYERS
        if integer_layer or ahead.intersection(node.output):
            ahead.update(node.input, captured_names(node))
    return ahead


def _quantize_inputs(graph: OnnxGraph, node: Node, plan: Placement) -> None:
    maker = graph.producer.get(node.input[0])
    if maker is not None and clamped_by(graph, maker) is node and maker.name in plan.integer:
        return  # a clamp inside the kernel of the layer before it
    for name in data_inputs(graph, node):
        plan.quantized.setdefault(name, False)


def _quantize_outputs(graph: OnnxGraph, node: Node, plan: Placement, ahead: set[str]) -> None:
    """Mark what an integer node makes, unless it had better be float.

    Matrix products have kernels that give float; a convolution has none in ONNX Runtime (it then
    computes in float), yet behind a network's last one stand its results: boxes and scores of
    very different sizes, which one scale of 256 steps would spoil.
    """
    clamp = clamped_by(graph, node)
    last = clamp if clamp is not None else node
    if node.op_type in ("Gemm", "MatMul") and not _is_followed(graph, last, plan.integer):
        return
    if node.op_type == "Conv" and not ahead.intersection(last.output):
        plan.float_outputs.append(node.name)
        return
    plan.quantized.update((name, True) for name in last.output if name)
    limits = clamp_limits(graph, clamp) if clamp is not None else None
    if limits is not None:
        plan.limits[last.output[0]] = limits
    if node.op_type == "Concat":
        plan.joined.append([last.output[0], *data_inputs(graph, node)])
    elif node.op_type in MOVES:
        plan.tied.tie([*data_inputs(graph, node), *filter(None, node.output)])


def known_types(model: object) -> dict[str, int]:
    """The element types of a model's tensors, from its inputs, outputs and inferred values."""
    graph = model.graph  # type: ignore[attr-defined]
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: int(value.type.tensor_type.elem_type) for value in values}


def layer_axis(node: Node, weights: np.ndarray) -> int:  # type: ignore[type-arg]
    """The axis of the output channels in a layer's weights."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return weights.ndim - 1
