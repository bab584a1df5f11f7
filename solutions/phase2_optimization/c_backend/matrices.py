"""Gemm and MatMul with constant weights.

Weights are cut into blocks of output columns as wide as a vector, so that one input value times a
row of a block adds to a vector of sums. A tile has several rows or, where there is one row only,
splits the sum over k into independent parts: one chain of additions would wait for itself.
"""

from math import prod

import numpy as np

from solutions.phase2_optimization.c_backend.blocks import Floats
from solutions.phase2_optimization.c_backend.c_text import indent
from solutions.phase2_optimization.c_backend.elementwise import flat_kernel
from solutions.phase2_optimization.c_backend.fusion import Group
from solutions.phase2_optimization.c_backend.lowering import Lowering
from solutions.phase2_optimization.c_backend.parts import title
from solutions.phase2_optimization.c_backend.program import NAME, Call, Value
from solutions.phase2_optimization.onnx_rewrite import Node, attribute
from zoo.errors import InferenceError

SUMS = 8  # independent sums of a tile


def matrix_product(low: Lowering, group: Group) -> Value:
    """x [..., k] times constant weights [k, n], plus a bias, with what follows."""
    node = group.node
    weights, bias = constant_operands(low, node)
    x, shape = low.plain(node.input[0]), low.shape(node.output[0])
    y = low.new(group.output, shape, False)
    rows, inner = prod(x.shape[:-1]), len(weights)
    text = gemm_kernel(rows, inner, weights.shape[1], low.lanes)
    packed = [low.program.constant(part) for part in packed_columns(weights, bias, low.lanes)]
    calls = [Call(text, (low.program.whole(x), *packed, low.program.whole(y)))]
    extras: list[Value] = []
    if group.chain:
        extras = low.operands(group.chain, shape, False)
        calls.append(Call(
            flat_kernel(group.chain, y.floats(low.lanes), low.lanes),
            tuple(low.program.whole(value) for value in (y, *extras, y)),
        ))
    low.program.add(title(group), calls, [x, *extras], y)
    return y


def constant_operands(low: Lowering, node: Node) -> tuple[Floats, Floats]:
    """Weights [k, n] and bias [n] of a Gemm or MatMul, its factors multiplied in.

    Raises InferenceError where they are not of this form.
    """
    weights = low.constant(node.input[1]).astype(np.float32)
    if weights.ndim != 2 or not low.shape(node.output[0]) or attribute(node, "transA", 0):
        raise InferenceError(
            f"{node.name or node.op_type}: the C back end multiplies [..., k] by a constant "
            f"matrix, not by one of shape {weights.shape}, and knows no transA"
        )
    weights = weights.T if attribute(node, "transB", 0) else weights
    weights = weights * np.float32(attribute(node, "alpha", 1.0))
    bias = np.zeros(weights.shape[1], np.float32)
    if len(node.input) > 2 and node.input[2]:
        given = low.constant(node.input[2]).astype(np.float32) * attribute(node, "beta", 1.0)
        if given.ndim > 1 and given.shape[0] > 1:
            raise InferenceError(
                f"{node.name or 'Gemm'}: the C back end wants one bias for all rows"
            )
        bias = np.broadcast_to(given.reshape(-1), bias.shape)
    return weights, bias


def packed_columns(weights: Floats, bias: Floats, lanes: int) -> tuple[Floats, Floats]:
    """Weights [k, n] as [column block, k, lane] and the bias as [column block, lane]."""
    k, n = weights.shape
    blocks = -(-n // lanes)
    filled = np.zeros((k, blocks * lanes), np.float32)
    filled[:, :n] = weights
    sums = np.zeros(blocks * lanes, np.float32)
    sums[:n] = bias
    return np.ascontiguousarray(filled.reshape(k, blocks, lanes).transpose(1, 0, 2)), sums


def gemm_kernel(rows: int, k: int, n: int, lanes: int) -> str:
    """C for [rows, k] times [k, n] in blocks of columns."""
    together = max(d for d in range(1, SUMS + 1) if rows % d == 0)
    splits = next(d for d in (8, 4, 2, 1) if k % d == 0 and d * together <= max(SUMS, together))
    blocks = -(-n // lanes)
    sums = [(r, s) for r in range(together) for s in range(splits)]
    names = ", ".join(f"a{r}_{s} = {{0}}" for r, s in sums)
    lines = [
        f"for (int m = 0; m < {rows}; m += {together})",
        f"    for (int block = 0; block < {blocks}; block++) {{",
        f"        const float *w = weights + block * {k * lanes}, *in = x + (long)m * {k};",
        f"        v{lanes} {names};",
        f"        for (int c = 0; c < {k}; c += {splits}, w += {splits * lanes}) {{",
        *(f"            const v{lanes} w{s} = load{lanes}(w + {s * lanes});"
          for s in range(splits)),
        *(f"            a{r}_{s} += w{s} * in[c + {r * k + s}];" for r, s in sums),
        "        }",
    ]
    last = n - (blocks - 1) * lanes
    count = f"(block == {blocks - 1} ? {4 * last} : {4 * lanes})" if last < lanes else 4 * lanes
    for r in range(together):
        total = " + ".join(f"a{r}_{s}" for s in range(splits))
        lines += [
            f"        a{r}_0 = {total} + load{lanes}(bias + block * {lanes});",
            f"        memcpy(y + (m + {r}) * {n}L + block * {lanes}, &a{r}_0, {count});",
        ]
    head = "const float *x, const float *weights, const float *bias, float *y"
    return "\n".join([f"static void {NAME}({head})", "{", *indent([*lines, "    }"]), "}"])
