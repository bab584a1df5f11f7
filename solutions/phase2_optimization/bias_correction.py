"""Bias correction: rounded weights shift a layer's mean; the bias takes the shift back.

The problem: the errors of rounding a filter's weights do not cancel when its inputs are not around
zero, and after a ReLU they never are. The whole channel is shifted:

    E[W' x] - E[W x] = (W' - W) E[x]

The idea: subtract exactly that from the bias. The mean input is observed on calibration data.

Source: Nagel et al., arXiv:1906.04721, section 4.2, equations 15 and 16.
"""

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.layer_inputs import Seen, weights_as_rows
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

Floats = NDArray[np.floating]


def output_shift(weights: Floats, quantized: Floats, mean_input: Floats) -> Floats:
    """The shift of each output's mean, [groups, outputs], to be taken off the bias.

    ``weights`` and ``quantized`` (as real numbers): [groups, outputs, size]; ``mean_input``:
    [groups, size].
    """
    error = quantized.astype(np.float64) - weights
    shift: Floats = np.einsum("gos,gs->go", error, mean_input)
    return shift


def correct_bias(
    graph: OnnxGraph, node: Node, quantized: Floats, seen: Seen
) -> Floats | None:
    """The corrected bias [outputs] of a layer with these quantized weights, None without bias.

    A Gemm or MatMul without a bias has no place for it.
    """
    if len(node.input) < 3 or not node.input[2]:
        return None
    weights = graph.constants[node.input[1]]
    shift = output_shift(
        weights_as_rows(node, weights), weights_as_rows(node, quantized), seen.mean
    )
    bias = graph.constants[node.input[2]]
    corrected: Floats = (bias - shift.reshape(-1)).astype(bias.dtype)
    return corrected
