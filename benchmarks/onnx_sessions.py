"""ONNX Runtime as a stopwatch: one thread, its own optimizer off or at its highest level."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.onnx_rewrite import Model

Array = NDArray[Any]
OFF, FULL = "ORT_DISABLE_ALL", "ORT_ENABLE_ALL"  # names in onnxruntime.GraphOptimizationLevel


def session(model: Model, level: str) -> Any:
    """A session on one CPU thread that does not spin; raises what ONNX Runtime raises."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.log_severity_level = 4
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def relative_difference(outputs: list[Array], expected: list[Array]) -> float:
    """The largest difference of any output, relative to that output's largest value.

    Infinite where a shape, a type or a place of a NaN differs.
    """
    if len(outputs) != len(expected):
        return np.inf
    worst = 0.0
    for found, wanted in zip(outputs, expected, strict=True):
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            return np.inf
        if not np.array_equal(np.isfinite(found), np.isfinite(wanted)):
            return np.inf
        finite = np.isfinite(wanted)
        if not finite.any():
            continue
        a, b = found[finite].astype(np.float64), wanted[finite].astype(np.float64)
        scale = max(float(np.abs(b).max()), 1e-30)
        worst = max(worst, float(np.abs(a - b).max()) / scale)
    return worst
