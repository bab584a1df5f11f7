"""Random convolutional networks: what fusions and layouts look for, in every odd combination."""

import numpy as np
from random_graphs import RandomGraph, binary

ACTIVATIONS = ("Relu", "Sigmoid", "LeakyRelu", "HardSwish", "HardSigmoid", "Tanh", "Clip", "Swish")
MOST_CHANNELS = 48


def convolution(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    """Any kernel, stride, padding, group; with and without bias."""
    channels, rows, columns = graph.shape(a)[1:]
    rng = np.random.default_rng(variant)
    kernel, stride = int(rng.choice([1, 3, 3, 5])), int(rng.choice([1, 1, 2]))
    group = int(rng.choice([g for g in (1, 1, 2, channels) if channels % g == 0]))
    out = group * int(rng.choice([1, 2, 3, 8])) if group > 1 else int(rng.choice([3, 8, 16, 24]))
    if out > MOST_CHANNELS or min(rows, columns) < kernel:
        return None
    half = kernel // 2
    pads = [[half] * 4, [0] * 4, [0, 0, half, half]][variant % 3]
    fan = channels // group * kernel * kernel
    weights = rng.normal(0, fan**-0.5, (out, channels // group, kernel, kernel))
    inputs = [a, graph.constant(weights, np.float32)]
    if variant % 2:
        inputs.append(graph.constant(rng.normal(0, 0.3, out), np.float32))
    return graph.node("Conv", *inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads,
                      group=group)


def norm(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    channels, rng = graph.shape(a)[1], np.random.default_rng(variant)
    numbers = [rng.uniform(0.5, 1.5, channels), rng.normal(0, 0.2, channels),
               rng.normal(0, 0.2, channels), rng.uniform(0.5, 1.5, channels)]
    return graph.node(
        "BatchNormalization", a, *(graph.constant(values, np.float32) for values in numbers))


def activation(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    op_type = ACTIVATIONS[variant % len(ACTIVATIONS)]
    if op_type == "Clip":
        bounds = [graph.constant(bound, np.float32) for bound in (0.0, 6.0)]
        return graph.node("Clip", a, *bounds)
    if op_type == "Swish":
        gate = graph.node("Sigmoid", a)
        return graph.node("Mul", *((a, gate) if variant % 2 else (gate, a)))
    return graph.node(op_type, a)


def concat(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    if graph.shape(a)[2:] != graph.shape(b)[2:]:
        return None
    if graph.shape(a)[1] + graph.shape(b)[1] > MOST_CHANNELS:
        return None
    return graph.node("Concat", a, b, axis=1)


def pool(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    if min(graph.shape(a)[2:]) < 3:
        return None
    op_type = ("MaxPool", "AveragePool")[variant % 2]
    pads = [0] * 4 if variant % 3 else [1] * 4
    return graph.node(op_type, a, kernel_shape=[3, 3], strides=[1 + variant % 2] * 2, pads=pads)


def gate(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    """Squeeze and excitation."""
    if variant % 2:
        mean = graph.node("ReduceMean", a, axes=[2, 3], keepdims=1)
    else:
        mean = graph.node("GlobalAveragePool", a)
    return graph.node("Mul", a, graph.node("HardSigmoid", mean))


def scaled(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    channels, rng = graph.shape(a)[1], np.random.default_rng(variant)
    shape = [(1, channels, 1, 1), (channels, 1, 1), ()][variant % 3]
    factor = graph.constant(rng.normal(1, 0.3, shape), np.float32)
    return graph.node(("Mul", "Add", "Sub")[variant % 3 - variant % 2], a, factor)


def resized(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    if max(graph.shape(a)[2:]) > 10:
        return None
    scales = graph.constant([1, 1, 2, 2], np.float32)
    return graph.node("Resize", a, "", scales, mode="nearest", nearest_mode="floor",
                      coordinate_transformation_mode="asymmetric")


def padded(graph: RandomGraph, a: str, b: str, variant: int) -> str | None:
    if max(graph.shape(a)[2:]) > 16:
        return None
    return graph.node("Pad", a, graph.constant([0, 0, 1, variant % 2, 0, 0, 1, 0]))


def channels_last(graph: RandomGraph, a: str, b: str, variant: int) -> str:
    """A pointwise layer as ConvNeXt has it: on channels that lie last."""
    channels, rng = graph.shape(a)[1], np.random.default_rng(variant)
    weights = rng.normal(0, channels**-0.5, (channels, 8))
    last = graph.node("Transpose", a, perm=[0, 2, 3, 1])
    made = graph.node("MatMul", last, graph.constant(weights, np.float32))
    if variant % 2:
        made = graph.node("Add", made, graph.constant(rng.normal(0, 0.3, 8), np.float32))
    return graph.node("Transpose", made, perm=[0, 3, 1, 2])


CONVOLUTIONAL = (convolution, convolution, convolution, convolution, norm, activation, activation,
                 binary, concat, pool, gate, scaled, resized, padded, channels_last)
