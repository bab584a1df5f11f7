"""How much arithmetic and how much traffic an operator is, from its shapes alone.

A multiplication and an addition count as two operations (FLOPs). Matrix operators are counted
exactly; element by element operators as one operation for each output element; whatever only
moves data as none. Padding counts as if it were data, as everywhere in the field.
"""

import math
from collections.abc import Sequence

from solutions.phase1_basics.layers import Shape

ELEMENTWISE = frozenset({
    "Add", "Sub", "Mul", "Div", "Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid",
    "HardSwish", "Sqrt", "Pow", "Exp", "Erf", "Gelu", "QuickGelu", "Silu", "Softmax",
    "BatchNormalization", "LayerNormalization",
})  # fmt: skip
CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger"})
PRODUCTS = frozenset({"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger",
                      "QLinearMatMul", "DynamicQuantizeMatMul"})
POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"})


def elements(shape: Shape) -> int:
    """How many numbers a tensor of that shape holds."""
    return math.prod(shape)


def convolution_flops(weight: Shape, output: Shape) -> int:
    """2 x output elements x (inputs of one output): weight [M, C/groups, k...], output [N, M, ...].

    Each output element is a sum over C/groups x k... products.
    """
    return 2 * elements(output) * elements(weight[1:])


def transposed_convolution_flops(weight: Shape, source: Shape) -> int:
    """2 x input elements x (outputs of one input): weight [C, M/groups, k...], source [N, C, ..].
    """
    return 2 * elements(source) * elements(weight[1:])


def product_flops(left: Shape, right: Shape, output: Shape) -> int:
    """2 x output elements x length of the sums, of a matrix product [..., m, K] x [..., K, n].

    Either operand may lie transposed (fused products hide it): the area of the two over that of
    the product, m K x K n / m n, is K squared.
    """
    if min(len(left), len(right)) == 1:
        length = left[0] if len(left) == 1 else right[0]
    else:
        area = elements(output[-2:])
        length = math.isqrt(elements(left[-2:]) * elements(right[-2:]) // area) if area else 0
    return 2 * elements(output) * length


def attention_flops(query: Shape, key: Shape, value: Shape) -> int:
    """Scores and their weighted sum: query [..., L, E], key [..., S, E], value [..., S, Ev]."""
    *batch, length, width = query
    scores = 2 * math.prod(batch) * length * key[-2] * width
    return scores + 2 * math.prod(batch) * length * key[-2] * value[-1]


def operator_flops(kind: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """FLOPs of an ONNX operator (also the fused ones of ONNX Runtime), from its shapes.

    ``inputs`` are those of activations and weights in the operator's order. An operator that is
    not known, and one that only moves data, counts as 0.
    """
    if not outputs:
        return 0
    output = outputs[0]
    if kind in CONVOLUTIONS:
        # The quantized forms have scales (no dimensions) between input and weight.
        weight = next((shape for shape in inputs[1:] if len(shape) >= 3), ())
        return convolution_flops(weight, output) if weight else 0
    if kind == "ConvTranspose":
        return transposed_convolution_flops(inputs[1], inputs[0])
    if kind in PRODUCTS:
        # The quantized forms have scales, of at most one dimension, between the operands.
        matrices = [shape for shape in inputs if len(shape) >= 2]
        left, right = (matrices if len(matrices) >= 2 else list(inputs))[:2]
        return product_flops(left, right, output)
    if kind in POOLS:
        return elements(inputs[0]) if kind not in {"MaxPool", "AveragePool"} else elements(output)
    return elements(output) if kind in ELEMENTWISE else 0


def traffic_bytes(tensors: Sequence[tuple[Shape, int]]) -> int:
    """Bytes of some tensors (shape, bytes of one element), each moved once.

    The least that a memory must deliver where nothing is in a cache (S. Williams et al.,
    "Roofline", CACM 2009: compulsory misses).
    """
    return sum(elements(shape) * width for shape, width in tensors)
