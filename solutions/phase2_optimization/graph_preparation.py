"""Preparation: the float model in the form that quantizing wants, computing the same.

Functions give way to the nodes that they stand for, constants become initializers, what follows
from constants alone is computed once, batch norms and constants per channel go into the layers
before them, Identity, Dropout and whatever else changes nothing go away (OpenVINO crashes on
integers around a Slice that cuts nothing off), and the opset rises to where QuantizeLinear knows
channels (13) and int4 (21).
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from solutions.phase2_optimization.batch_norm import fold_batch_norms
from solutions.phase2_optimization.graph_passes.identities import drop_identities as drop_no_ops
from solutions.phase2_optimization.graph_passes.norm_folding import fold_norms, fold_scales
from solutions.phase2_optimization.onnx_protobuf import copy_without_weights, subgraphs
from solutions.phase2_optimization.onnx_rewrite import (
    SUBGRAPHS,
    Array,
    Model,
    Node,
    OnnxGraph,
    attribute,
    copy_model,
    require_onnx,
)
from zoo.errors import InferenceError

LEAST_OPSET = 13  # QuantizeLinear with an axis
QUANTIZED = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "ConvInteger", "MatMulInteger", "MatMulNBits", "QGemm", "QLinearAdd", "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "QAttention",
})
SEEN_ELEMENTS = 1024  # of a constant that shapes may depend on
LARGEST_FOLDED = 1 << 20  # elements of a constant that folding may make
UNSTABLE = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
                      "Multinomial", "Bernoulli"})


def prepare(model: Model, opset: int = LEAST_OPSET) -> Model:
    """A float model that computes the same and is ready to be quantized.

    Raises InferenceError where the model is quantized already, is no valid ONNX, or cannot be
    raised to the opset.
    """
    _refuse_quantized(model)
    raised = raise_opset(_fix_inputs(inline_functions(model)), opset)
    graph = OnnxGraph(raised)
    _name_nodes(graph)
    inline_constants(graph)
    fold_constants(graph)
    drop_identities(graph)
    drop_no_ops(graph)
    fold_batch_norms(graph)
    fold_norms(graph)
    fold_scales(graph)
    return infer_shapes(graph.to_model())


def infer_shapes(model: Model) -> Model:
    """A copy of the model with the shapes of its tensors, as far as they can be known beforehand.

    The values of large weights say nothing about shapes: onnx sees them as inputs, which saves
    most of the time.
    """
    onnx = require_onnx()
    bare = copy_without_weights(model)
    bare.ir_version = max(bare.ir_version, 4)
    inputs = {value.name for value in bare.graph.input}
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= SEEN_ELEMENTS:
            bare.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            bare.graph.input.append(onnx.helper.make_tensor_value_info(
                tensor.name, tensor.data_type, tensor.dims))
    try:
        known = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception as error:  # onnx's own
        raise InferenceError(f"not a valid ONNX model: {_first_line(error)}") from error
    made = copy_model(model)
    del made.graph.value_info[:], made.graph.output[:]
    made.graph.value_info.extend(known.value_info)
    made.graph.output.extend(known.output)
    return made


def opset_of(model: Model) -> int:
    """The version of ONNX's own operators that a model asks for, 0 where it uses none."""
    found = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return int(max(found, default=0))


