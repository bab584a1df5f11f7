"""A matrix product in ONNX Runtime, to measure the machine with the runtime's own kernels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def onnx_product(matrix: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """A call that multiplies a square matrix with itself. Raises ImportError without ``onnx``."""
    import onnx
    import onnxruntime as ort
    from onnx import helper

    size = list(matrix.shape)
    values = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, size) for n in "abc"]
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    model = helper.make_model(
        helper.make_graph([node], "product", values[:2], values[2:]),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"a": matrix, "b": matrix})
