"""How far a quantized network may be from its float one: from its steps alone, node by node.

Rounding to nearest moves a number by half a step at most, and evenly spread by step^2 / 12 on
average (the variance of a uniform distribution). Both go through the network with its own layers:

    y = w x + b       worst |w'| e + |w' - w| |x| + |b' - b|      w', b': the rounded ones
                      square (w'^2) v + ((w' - w) x)^2 + (b' - b)^2

Ranges must hold everything that was seen, so that nothing saturates beyond them.
"""

from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper
from small_graphs import run_onnxruntime

LINEAR = {"Add", "AveragePool", "Clip", "Concat", "DepthToSpace", "Flatten", "GlobalAveragePool",
          "Gather", "LeakyRelu", "MaxPool", "Relu", "Reshape", "Resize", "Slice", "Split",
          "Transpose"}


class Error(NamedTuple):
    """Of each element of a tensor."""

    most: np.ndarray
    square: np.ndarray  # expected


def output_errors(prepared, quantized, feeds):
    """The errors of a quantized model's outputs, and the float outputs: two lists."""
    values, constants = intermediate_values(prepared, feeds), arrays(prepared)
    steps, rounded = activation_steps(quantized), layer_weights(quantized)
    errors = {}

    def of(name):
        zeros = np.zeros_like(values.get(name, constants.get(name)))
        return errors.get(name, Error(zeros, zeros))

    for name, values_in in feeds.items():
        errors[name] = _rounded(Error(*[np.zeros_like(values_in)] * 2), steps.get(name))
    for node in prepared.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in constants:
            made = [_of_layer(node, values, constants, rounded, of(node.input[0]))]
        elif node.op_type in ("Mul", "MatMul"):
            made = [_of_product(node, *[(np.abs(values.get(n, constants.get(n))), of(n))
                                        for n in node.input])]
        elif node.op_type == "Sigmoid":
            error = of(node.input[0])
            made = [Error(error.most / 4, error.square / 16)]  # its slope is 1/4 at most
        else:
            assert node.op_type in LINEAR, node.op_type
            made = _of_linear(node, of, constants)
        for name, error in zip(node.output, made, strict=True):
            errors[name] = _rounded(error, steps.get(name))
    outputs = [value.name for value in prepared.graph.output]
    return [errors[name] for name in outputs], [values[name] for name in outputs]


def _rounded(error, step):
    if step is None:
        return error
    return Error(error.most + step / 2, error.square + step**2 / 12)


def _of_layer(node, values, constants, rounded, before):
    x = values[node.input[0]]
    weights = constants[node.input[1]]
    bias = constants[node.input[2]] if len(node.input) > 2 else np.float32(0)
    real, real_bias = rounded.get(node.name, (weights, bias))
    off = np.abs(real_bias - bias)
    if node.op_type == "Conv":
        off = off.reshape(-1, *[1] * (x.ndim - 2)) if off.ndim else off

    def through(inputs, by):
        return run_node(node, [inputs, by])[0]

    most = through(before.most, np.abs(real)) + through(np.abs(x), np.abs(real - weights)) + off
    square = through(before.square, real**2) + through(x, real - weights) ** 2 + off**2
    return Error(most, square)


def _of_product(node, left, right):
    (x, of_x), (y, of_y) = left, right
    pairs = [(x, of_y.most), (of_x.most, y), (of_x.most, of_y.most)]
    squares = [(x**2, of_y.square), (of_x.square, y**2), (of_x.square, of_y.square)]
    return Error(sum(run_node(node, list(p))[0] for p in pairs),
                 sum(run_node(node, list(p))[0] for p in squares))


def _of_linear(node, of, constants):
    """Operators by which errors do not grow beyond what the operator makes of them."""
    plain = type(node)()
    plain.CopyFrom(node)
    if node.op_type in ("Clip", "Relu"):
        return [of(node.input[0])]
    if node.op_type == "LeakyRelu":
        return [of(node.input[0])]
    found = []
    for part in ("most", "square"):
        inputs = [constants[n] if n in constants else getattr(of(n), part) if n else None
                  for n in node.input]
        found.append(run_node(plain, inputs))
    return [Error(most, square) for most, square in zip(*found, strict=True)]


def run_node(node, inputs):
    """One float node, by itself."""
    kept = [(f"i{k}" if v is not None else "") for k, v in enumerate(inputs)]
    alone = type(node)()
    alone.CopyFrom(node)
    del alone.input[:]
    alone.input.extend(kept)
    feeds = {n: np.asarray(v) for n, v in zip(kept, inputs, strict=True) if n}
    given = [helper.make_tensor_value_info(
        n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in feeds.items()]
    made = [helper.make_tensor_value_info(n, 1, None) for n in node.output]
    graph = helper.make_graph([alone], "one", given, made)
    return run_onnxruntime(helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), feeds, optimize=False)


def intermediate_values(model, feeds):
    """Every tensor of a float model."""
    names = list(dict.fromkeys(n for node in model.graph.node for n in node.output if n))
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(n, 1, None) for n in names)
    return dict(zip(names, run_onnxruntime(watched, feeds, optimize=False), strict=True)) | feeds


def arrays(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def activation_steps(quantized):
    """The step of each tensor that is quantized, by its name in the float model."""
    constants = arrays(quantized)
    return {node.input[0].removesuffix("/real"): constants[node.input[1]]
            for node in quantized.graph.node if node.op_type == "QuantizeLinear"}


def layer_weights(quantized):
    """The real weights and bias that each integer layer stands for, by its name."""
    constants = arrays(quantized)
    makers = {name: node for node in quantized.graph.node for name in node.output}

    def real(name):
        maker = makers.get(name)
        if maker is None:
            return constants[name]
        integers, scale = constants[maker.input[0]], constants[maker.input[1]]
        shape = [1] * integers.ndim
        axis = next((a.i for a in maker.attribute if a.name == "axis"), 1)
        shape[axis if scale.ndim else 0] = -1
        return integers.astype(np.float32) * scale.reshape(shape)

    found = {}
    for node in quantized.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            weights = makers.get(node.input[1])
            if node.input[1] in constants or weights.input[0] in constants:
                bias = real(node.input[2]) if len(node.input) > 2 else np.float32(0)
                found[node.name] = real(node.input[1]), bias
    return found
