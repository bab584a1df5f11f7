"""Operators on arrays, to compute at once what does not depend on the data.

Mostly the arithmetic of shapes, which exporters write into graphs by the thousand: numpy has nearly
all of it. Each kernel follows the text of the operator's specification
(onnx.ai/onnx/operators); what numpy does otherwise is said beside it. Operators without a kernel
here go to onnx's reference evaluator, which is slow but knows them all.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solutions.phase2_optimization.onnx_protobuf import (
    Array,
    Node,
    attribute,
    operator,
    require_onnx,
)

Inputs = Sequence[Array | None]
Kernel = Callable[[Node, Inputs], Array | Sequence[Array]]


REFERENCE_LARGEST = 1 << 16  # elements; the reference evaluator runs loops in Python


def compute(node: Node, inputs: Inputs, opsets: Sequence[Any]) -> list[Array] | None:
    """The outputs of a node on arrays (None: an optional input that is not there).

    None where neither numpy nor the reference evaluator can.
    """
    kernel = KERNELS.get(operator(node))
    try:
        if kernel is None:
            size = sum(values.size for values in inputs if values is not None)
            return reference_outputs(node, inputs, opsets) if size <= REFERENCE_LARGEST else None
        with np.errstate(all="ignore"):  # NaN and infinity are values like others
            found = kernel(node, inputs)
        arrays = [found] if isinstance(found, np.ndarray | np.generic) else list(found)
        return [np.asarray(values) for values in arrays]
    except Exception:  # types or attributes that a kernel does not know: the node stays
        return None


def reference_outputs(node: Node, inputs: Inputs, opsets: Sequence[Any]) -> list[Array]:
    """The outputs of a node by onnx's reference evaluator; empty for those that have no name."""
    from onnx.reference import ReferenceEvaluator

    helper = require_onnx().helper
    feeds = {name: values for name, values in zip(node.input, inputs, strict=True)
             if values is not None}
    graph = helper.make_graph(
        [node], "node", [helper.make_empty_tensor_value_info(name) for name in feeds],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name])
    found: Any = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(None, feeds)
    if not all(isinstance(values, np.ndarray | np.generic) for values in found):
        raise TypeError("a sequence is no array")
    named = iter(found)
    return [np.asarray(next(named)) if name else np.empty(0) for name in node.output]


def _elementwise(function: Callable[..., Any]) -> Kernel:
    def kernel(node: Node, inputs: Inputs) -> Array:
        arrays = [values for values in inputs if values is not None]
        return np.asarray(function(*arrays))

    return kernel


def _same_type(function: Callable[..., Any]) -> Kernel:
    """Elementwise, and the result has the type of the first input (numpy may widen)."""
    def kernel(node: Node, inputs: Inputs) -> Array:
        arrays = [values for values in inputs if values is not None]
        return np.asarray(function(*arrays)).astype(arrays[0].dtype)

    return kernel


def _divided(a: Array, b: Array) -> Array:
    """Integers are divided towards zero, as in C; numpy's // goes down."""
    if a.dtype.kind not in "iu":
        return np.asarray(a / b)
    if not np.all(b):
        raise ZeroDivisionError
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -quotient, quotient)


def _mod(node: Node, inputs: Inputs) -> Array:
    """The sign of the divisor as in Python, with ``fmod`` that of the dividend as in C."""
    a, b = _given(inputs[0]), _given(inputs[1])
    if a.dtype.kind in "iu" and not np.all(b):
        raise ZeroDivisionError
    return np.asarray((np.fmod if attribute(node, "fmod", 0) else np.mod)(a, b))


def _cast(node: Node, inputs: Inputs) -> Array:
    kind = require_onnx().helper.tensor_dtype_to_np_dtype(attribute(node, "to"))
    values = _given(inputs[0])
    if kind not in PLAIN or values.dtype not in PLAIN:
        raise TypeError("only plain numbers: eight-bit floats saturate, texts are parsed")
    if values.dtype.kind == "f" and kind.kind in "iu":
        bounds = np.iinfo(kind)
        inside = np.isfinite(values) & (values > float(bounds.min) - 1) & (
            values < float(bounds.max) + 1)
        if not inside.all():
            raise OverflowError("left open by the specification")
    return values.astype(kind)


def _gather(node: Node, inputs: Inputs) -> Array:
    data, places = _given(inputs[0]), _given(inputs[1])
    return np.take(data, places, axis=attribute(node, "axis", 0))


def _slice(node: Node, inputs: Inputs) -> Array:
    data = _given(inputs[0])
    found = slice_arguments(node, inputs)
    cuts = [slice(None)] * data.ndim
    for start, end, axis, step in found:
        size = data.shape[axis]
        if step > 0:
            cuts[axis] = slice(start, end, step)
            continue
        if start < -size:
            raise IndexError("numpy and the specification differ on starts before the beginning")
        last = None if end < -size else end  # backwards, the end lies before the first element
        cuts[axis] = slice(start, last, step)
    return np.ascontiguousarray(data[tuple(cuts)])


def slice_arguments(node: Node, inputs: Inputs) -> list[tuple[int, int, int, int]]:
    """(start, end, axis, step) of each axis that a Slice cuts; attributes before opset 10."""
    if len(inputs) > 1:
        starts, ends = (_given(inputs[place]).tolist() for place in (1, 2))
        rest = [inputs[place] if len(inputs) > place else None for place in (3, 4)]
        axes, steps = (None if values is None else values.tolist() for values in rest)
    else:
        starts, ends = list(attribute(node, "starts")), list(attribute(node, "ends"))
        axes, steps = attribute(node, "axes"), None
    return list(zip(starts, ends, list(axes or range(len(starts))), steps or [1] * len(starts),
                    strict=True))


