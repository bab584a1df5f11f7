"""The ONNX graph that TensorRT gets for each precision: the types in it are the choice.

TensorRT 10 could lower the precision by builder flags; TensorRT 11 has none of them left. A graph
that says its types builds the same network in both.
"""

from collections.abc import Callable

from solutions.phase2_optimization.formats.half_precision import BFLOAT16, FLOAT16, to_half
from solutions.phase2_optimization.formats.symmetric_qdq import symmetric_qdq
from solutions.phase2_optimization.onnx_rewrite import Model
from zoo.errors import InferenceError

GRAPHS: dict[str, Callable[[Model], Model]] = {
    "fp32": lambda model: model,
    "fp16": lambda model: to_half(model, FLOAT16),
    "bf16": lambda model: to_half(model, BFLOAT16),
    "int8": symmetric_qdq,  # of a graph that the course's quantizer wrote
}


def graph_in(model: Model, precision: str) -> Model:
    """The graph to build. Raises InferenceError for unknown precisions."""
    if precision not in GRAPHS:
        raise InferenceError(f"no precision {precision!r}: there are {', '.join(GRAPHS)}")
    return GRAPHS[precision](model)


def lowest_capability(precision: str) -> tuple[int, int]:
    """The oldest GPU generation (compute capability) that has arithmetic for a precision."""
    return {"fp32": (7, 5), "fp16": (7, 5), "bf16": (8, 0), "int8": (7, 5)}[precision]


def check_device(precision: str, device: str, capability: tuple[int, int]) -> None:
    """Raises InferenceError where a GPU is too old for a precision."""
    needed = lowest_capability(precision)
    if capability < needed:
        have, want = (".".join(map(str, each)) for each in (capability, needed))
        raise InferenceError(f"{device} has compute capability {have}: {precision} needs {want}")
