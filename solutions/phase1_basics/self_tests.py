"""Small computations whose answers are known: does each runtime still compute right?

The expected values come from closed forms or from integers, never from another runtime that
might be wrong in the same way.
"""

import importlib.util
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class SelfTest(NamedTuple):
    """The outcome of one known-answer test."""

    name: str
    outcome: Literal["right", "wrong", "broken", "absent"]  # broken: did not run at all
    detail: str
    remedy: str = ""


def compare(name: str, found: Array, expected: Array, tolerance: float, remedy: str) -> SelfTest:
    """``right`` where all values are within an absolute tolerance, else ``wrong`` and how far."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        return SelfTest(name, "wrong", f"shape {found.shape}, not {expected.shape}", remedy)
    error = np.abs(found - expected)
    worst = int(np.argmax(np.where(np.isfinite(error), error, np.inf)))
    if np.all(error <= tolerance):
        return SelfTest(name, "right", f"largest error {error.max():.1g}")
    return SelfTest(name, "wrong",
                    f"{found.flat[worst]:g} where {expected.flat[worst]:g} is right", remedy)


def run_self_tests(device: str = "cpu") -> list[SelfTest]:
    """All known-answer tests of the runtimes that are installed."""
    tests: list[tuple[str, str, Callable[[], SelfTest]]] = [
        ("NumPy", "numpy", numpy_product),
        ("OpenCV", "cv2", opencv_resize),
        ("ONNX Runtime", "onnxruntime", onnx_digits),
        ("ONNX Runtime INT8", "onnx", onnx_integer_product),
        ("PyTorch", "torch", lambda: torch_convolution(device)),
    ]
    outcomes = []
    for name, module, test in tests:
        if importlib.util.find_spec(module) is None:
            outcomes.append(SelfTest(name, "absent", f"{module} is not installed"))
            continue
        try:
            outcomes.append(test())
        except Exception as error:  # a runtime that cannot even start is told, not raised
            outcomes.append(SelfTest(name, "broken", f"{type(error).__name__}: {error}"[:200]))
    return outcomes


def numpy_product() -> SelfTest:
    """A Hilbert-like product of small integers, exact in float32."""
    row = np.arange(1, 65, dtype=np.float32)
    found = np.outer(row, row) @ row  # row i: i * (1^2 + ... + 64^2)
    return compare("NumPy", found, row * (64 * 65 * 129 // 6), 0.0,
                   "NumPy's BLAS is broken: reinstall numpy; check the memory (memtest)")


def opencv_resize() -> SelfTest:
    """A ramp shrunk by two is the mean of its neighbours."""
    import cv2

    ramp = np.repeat(np.arange(0, 128, 2, dtype=np.uint8)[None], 4, axis=0)
    found = cv2.resize(ramp, (32, 4), interpolation=cv2.INTER_LINEAR)
    expected = np.repeat(np.arange(1, 128, 4)[None], 4, axis=0)
    return compare("OpenCV", found, expected, 0.0, "reinstall opencv-python-headless")


def onnx_digits() -> SelfTest:
    """The shipped classifier names the first shipped digit of each class."""
    import cv2

    from solutions.phase1_basics.onnx_model import OnnxModel
    from zoo.digits import glyphs
    from zoo.registry import fetch, find

    images, labels = glyphs("test")
    first = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
    bright = np.minimum(images[first].astype(np.int64) * 16, 255).astype(np.uint8)
    batch = np.stack([cv2.resize(image, (20, 20)) for image in bright])[:, None]
    scores = OnnxModel(fetch(find("zoo:digits"))).predict(batch.astype(np.float32))
    return compare("ONNX Runtime", scores.argmax(axis=1), np.arange(10), 0.0,
                   "reinstall onnxruntime")


def onnx_integer_product() -> SelfTest:
    """Products of extreme bytes: 255 * -128, 64 of them, which 16 bits cannot hold."""
    import onnxruntime as ort
    from onnx import TensorProto, checker, helper

    rows, inner, columns = 4, 64, 8
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "products",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [rows, columns])],
        [helper.make_tensor("b", TensorProto.INT8, [inner, columns], [-128] * inner * columns)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"a": np.full((rows, inner), 255, np.uint8)})[0]
    expected = np.full((rows, columns), 255 * -128 * inner)
    return compare(
        "ONNX Runtime INT8", found, expected, 0.0,
        "8-bit products saturate on this processor: quantize weights to 7 bits (reduce_range)",
    )


def torch_convolution(device: str) -> SelfTest:
    """A convolution of ones counts the pixels under it."""
    import torch

    images = torch.ones(1, 3, 8, 8, device=device)
    weights = torch.ones(2, 3, 3, 3, device=device)
    found = torch.nn.functional.conv2d(images, weights, padding=1).cpu().numpy()
    edge = np.array([2, 3, 3, 3, 3, 3, 3, 2])
    expected = np.broadcast_to(3 * np.outer(edge, edge), (1, 2, 8, 8))
    return compare(f"PyTorch on {device}", found, expected, 0.0,
                   "reinstall torch; on a GPU, check it with nvidia-smi -q (ECC errors)")
