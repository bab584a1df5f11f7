"""Matrix products by every library that is installed, to measure what the machine can do."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.roofline import Product


def matrix_products(sizes: Sequence[int], threads: int) -> dict[str, Product]:
    """A float32 product [size, size] of each size by NumPy, ONNX Runtime and torch.

    NumPy keeps the threads that its library was started with.
    """
    found: dict[str, Product] = {}
    for size in sizes:
        matrix = np.random.default_rng(0).random((size, size), np.float32)
        flops, shape = 2.0 * size**3, f"{size}×{size} product"
        found[f"NumPy {shape}"] = Product(numpy_product(matrix), flops)
        with suppress(ImportError):
            found[f"ONNX Runtime {shape}"] = Product(onnx_product(matrix, threads), flops)
        with suppress(ImportError):
            found[f"torch {shape}"] = Product(torch_product(matrix, threads), flops)
    return found


def numpy_product(matrix: NDArray[np.float32]) -> Callable[[], object]:
    """A call that multiplies a square matrix with itself."""
    target = np.empty_like(matrix)
    return lambda: np.matmul(matrix, matrix, out=target)


def torch_product(matrix: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """The same in torch. Raises ImportError where it is not installed."""
    import torch

    torch.set_num_threads(threads)
    tensor = torch.from_numpy(matrix)
    return lambda: torch.mm(tensor, tensor)


def onnx_product(matrix: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """The same in ONNX Runtime. Raises ImportError where ``onnx`` is not installed."""
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