def raise_opset(model: Model, least: int) -> Model:
    """The model at ``least`` or its own higher opset, converted by onnx."""
    onnx = require_onnx()
    own = opset_of(model)
    if own >= least:
        return copy_model(model)
    if own == 0:
        raise InferenceError("the model imports no ONNX opset: nothing here can be quantized")
    try:
        return onnx.version_converter.convert_version(model, least)
    except Exception as error:  # onnx's own
        raise InferenceError(
            f"opset {own} cannot be raised to {least}, which quantization needs: "
            f"{_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _refuse_quantized(model: Model) -> None:
    every = [node for part in (model.graph, *model.functions) for node in nodes_within(part)]
    found = sorted({node.op_type for node in every} & QUANTIZED)
    if found:
        raise InferenceError(
            f"the model is quantized already (it has {', '.join(found)}): start from the float one"
        )


def nodes_within(part: Any) -> Iterator[Node]:
    """The nodes of a graph or function, those of its subgraphs included."""
    for node in part.node:
        yield node
        for inner in subgraphs(node):
            yield from nodes_within(inner)


def inline_functions(model: Model) -> Model:
    """The model with the nodes of its own functions in place of their calls."""
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except Exception as error:  # onnx's own
        raise InferenceError(f"the model's functions are faulty: {_first_line(error)}") from error


def _fix_inputs(model: Model) -> Model:
    """Weights that are listed as inputs, too (IR version 3), become plain constants."""
    copy = copy_model(model)
    weights = {tensor.name for tensor in copy.graph.initializer}
    kept = [value for value in copy.graph.input if value.name not in weights]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    copy.ir_version = max(copy.ir_version, 8)
    return copy


def _name_nodes(graph: OnnxGraph) -> None:
    """Give every node a name of its own, so that reports and settings can speak of it."""
    seen: set[str] = set()
    for number, node in enumerate(graph.nodes):
        if not node.name or node.name in seen:
            node.name = graph.unused(f"{node.op_type}_{number}")
        seen.add(node.name)


def inline_constants(graph: OnnxGraph) -> None:
    """Turn Constant nodes into constants of the graph."""
    done = []
    for node in graph.nodes:
        values = _constant_value(node) if node.op_type == "Constant" else None
        if values is not None and _made_constant(graph, node, [values]):
            done.append(node)
    graph.remove(done)


def _made_constant(graph: OnnxGraph, node: Node, values: list[Array]) -> bool:
    """Let everybody read constants in place of a node's outputs; whether the node may go.

    Where the network gives an output away its node stays, since runtimes expect one.
    """
    stays = bool(set(node.output) & set(graph.outputs))
    for name, array in zip(node.output, values, strict=True):
        if stays:
            graph.rename_uses(name, graph.constant(name, array))
        else:
            graph.set_constant(name, array)
    return not stays


def _constant_value(node: Node) -> Array | None:
    value = attribute(node, "value")
    if value is not None:
        return np.asarray(require_onnx().numpy_helper.to_array(value))
    kinds = {"value_float": np.float32, "value_floats": np.float32,
             "value_int": np.int64, "value_ints": np.int64}
    for name, kind in kinds.items():
        value = attribute(node, name)
        if value is not None:
            return np.asarray(value, kind)
    return None


def fold_constants(graph: OnnxGraph) -> None:
    """Compute nodes whose inputs are all constant, with onnx's reference evaluator."""
    done = []
    for node in list(graph.ordered()):
        if graph.activations(node) or node.op_type in SUBGRAPHS | UNSTABLE or not node.input:
            continue
        values = _computed(graph, node)
        small = values is not None and sum(v.size for v in values) <= LARGEST_FOLDED
        if values is not None and small and _made_constant(graph, node, values):
            done.append(node)
    graph.remove(done)


def _computed(graph: OnnxGraph, node: Node) -> list[Array] | None:
    """The outputs of a node of constants, None where the reference evaluator does not know it."""
    onnx = require_onnx()
    from onnx.reference import ReferenceEvaluator

    helper = onnx.helper
    values = [helper.make_empty_tensor_value_info(name) for name in node.output]
    feeds = {name: graph.constants[name] for name in node.input if name}
    inputs = [helper.make_empty_tensor_value_info(name) for name in feeds]
    model = helper.make_model(
        helper.make_graph([node], "fold", inputs, values), opset_imports=graph.model.opset_import
    )
    try:
        found: Any = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # an operator or a type that it does not know: it stays in the graph
        return None
    return [np.asarray(value) for value in found]


def drop_identities(graph: OnnxGraph) -> None:
    """Take out Identity, and Dropout as it is at inference."""
    done = []
    for node in graph.nodes:
        plain = node.op_type == "Identity" or (
            node.op_type == "Dropout" and len(node.output) == 1 and _never_trains(graph, node)
        )
        source, made = (node.input[0], node.output[0]) if plain else ("", "")
        if not plain or made in graph.outputs or {source, made} & graph.captured:
            continue
        graph.rename_uses(made, source)
        done.append(node)
    graph.remove(done)


def _never_trains(graph: OnnxGraph, node: Node) -> bool:
    if len(node.input) < 3 or not node.input[2]:
        return True
    flag = graph.constants.get(node.input[2])
    return flag is not None and not bool(flag)
