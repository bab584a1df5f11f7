"""What is known of a graph's tensors before anything runs: element types and shapes.

onnx infers them. The weights are most of a model's bytes and their values say nothing about
shapes, so onnx gets a skeleton: the nodes, the short constants (a Reshape's target must be seen),
and every larger constant as an input of its type. Sizes that the caller chooses keep their symbols:
two axes with the same symbol have the same size.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from solutions.phase2_optimization.onnx_protobuf import Model, Node, require_onnx

if TYPE_CHECKING:
    from solutions.phase2_optimization.onnx_rewrite import OnnxGraph

Dim = int | str | None  # a size, a symbol, or nothing known
Shape = tuple[Dim, ...]
MOST_RESIZES = 6  # one after another
INVENTED = "unk__"  # the symbols that onnx makes up for sizes of which it knows nothing
SEEN_WHOLE = 512  # bytes; shapes, axes, pads and scales are shorter


class TensorType(NamedTuple):
    """The element type and, where known, the shape of a tensor."""

    dtype: np.dtype[Any]
    shape: Shape | None


NOTHING = TensorType(np.dtype(np.float32), None)


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
    told = {name: tensor_type(declared[name]) for node in unknown for name in node.output
            if name in declared and name not in found}
    news = {name: kind for name, kind in told.items() if kind is not None}
    if news:
        graph.told.update(news)
        found = _inferred(_skeleton(graph))
    for _ in range(MOST_RESIZES):
        kept = _sizes_kept(graph, found)
        if not kept:
            break
        graph.told.update(kept)
        found = _inferred(_skeleton(graph))
    return found


def _sizes_kept(graph: "OnnxGraph", found: dict[str, TensorType]) -> dict[str, TensorType]:
    """Outputs of Resize and Upsample whose axes of scale 1 keep a size that is only a symbol.

    onnx multiplies sizes by scales, which it cannot where a size is a symbol, and gives up even
    where the scale is 1.
    """
    kept = {}
    for node in graph.nodes:
        if node.op_type not in ("Resize", "Upsample") or node.domain:
            continue
        scales = next((graph.constants[name] for name in node.input[1:] if name in graph.constants
                       and graph.constants.dtype_of(name) == np.float32), None)
        before, after = (found.get(name, NOTHING) for name in (node.input[0], node.output[0]))
        if scales is None or before.shape is None or after.shape is None \
                or not len(scales) == len(before.shape) == len(after.shape):
            continue
        shape = tuple(old if old is not None and scale == 1 else new for old, new, scale in zip(
            before.shape, after.shape, scales, strict=True))
        if shape != after.shape:
            kept[node.output[0]] = TensorType(after.dtype, shape)
    return kept


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


def infer_node(graph: "OnnxGraph", node: Node) -> list[str]:
    """Infer the types of one node's outputs from those of its inputs, where they are not known.

    Gives back the outputs of which more is known now.
    """
    types = graph.types
    if all(not name or is_settled(types.get(name)) for name in node.output):
        return []
    onnx = require_onnx()
    inputs, data = {}, {}
    for name in filter(None, node.input):
        shape, dtype = graph.shape(name), graph.dtype(name)
        if dtype is None:
            return []
        kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
        inputs[name] = onnx.helper.make_tensor_type_proto(kind, shape)
        if name in graph.constants and graph.constants.bytes_of(name) <= SEEN_WHOLE:
            data[name] = graph.constants.embedded(name)
    try:
        schema = onnx.defs.get_schema(node.op_type, graph.opset, node.domain)
        found = onnx.shape_inference.infer_node_outputs(
            schema, node, inputs, data, opset_imports=list(graph.model.opset_import),
            ir_version=graph.model.ir_version)
    except Exception:  # an operator without a schema, or one that contradicts its inputs
        return []
    closer = []
    for name, proto in found.items():
        told = tensor_type(onnx.ValueInfoProto(name=name, type=proto))
        if told is not None and (name not in types or _is_closer(told, types[name])):
            types[name] = told
            closer.append(name)
    return closer


def is_settled(kind: TensorType | None) -> bool:
    """Whether every size is a number or a symbol that the model itself gives."""
    return kind is not None and kind.shape is not None and all(
        isinstance(dim, int) or (dim is not None and not dim.startswith(INVENTED))
        for dim in kind.shape)


def is_static(shape: Shape | None) -> bool:
    """Whether every size is known."""
    return shape is not None and all(isinstance(dim, int) for dim in shape)


def same_shape(first: Shape | None, second: Shape | None) -> bool:
    """Whether two shapes are known to be equal, axes of free size included."""
    return first is not None and first == second and None not in first


def _is_closer(new: TensorType, old: TensorType) -> bool:
    """Whether the new shape says more than the old one."""
    if new.shape is None or old.shape is None:
        return new.shape is not None
    return [dim is None for dim in new.shape] < [dim is None for dim in old.shape] or sum(
        isinstance(dim, int) for dim in new.shape) > sum(isinstance(d, int) for d in old.shape)


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