def _reshape(node: Node, inputs: Inputs) -> Array:
    data, target = _given(inputs[0]), _given(inputs[1]).tolist()
    if not attribute(node, "allowzero", 0):
        target = [data.shape[i] if size == 0 else size for i, size in enumerate(target)]
    return data.reshape(target)


def axes_of(node: Node, inputs: Inputs) -> list[int] | None:
    """The axes of Squeeze, Unsqueeze and reductions: an input, or an attribute in older opsets."""
    if len(inputs) > 1:
        return None if inputs[1] is None else [int(axis) for axis in inputs[1].ravel()]
    axes = attribute(node, "axes")
    return None if axes is None else list(axes)


def _unsqueeze(node: Node, inputs: Inputs) -> Array:
    return np.expand_dims(_given(inputs[0]), tuple(axes_of(node, inputs) or ()))


def _squeeze(node: Node, inputs: Inputs) -> Array:
    axes = axes_of(node, inputs)
    return np.squeeze(_given(inputs[0]), None if axes is None else tuple(axes))


def _transpose(node: Node, inputs: Inputs) -> Array:
    return np.ascontiguousarray(np.transpose(_given(inputs[0]), attribute(node, "perm")))


def _concat(node: Node, inputs: Inputs) -> Array:
    return np.concatenate([_given(values) for values in inputs], axis=attribute(node, "axis"))


def _constant_of_shape(node: Node, inputs: Inputs) -> Array:
    value = attribute(node, "value")
    fill = np.zeros(1, np.float32) if value is None else require_onnx().numpy_helper.to_array(value)
    return np.full(_given(inputs[0]).tolist(), fill[0], fill.dtype)


def _expand(node: Node, inputs: Inputs) -> Array:
    """Both ways: the input may be wider than the target says."""
    data, target = _given(inputs[0]), _given(inputs[1]).tolist()
    return np.ascontiguousarray(np.broadcast_to(data, np.broadcast_shapes(data.shape, target)))


def _range(node: Node, inputs: Inputs) -> Array:
    start, limit, step = (_given(values).reshape(())[()] for values in inputs)
    count = max(int(np.ceil((limit - start) / step)), 0)
    return (start + np.arange(count) * step).astype(start.dtype)


def _where(node: Node, inputs: Inputs) -> Array:
    condition, yes, no = (_given(values) for values in inputs)
    return np.where(condition, yes, no).astype(yes.dtype)


def _reduction(function: Callable[..., Any]) -> Kernel:
    def kernel(node: Node, inputs: Inputs) -> Array:
        data, axes = _given(inputs[0]), axes_of(node, inputs)
        if not axes and attribute(node, "noop_with_empty_axes", 0):
            return data
        keep = bool(attribute(node, "keepdims", 1))
        made = function(data, axis=tuple(axes) if axes else None, keepdims=keep)
        return np.asarray(made).astype(data.dtype)

    return kernel


def _flatten(node: Node, inputs: Inputs) -> Array:
    data = _given(inputs[0])
    axis = attribute(node, "axis", 1)
    axis += data.ndim if axis < 0 else 0
    return data.reshape(int(np.prod(data.shape[:axis], dtype=np.int64)), -1)


def _size(node: Node, inputs: Inputs) -> Array:
    return np.asarray(_given(inputs[0]).size, np.int64)


def _tile(node: Node, inputs: Inputs) -> Array:
    return np.tile(_given(inputs[0]), _given(inputs[1]).tolist())


def _scatter_nd(node: Node, inputs: Inputs) -> Array:
    """Of several updates of one place the last wins: numpy's rule, too."""
    if attribute(node, "reduction", "none") != "none":
        raise TypeError("only plain updates")
    data, places, updates = (_given(values) for values in inputs)
    made = data.copy()
    made[tuple(np.moveaxis(places, -1, 0))] = updates
    return made


def _identity(node: Node, inputs: Inputs) -> Array:
    return _given(inputs[0])


def _given(values: Array | None) -> Array:
    if values is None:
        raise TypeError("an input is missing")
    return values


PLAIN = {np.dtype(name) for name in (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "float32", "float64")}
KERNELS: dict[str, Kernel] = {
    "Abs": _elementwise(np.abs), "Add": _elementwise(np.add), "And": _elementwise(np.logical_and),
    "Cast": _cast, "Ceil": _elementwise(np.ceil), "Concat": _concat,
    "Cos": _elementwise(np.cos), "Exp": _elementwise(np.exp), "Sin": _elementwise(np.sin),
    "ConstantOfShape": _constant_of_shape, "Div": _elementwise(_divided),
    "Equal": _elementwise(np.equal), "Expand": _expand, "Flatten": _flatten,
    "Floor": _elementwise(np.floor), "Gather": _gather, "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal), "Identity": _identity,
    "Less": _elementwise(np.less), "LessOrEqual": _elementwise(np.less_equal), "Mod": _mod,
    "MatMul": _elementwise(np.matmul), "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Not": _elementwise(np.logical_not), "Or": _elementwise(np.logical_or),
    "Pow": _same_type(np.power), "Range": _range, "ReduceMax": _reduction(np.max),
    "ReduceMin": _reduction(np.min), "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum), "Reshape": _reshape, "ScatterND": _scatter_nd, "Size": _size,
    "Slice": _slice, "Sqrt": _elementwise(np.sqrt), "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract), "Tile": _tile, "Transpose": _transpose,
    "Unsqueeze": _unsqueeze, "Where": _where, "Xor": _elementwise(np.logical_xor),
}
