"""Weight-only quantization: the arithmetic stays float, the weights take a quarter or an eighth.

The problem: a large linear layer that sees one row at a time waits for its weights, not for its
multiplications. The idea: store them in int8, one scale per output, or in int4, one scale per block
of inputs (four bits bear no longer range), and make reals of them on the way to the kernel.

    int8   DequantizeLinear(W [k, n] int8, scale [n])                 all layers, opset 13
    int4   DequantizeLinear(W [k, n] int4, scale [k / block, n])      MatMul, opset 21

ONNX Runtime fuses the second into its MatMulNBits kernel.

Source: ONNX DequantizeLinear, versions 13 and 21 (``block_size``); Frantar et al.,
arXiv:2210.17323, section 4 (grouped scales).
"""

import numpy as np

from solutions.phase2_optimization.affine import QuantParams, quantize, weight_params
from solutions.phase2_optimization.graph_preparation import LEAST_OPSET, prepare
from solutions.phase2_optimization.onnx_rewrite import (
    Array,
    Model,
    Node,
    OnnxGraph,
    attribute,
    require_onnx,
)
from solutions.phase2_optimization.placement import LAYERS, layer_axis
from solutions.phase2_optimization.quantize_graph import QuantizedModel
from solutions.phase2_optimization.quantized_types import INT4, INT8, QuantizedType, pack_int4
from zoo.errors import InferenceError

INT4_OPSET, INT4_IR = 21, 10
BLOCK = 32
SMALLEST = 1024  # weights of fewer elements are not worth a node


def quantize_weights(
    model: Model, kind: QuantizedType = INT8, block: int = BLOCK
) -> QuantizedModel:
    """Store the weights of a float model's layers as integers; no data needed.

    ``kind``: INT8 (every layer) or INT4 (linear layers in blocks of ``block`` inputs, the other
    layers in INT8). Raises InferenceError for models that cannot be used.
    """
    if kind not in (INT8, INT4):
        raise InferenceError(f"weights can be stored as int8 or int4, not {kind.name}")
    if kind is INT4 and (block < 16 or block & (block - 1)):
        raise InferenceError(f"a block must be a power of two from 16 on, not {block}")
    prepared = prepare(model, INT4_OPSET if kind is INT4 else LEAST_OPSET)
    graph = OnnxGraph(prepared)
    done, left = [], {}
    for node in list(graph.nodes):
        if node.op_type not in LAYERS | {"ConvTranspose"}:
            continue
        weights = graph.constants.get(node.input[1])
        if weights is None or weights.dtype != np.float32 or weights.ndim < 2:
            left[node.name] = "it has no constant float32 weights"
        elif weights.size < SMALLEST:
            left[node.name] = f"fewer than {SMALLEST} weights"
        else:
            done.append(node.name)
            _store(graph, node, weights, kind, block)
    if kind is INT4:
        graph.model.ir_version = max(graph.model.ir_version, INT4_IR)
    return QuantizedModel(_with_int4(graph), tuple(done), left, 0.0, {})


def _store(
    graph: OnnxGraph, node: Node, weights: Array, kind: QuantizedType, block: int
) -> None:
    """Let a layer read its weights through a DequantizeLinear."""
    helper, stem = require_onnx().helper, f"{node.name}/weight"
    linear = node.op_type in ("MatMul", "Gemm") and weights.ndim == 2
    if kind is INT4 and linear:
        axis = 1 - layer_axis(node, weights)
        integers, scale = blocked_int4(weights, axis, block)
        extra = {"axis": axis, "block_size": block}
        name = graph.set_constant(f"{stem}/int4", integers)
    else:
        axis = 1 if node.op_type == "ConvTranspose" else layer_axis(node, weights)
        if node.op_type == "ConvTranspose" and attribute(node, "group", 1) != 1:
            axis = 0
        params = weight_params(weights, axis, INT8)
        integers, scale, extra = quantize(weights, params), params.scale, {"axis": axis}
        name = graph.set_constant(f"{stem}/integer", integers)
    steps = graph.set_constant(f"{stem}/scale", scale)
    node.input[1] = f"{stem}/real"
    graph.nodes.append(helper.make_node(
        "DequantizeLinear", [name, steps], [f"{stem}/real"], name=f"{stem}/dequantize", **extra
    ))
    graph.refresh()


def blocked_int4(weights: Array, axis: int, block: int) -> tuple[Array, Array]:
    """int4 values of a matrix and a scale for each block along ``axis``.

    Gives int8 [k, n] in -7..7 and float32 scales [ceil(k / block), n] (for axis 0).
    """
    turned = np.moveaxis(weights, axis, 0)
    count, width = turned.shape
    blocks = -(-count // block)
    padded = np.zeros((blocks * block, width), np.float32)
    padded[:count] = turned
    grouped = padded.reshape(blocks, block, width)
    flat = grouped.swapaxes(0, 1).reshape(block, -1)  # [block, blocks * n]: a scale per column
    params = QuantParams(*_symmetric_int4(flat), INT4, 1)
    integers = quantize(flat, params).reshape(block, blocks, width).swapaxes(0, 1)
    integers = integers.reshape(blocks * block, width)[:count]
    scale = params.scale.reshape(blocks, width)
    return (np.ascontiguousarray(np.moveaxis(integers, 0, axis)),
            np.ascontiguousarray(np.moveaxis(scale, 0, axis)))


def _symmetric_int4(flat: Array) -> tuple[Array, Array]:
    params = weight_params(flat, 1, INT4)
    return params.scale, params.zero_point


def _with_int4(graph: OnnxGraph) -> Model:
    """The model, its four-bit constants packed two to a byte."""
    onnx = require_onnx()
    model = graph.to_model()
    for tensor in model.graph.initializer:
        if tensor.name.endswith("/weight/int4"):
            values = onnx.numpy_helper.to_array(tensor)
            tensor.ClearField("raw_data")
            tensor.data_type = onnx.TensorProto.INT4
            tensor.raw_data = pack_int4(values).tobytes()
    return model
