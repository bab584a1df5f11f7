"""Dynamic quantization: weights are integers on disk, activations become integers as they come.

The problem: for a language model or an LSTM there is no good calibration set, and reading the
weights is what takes the time. The idea: look at each activation when it is there, take its own
range, and multiply integers:

    x -> DynamicQuantizeLinear -> MatMulInteger(x, W int8) -> Cast -> Mul(scales) -> Add(bias)

which ONNX Runtime fuses into one kernel. Convolutions are left in float: their activations are
large and their weights small, the opposite of what this is good for.

Source: ONNX operators DynamicQuantizeLinear and MatMulInteger; ONNX Runtime's DynamicQuantizeLSTM.
"""

import numpy as np

from solutions.phase2_optimization.affine import quantize, weight_params
from solutions.phase2_optimization.graph_preparation import prepare
from solutions.phase2_optimization.layer_work import layer_macs
from solutions.phase2_optimization.onnx_rewrite import (
    Array,
    Model,
    Node,
    OnnxGraph,
    attribute,
    require_onnx,
)
from solutions.phase2_optimization.placement import FLOAT32, known_types
from solutions.phase2_optimization.quantize_graph import QuantizedModel
from solutions.phase2_optimization.quantized_types import INT8

LINEAR = frozenset({"MatMul", "Gemm"})
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
MICROSOFT = "com.microsoft"


def quantize_dynamic(model: Model) -> QuantizedModel:
    """Quantize the linear and LSTM layers of a float model; no data needed.

    GRU and RNN layers, which have no integer kernel, and convolutions stay float and are named.
    Raises InferenceError for models that cannot be used.
    """
    prepared = prepare(model)
    graph, types = OnnxGraph(prepared), known_types(prepared)
    macs = layer_macs(prepared)
    done, left = [], {}
    quantized_inputs: dict[str, tuple[str, str, str]] = {}
    for node in list(graph.nodes):
        if node.op_type not in LINEAR | RECURRENT | {"Conv", "ConvTranspose"}:
            continue
        reason = _obstacle(graph, node, types)
        if reason:
            left[node.name] = reason
            continue
        done.append(node.name)
        if node.op_type == "LSTM":
            _quantize_lstm(graph, node)
        else:
            _quantize_linear(graph, node, quantized_inputs)
    graph.refresh()
    total = sum(macs.values())
    share = sum(macs.get(name, 0) for name in done) / total if total else float("nan")
    return QuantizedModel(graph.to_model(), tuple(done), left, share, {})


def _obstacle(graph: OnnxGraph, node: Node, types: dict[str, int]) -> str:
    """Why a layer stays in float."""
    if node.op_type in ("Conv", "ConvTranspose"):
        return "a convolution: dynamic quantization costs more than it saves"
    if node.op_type in ("GRU", "RNN"):
        return f"{node.op_type} has no integer kernel"
    weights = graph.constants.get(node.input[1])
    if weights is None or types.get(node.input[0], FLOAT32) != FLOAT32:
        return "its weights depend on the data, or it does not compute in float32"
    if node.op_type == "LSTM":
        if attribute(node, "layout", 0):
            return "the integer LSTM has no layout with the batch first"
        return "" if node.input[2] in graph.constants else "its weights depend on the data"
    if weights.ndim != 2 or weights.dtype != np.float32 or node.input[0] in graph.constants:
        return "its weights are no float32 matrix"
    plain = attribute(node, "alpha", 1.0) == attribute(node, "beta", 1.0) == 1.0
    if node.op_type == "Gemm" and (attribute(node, "transA", 0) or not plain):
        return "only a plain x @ w + b has an integer kernel"
    return ""


def _quantize_linear(
    graph: OnnxGraph, node: Node, known: dict[str, tuple[str, str, str]]
) -> None:
    """Replace a MatMul or Gemm by the integer product and what brings it back to reals."""
    helper, name = require_onnx().helper, node.name
    weights = graph.constants[node.input[1]]
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        weights = np.ascontiguousarray(weights.T)
    source = node.input[0]
    if source not in known:
        stem = f"{source}/dynamic"
        known[source] = (f"{stem}/integer", f"{stem}/scale", f"{stem}/zero")
        graph.nodes.append(
            helper.make_node("DynamicQuantizeLinear", [source], list(known[source]), name=stem)
        )
    integer, scale, zero = known[source]
    params = weight_params(weights, 1, INT8)
    stored = graph.set_constant(f"{name}/weight/integer", quantize(weights, params))
    steps = graph.set_constant(f"{name}/weight/scale", params.scale)
    zeros = graph.set_constant(f"{name}/weight/zero", np.zeros(len(params.scale), np.int8))
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else ""
    last = f"{name}/product" if bias else node.output[0]
    nodes = [
        helper.make_node("MatMulInteger", [integer, stored, zero, zeros], [f"{name}/sums"],
                         name=f"{name}/multiply"),
        helper.make_node("Cast", [f"{name}/sums"], [f"{name}/real"], name=f"{name}/cast",
                         to=FLOAT32),
        helper.make_node("Mul", [scale, steps], [f"{name}/scales"], name=f"{name}/scale"),
        helper.make_node("Mul", [f"{name}/real", f"{name}/scales"], [last],
                         name=f"{name}/rescale"),
    ]
    if bias:
        nodes.append(helper.make_node("Add", [last, bias], [node.output[0]], name=f"{name}/bias"))
    graph.nodes = [*(other for other in graph.nodes if other is not node), *nodes]


def _quantize_lstm(graph: OnnxGraph, node: Node) -> None:
    """Turn an LSTM into ONNX Runtime's with int8 weights, one scale per gate's unit."""
    inputs = list(node.input) + [""] * (8 - len(node.input))
    stored = []
    for place, kind in ((1, "weight"), (2, "recurrence")):
        integers, scale = _lstm_weights(graph.constants[inputs[place]])
        stem = f"{node.name}/{kind}"
        inputs[place] = graph.set_constant(f"{stem}/integer", integers)
        stored.append(graph.set_constant(f"{stem}/scale", scale))
        stored.append(graph.set_constant(f"{stem}/zero", np.zeros(scale.shape, np.int8)))
    node.op_type, node.domain = "DynamicQuantizeLSTM", MICROSOFT
    del node.input[:]
    node.input.extend([*inputs[:8], *stored])
    if MICROSOFT not in {opset.domain for opset in graph.model.opset_import}:
        graph.model.opset_import.append(require_onnx().helper.make_opsetid(MICROSOFT, 1))


def _lstm_weights(weights: Array) -> tuple[Array, Array]:
    """Weights [directions, 4 units, inputs] as int8 [directions, inputs, 4 units].

    With their scales, [directions, 4 units].
    """
    turned = weights.swapaxes(1, 2)
    flat = turned.swapaxes(0, 1).reshape(turned.shape[1], -1)  # [inputs, directions * 4 units]
    params = weight_params(flat, 1, INT8)
    integers = quantize(flat, params).reshape(turned.shape[1], len(weights), -1).swapaxes(0, 1)
    return np.ascontiguousarray(integers), params.scale.reshape(len(weights), -1)
