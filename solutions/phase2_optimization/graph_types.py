"""What is known of a graph's tensors before anything runs: element types and shapes.

onnx infers them. The weights are most of a model's bytes and their values say nothing about
shapes, so onnx gets a skeleton: the nodes, the short constants (a Reshape's target must be seen),
and every larger constant as an input of its type. Sizes that the caller chooses keep their symbols:
two axes with the same symbol have the same size.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from solutions.phase2_optimization.onnx_protobuf import Model, require_onnx

if TYPE_CHECKING:
    from solutions.phase2_optimization.onnx_rewrite import OnnxGraph

Dim = int | str | None  # a size, a symbol, or nothing known
Shape = tuple[Dim, ...]
SEEN_WHOLE = 512  # bytes; shapes, axes, pads and scales are shorter


class TensorType(NamedTuple):
    """The element type and, where known, the shape of a tensor."""

    dtype: np.dtype[Any]
    shape: Shape | None


def known_shapes(graph: "OnnxGraph") -> dict[str, TensorType]:
    """Element type and shape of every tensor of the main graph for which they can be inferred.

    Where onnx does not know an operator, what the model itself says about its outputs counts.
    A graph that onnx refuses gives what its inputs and constants say.
    """
    onnx = require_onnx()
    skeleton = _skeleton(graph)
    found = _inferred(skeleton)
    declared = {value.name: value for value in graph.model.graph.value_info}
    for value in graph.model.graph.output:
        declared.setdefault(value.name, value)
    unknown = [node for node in graph.nodes if not onnx.defs.has(node.op_type, domain=node.domain)]
    told = [declared[name] for node in unknown for name in node.output
            if name in declared and name not in found]
    if told:
        skeleton.graph.value_info.extend(told)
        found = _inferred(skeleton)
    return found


def _inferred(skeleton: Model) -> dict[str, TensorType]:
    shape_inference = require_onnx().shape_inference
    try:
        known = shape_inference.infer_shapes(skeleton, data_prop=True)
    except Exception:  # onnx's own, for operators that contradict their inputs
        known = skeleton
    found: dict[str, TensorType] = {}
    for value in (*known.graph.input, *known.graph.value_info, *known.graph.output):
        kind = tensor_type(value)
        if kind is not None:
            found.setdefault(value.name, kind)
    return found


def tensor_type(value: Any) -> TensorType | None:
    """What a ValueInfoProto says; None where it is no tensor of a known element type."""
    onnx = require_onnx()
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        return None
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if not tensor.HasField("shape"):
        return TensorType(dtype, None)
    return TensorType(dtype, tuple(_size(dim) for dim in tensor.shape.dim))


def _size(dim: Any) -> Dim:
    kind = dim.WhichOneof("value")
    if kind == "dim_value":
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return str(dim.dim_param) or None if kind == "dim_param" else None


def _described(name: str, known: TensorType) -> Any:
    """A TensorType as a ValueInfoProto."""
    helper = require_onnx().helper
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(known.dtype), known.shape)


def _skeleton(graph: "OnnxGraph") -> Model:
    onnx = require_onnx()
    source, constants = graph.model, graph.constants
    skeleton = onnx.ModelProto(ir_version=max(source.ir_version, 4))
    skeleton.opset_import.extend(source.opset_import)
    skeleton.functions.extend(source.functions)
    target = skeleton.graph
    target.name = "skeleton"
    target.node.extend(graph.ordered())
    target.input.extend(value for value in source.graph.input if value.name not in constants)
    target.sparse_initializer.extend(source.graph.sparse_initializer)
    for name in graph.outputs:
        target.output.add().name = name
    target.value_info.extend(
        _described(name, graph.told[name]) for node in graph.nodes for name in node.output
        if name in graph.told)
    for name in constants:
        if constants.bytes_of(name) <= SEEN_WHOLE:
            target.initializer.append(constants.embedded(name))
            continue
        kind = onnx.helper.np_dtype_to_tensor_dtype(constants.dtype_of(name))
        shape = constants.shape_of(name)
        target.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return skeleton
