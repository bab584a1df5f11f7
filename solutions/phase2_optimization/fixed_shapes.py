"""A model whose every tensor has a known shape.

The problem: exported models leave the batch open and compute shapes while they run, yet memory
can be planned, and loops written out, only where every size is a number. The idea: set the open
dimensions of the inputs, let ``onnx`` infer what follows, turn each ``Shape`` of a known tensor
into a constant, fold what follows from it, and infer again until nothing changes. What is still
unknown then depends on the data (``NonZero``, ``NonMaxSuppression``).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from solutions.phase2_optimization.graph_preparation import (
    fold_constants,
    infer_shapes,
    inline_constants,
)
from solutions.phase2_optimization.onnx_rewrite import (
    Model,
    OnnxGraph,
    attribute,
    copy_model,
    require_onnx,
)
from zoo.errors import InferenceError

ROUNDS = 20  # of inferring and folding; each must make progress


class TensorShape(NamedTuple):
    """The sizes of a tensor's dimensions and its element type."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def fix_shapes(model: Model, batch: int = 1, sizes: Mapping[str, int] | None = None) -> Model:
    """The model with its inputs' open dimensions set and all shapes inferred.

    An open first dimension becomes ``batch``, every other one the size that ``sizes`` gives its
    name. Raises InferenceError where an open dimension has no size.
    """
    fixed = copy_model(model)
    weights = {tensor.name for tensor in fixed.graph.initializer}
    inputs = [value for value in fixed.graph.input if value.name not in weights]
    del fixed.graph.input[:]
    fixed.graph.input.extend(inputs)
    fixed.ir_version = max(fixed.ir_version, 4)  # before, weights had to be listed as inputs
    _set_dimensions(fixed.graph.input, batch, dict(sizes or {}))
    for value in fixed.graph.output:  # what the exporter wrote there may name open dimensions
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    for _ in range(ROUNDS):
        del fixed.graph.value_info[:]
        fixed = infer_shapes(fixed)
        graph = OnnxGraph(fixed)
        before = len(graph.nodes)
        inline_constants(graph)
        _fold_shapes(graph)
        fold_constants(graph)
        if len(graph.nodes) == before:
            break
        graph.remove_unread()
        fixed = graph.to_model()
    return fixed


def _set_dimensions(inputs: Iterable[Any], batch: int, sizes: dict[str, int]) -> None:
    for value in inputs:
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            raise InferenceError(f"input {value.name!r} has no shape: it cannot be fixed")
        for place, dimension in enumerate(tensor.shape.dim):
            if dimension.HasField("dim_value") and dimension.dim_value >= 0:
                continue
            name = dimension.dim_param
            if name in sizes:
                dimension.dim_value = sizes[name]
            elif place == 0:
                dimension.dim_value = batch
            else:
                raise InferenceError(
                    f"input {value.name!r} leaves dimension {place} ({name or 'unnamed'}) open: "
                    "give its size"
                )


def _fold_shapes(graph: OnnxGraph) -> None:
    """Shape and Size of tensors whose shape is known become constants."""
    known = _inferred(graph.model)
    done = []
    for node in graph.nodes:
        if node.op_type not in ("Shape", "Size") or node.output[0] in graph.outputs:
            continue
        found = known.get(node.input[0])
        if found is None:
            continue
        shape = np.array(found.shape, np.int64)
        start, end = attribute(node, "start", 0), attribute(node, "end", len(shape))
        value = shape[start:end] if node.op_type == "Shape" else np.array(shape.prod(), np.int64)
        graph.set_constant(node.output[0], value)
        done.append(node)
    graph.remove(done)


def _inferred(model: Model) -> dict[str, TensorShape]:
    """The tensors whose shape and element type are fully known."""
    helper = require_onnx().helper
    found = {}
    graph = model.graph
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        if tensor.elem_type and tensor.HasField("shape") and min(sizes, default=0) >= 0:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            found[value.name] = TensorShape(tuple(sizes), dtype)
    for tensor in graph.initializer:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        found[tensor.name] = TensorShape(tuple(tensor.dims), dtype)
    return found


def static_shapes(model: Model) -> dict[str, TensorShape]:
    """The shape of every tensor of the main graph of a model from :func:`fix_shapes`, by name.

    Raises InferenceError with the first tensor whose shape depends on the data.
    """
    found = _inferred(model)
    for node in model.graph.node:
        for name in node.output:
            if name and name not in found:
                raise InferenceError(
                    f"the shape of {name!r}, made by {node.op_type} {node.name!r}, depends on the "
                    "data or is unknown to onnx: it cannot be planned ahead"
                )
    return found
