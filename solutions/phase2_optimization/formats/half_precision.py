"""An ONNX network computed in 16 bits: types are part of the graph.

TensorRT 11 has only strongly typed networks: no builder flag lowers the precision, the graph says
it. So every float32 constant, Cast and Constant becomes 16 bits wide, and casts stand at the
network's inputs and outputs, which keep float32. Where an operator's definition wants float32
(Resize's scales, sizes of ranges, quantization), it keeps it between two casts.

    images (f32) -> Cast(f16) -> Conv(f16 weights) -> ... -> Cast(f32) -> output (f32)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from solutions.phase2_optimization.float_conversion import to_bfloat16, to_float16
from solutions.phase2_optimization.onnx_rewrite import (
    SUBGRAPHS,
    Array,
    Model,
    Node,
    copy_model,
    require_onnx,
)
from zoo.errors import InferenceError

# operators whose float inputs and outputs stay float32
KEPT = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Range", "NonMaxSuppression",
    "RoiAlign", "MaxRoiPool", "RandomNormal", "RandomUniform", "RandomNormalLike",
    "RandomUniformLike", "CumSum",
})
LARGEST_FLOAT16 = 65504.0
# float inputs of other operators that stay float32, by place
KEPT_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}


@dataclass(frozen=True)
class HalfType:
    """A 16-bit float type: its number in ONNX, and how float32 becomes it."""

    name: str
    number: int
    encode: Callable[[Array], bytes]
    oldest_opset: int


FLOAT16 = HalfType("float16", 10, lambda values: to_float16(values).tobytes(), 13)
BFLOAT16 = HalfType("bfloat16", 16, lambda values: to_bfloat16(values).tobytes(), 18)


def to_half(model: Model, kind: HalfType) -> Model:
    """A copy that computes in 16 bits, with float32 at its inputs and outputs.

    Raises InferenceError for control flow, for opsets that lack the type, and for float16 where a
    weight is larger than it can hold.
    """
    onnx = require_onnx()
    copy = copy_model(model)
    _check(copy, kind)
    graph = copy.graph
    floats = _float_tensors(model)
    initializers = {tensor.name for tensor in graph.initializer}
    wide = _wide_constants(graph, floats)
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in wide:
            _shrink(tensor, kind)
    nodes: list[Node] = []
    names: dict[str, str] = {}
    for value in graph.input:
        if value.name in floats and value.name not in initializers:
            names[value.name] = f"{value.name}/half"
            nodes.append(_cast(value.name, names[value.name], kind.number))
    outputs = {value.name for value in graph.output if value.name in floats}
    names |= {name: f"{name}/half" for name in outputs}
    for node in graph.node:
        nodes += _converted(node, _Types(floats, wide), names, kind)
    nodes += [_cast(names[name], name, onnx.TensorProto.FLOAT) for name in sorted(outputs)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return copy


def _check(model: Model, kind: HalfType) -> None:
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < kind.oldest_opset:
        raise InferenceError(f"{kind.name} needs opset {kind.oldest_opset}, this model has "
                             f"{opset}: export it with a newer one")
    for node in model.graph.node:
        if node.op_type in SUBGRAPHS or node.domain not in ("", "ai.onnx"):
            raise InferenceError(f"{node.op_type} {node.name!r} cannot be turned to {kind.name}")


def _float_tensors(model: Model) -> set[str]:
    """The names of all float32 tensors. Raises InferenceError where types are not known."""
    onnx = require_onnx()
    found = onnx.shape_inference.infer_shapes(model).graph
    typed = {v.name: v.type.tensor_type.elem_type
             for v in (*found.input, *found.output, *found.value_info)}
    typed |= {tensor.name: tensor.data_type for tensor in found.initializer}
    made = {name for node in found.node for name in node.output if name}
    unknown = sorted(name for name in made if not typed.get(name))
    if unknown:
        raise InferenceError(f"the type of {unknown[0]!r} is not known: shape inference fails")
    return {name for name, kind in typed.items() if kind == onnx.TensorProto.FLOAT}


def _shrink(tensor: Any, kind: HalfType) -> None:
    """A float32 tensor's numbers in 16 bits."""
    onnx = require_onnx()
    values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    if kind is FLOAT16 and largest > LARGEST_FLOAT16:
        raise InferenceError(f"{tensor.name}: {largest:.3g} is more than float16 holds (65504): "
                             "take bfloat16")
    name, dims = tensor.name, list(tensor.dims)
    tensor.Clear()
    tensor.name, tensor.data_type, tensor.raw_data = name, kind.number, kind.encode(values)
    tensor.dims.extend(dims)


