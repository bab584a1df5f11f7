"""Sixteen-bit floats: float16 (more digits) and bfloat16 (float32's range).

float16 has 10 bits of fraction and ends at 65504; bfloat16 is the upper half of a float32: 7 bits
of fraction and the same exponents. Rounding is to nearest, halves to even. What is too large for
float16 saturates here instead of becoming infinite, since one infinity spoils a whole network.

Source: IEEE 754-2019; bfloat16 as in arXiv:1905.12322.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.onnx_rewrite import require_onnx
from zoo.errors import InferenceError

Floats = NDArray[np.float32]
Bits16 = NDArray[np.uint16]
FLOAT16_MOST = np.float32(65504.0)
SMALLEST_STORED = 64  # values; smaller tensors (scalars, biases, shapes) stay as they are


def to_float16(values: Floats) -> NDArray[np.float16]:
    """Nearest float16; finite values beyond +-65504 saturate, infinities and NaN stay."""
    finite = np.isfinite(values)
    saturated = np.where(finite, np.clip(values, -FLOAT16_MOST, FLOAT16_MOST), values)
    return saturated.astype(np.float16)


def to_bfloat16(values: Floats) -> Bits16:
    """The bits of the nearest bfloat16. Finite values that would round to infinity saturate."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))  # ties to even
    rounded = ((bits.astype(np.uint64) + half) >> np.uint64(16)).astype(np.uint16)
    overflow = np.isfinite(values) & ((rounded & 0x7F80) == 0x7F80)
    rounded = np.where(overflow, (rounded & 0x8000) | 0x7F7F, rounded)
    quiet_nan = np.uint16(0x7FC0) | (bits >> np.uint32(16)).astype(np.uint16) & np.uint16(0x8000)
    return np.where(np.isnan(values), quiet_nan, rounded).astype(np.uint16)


def from_bfloat16(bits: Bits16) -> Floats:
    """The float32 values of bfloat16 bits: exact."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def store_float16(model: Any) -> Any:
    """A copy of an ONNX model whose weights are stored as float16 and computed with as float32."""
    kind = require_onnx().TensorProto.FLOAT16
    return _store(model, kind, lambda values: to_float16(values).tobytes())


def store_bfloat16(model: Any) -> Any:
    """A copy of an ONNX model whose weights are stored as bfloat16 and computed with as float32."""
    kind = require_onnx().TensorProto.BFLOAT16
    return _store(model, kind, lambda values: to_bfloat16(values).tobytes())


def _store(model: Any, kind: int, encode: Callable[[Floats], bytes]) -> Any:
    """Replace each large float32 initializer by a 16-bit one and a Cast, which runtimes fold."""
    onnx = require_onnx()
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if version < 13:
        raise InferenceError(f"16-bit weights need opset 13, this model has {version}: convert it")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    casts = []
    for tensor in copy.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_STORED:
            continue
        values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        name, dims = tensor.name, list(tensor.dims)
        tensor.Clear()
        tensor.name, tensor.data_type, tensor.raw_data = f"{name}_16", kind, encode(values)
        tensor.dims.extend(dims)
        casts.append(onnx.helper.make_node("Cast", [f"{name}_16"], [name], to=1, name=f"{name}_up"))
    nodes = [*casts, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy
