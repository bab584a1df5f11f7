"""How many multiply-accumulates each layer of an ONNX graph does for one input."""

from math import prod

from solutions.phase2_optimization.graph_preparation import infer_shapes
from solutions.phase2_optimization.onnx_rewrite import Model, Node, attribute, copy_model


def layer_macs(model: Model) -> dict[str, int]:
    """Multiply-accumulates by node name, of Conv, Gemm and MatMul; free dimensions count as 1.

    A layer whose shapes are not known beforehand is left out.
    """
    shapes = known_shapes(with_fixed_inputs(model))
    found = {node.name: _macs(node, shapes) for node in model.graph.node}
    return {name: macs for name, macs in found.items() if macs is not None}


def with_fixed_inputs(model: Model) -> Model:
    """A copy whose free input dimensions are 1, shapes inferred anew."""
    copy = copy_model(model)
    for value in copy.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.HasField("dim_value"):
                dimension.dim_value = 1
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    return infer_shapes(copy)


def known_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """The full shapes of inputs, constants and inferred tensors."""
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            shapes[value.name] = tuple(int(d.dim_value) for d in tensor.shape.dim)
    return shapes


def _macs(node: Node, shapes: dict[str, tuple[int, ...]]) -> int | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    weights, made = shapes.get(node.input[1]), shapes.get(node.output[0])
    if weights is None or made is None:
        return None
    if node.op_type == "Conv":
        return prod(made) * prod(weights[1:])
    inner = weights[1] if attribute(node, "transB", 0) else weights[-2 if len(weights) > 1 else 0]
    return prod(made) * inner