class _Types(NamedTuple):
    """Which tensors were float32, and which constants stay so."""

    floats: set[str]
    wide: set[str]


def _wide_places(node: Node) -> Sequence[int]:
    """The inputs of a node that stay float32."""
    if node.op_type in KEPT:
        return range(len(node.input))
    return [place for place in KEPT_INPUTS.get(node.op_type, ()) if place < len(node.input)]


def _wide_constants(graph: Any, floats: set[str]) -> set[str]:
    """Float constants that some node wants in float32: rounding a scale would change sizes."""
    constants = {tensor.name for tensor in graph.initializer} | {
        node.output[0] for node in graph.node if node.op_type == "Constant"}
    read = {node.input[place] for node in graph.node for place in _wide_places(node)}
    return constants & read & floats


def _converted(node: Node, types: _Types, names: dict[str, str], kind: HalfType) -> list[Node]:
    """A node in 16 bits, with the casts that it needs."""
    onnx = require_onnx()
    if node.op_type == "Constant" and node.output[0] in types.wide:
        return [node]
    before, after = [], []
    places = _wide_places(node)
    for place, name in enumerate(node.input):
        if name not in types.floats:
            continue
        is_wide = name in types.wide
        node.input[place] = names.get(name, name)
        if is_wide != (place in places):
            target = f"{node.name or node.output[0]}/{'half' if is_wide else 'wide'}_{place}"
            number = kind.number if is_wide else onnx.TensorProto.FLOAT
            before.append(_cast(node.input[place], target, number))
            node.input[place] = target
    for place, name in enumerate(node.output):
        if name in types.floats:
            node.output[place] = names.get(name, name)
            if node.op_type in KEPT:
                after.append(_cast(f"{name}/wide", node.output[place], kind.number))
                node.output[place] = f"{name}/wide"
    _retype(node, kind)
    return [*before, node, *after]


def _retype(node: Node, kind: HalfType) -> None:
    """Types that stand in attributes: of Cast and of constants."""
    onnx = require_onnx()
    if node.op_type == "Cast":
        for item in node.attribute:
            if item.name == "to" and item.i == onnx.TensorProto.FLOAT:
                item.i = kind.number
    elif node.op_type in ("Constant", "ConstantOfShape"):
        _constant(node, kind)


def _constant(node: Node, kind: HalfType) -> None:
    """A constant in the graph: a tensor, or one or several floats."""
    onnx = require_onnx()
    for item in node.attribute:
        if item.name in ("value_float", "value_floats"):
            values = np.asarray(onnx.helper.get_attribute_value(item), np.float32)
            tensor = onnx.numpy_helper.from_array(values)
            item.CopyFrom(onnx.helper.make_attribute("value", tensor))
        if item.name == "value" and item.t.data_type == onnx.TensorProto.FLOAT:
            _shrink(item.t, kind)
    if node.op_type == "ConstantOfShape" and not node.attribute:
        zero = onnx.TensorProto(data_type=kind.number, dims=[1], raw_data=b"\0\0")
        node.attribute.append(onnx.helper.make_attribute("value", zero))


def _cast(source: str, target: str, number: int) -> Node:
    return require_onnx().helper.make_node("Cast", [source], [target], name=f"{target}/cast",
                                           to=number)
