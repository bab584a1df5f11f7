"""Arithmetic, traffic and lifetimes of an ONNX file, from its shapes: nothing is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from solutions.phase1_basics.flops import elements, operator_flops, traffic_bytes
from solutions.phase1_basics.layers import Layer, Operation, Shape
from zoo.errors import InferenceError, MissingExtraError


class OnnxGraph(NamedTuple):
    """A graph whose shapes are all known."""

    layers: list[Layer]  # without times
    operations: list[Operation]
    sizes: dict[str, int]  # bytes of each activation
    results: tuple[str, ...]


def read_onnx_graph(path: Path, inputs: Mapping[str, Shape]) -> OnnxGraph:
    """The graph of a file for inputs of these shapes.

    Raises MissingExtraError where ``onnx`` is not installed, InferenceError where the file is no
    ONNX model or a shape depends on the data.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "learn") from error
    try:
        model = onnx.load(str(path))
        for found in model.graph.input:
            if found.name in inputs:
                _fix_shape(found, inputs[found.name])
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # protobuf's and onnx's own, none of them public
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InferenceError(f"{path}: the graph's shapes are not known: {reason}") from error
    if not graph.node:
        raise InferenceError(f"{path}: a graph without a node is no model")
    tensors = _tensors(graph)
    weights = {tensor.name for tensor in graph.initializer}  # and what is made of them alone
    layers, operations = [], []
    for number, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{number}"
        read = [tensors[n] for n in node.input if n in tensors]
        written = [_known(tensors, n, path) for n in node.output if n]
        shapes = [shape for shape, _ in read]
        flops = operator_flops(node.op_type, shapes, [shape for shape, _ in written])
        layers.append(Layer(name, node.op_type, 0.0, flops, traffic_bytes([*read, *written])))
        reads = tuple(n for n in node.input if n and n not in weights)
        if not reads:
            weights.update(node.output)
            continue
        operations.append(Operation(name, reads, tuple(n for n in node.output if n)))
    sizes = {n: elements(s) * width for n, (s, width) in tensors.items() if n not in weights}
    return OnnxGraph(layers, operations, sizes, tuple(o.name for o in graph.output))


def _fix_shape(found: Any, shape: Shape) -> None:
    for dimension, size in zip(found.type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size


def _tensors(graph: Any) -> dict[str, tuple[Shape, int]]:
    """Shape and bytes of an element of each tensor that has a full shape."""
    import onnx

    def width(kind: int) -> int:
        return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)

    found: dict[str, tuple[Shape, int]] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        shape = tuple(int(dim.dim_value) for dim in tensor.shape.dim)
        known = all(dim.HasField("dim_value") for dim in tensor.shape.dim)
        if tensor.elem_type and tensor.HasField("shape") and known:
            found[value.name] = (shape, width(tensor.elem_type))
    for value in graph.initializer:
        found[value.name] = (tuple(value.dims), width(value.data_type))
    return found


def _known(
    tensors: Mapping[str, tuple[Shape, int]], name: str, path: Path
) -> tuple[Shape, int]:
    if name not in tensors:
        raise InferenceError(f"{path}: the shape of {name!r} depends on the data")
    return tensors[name]
