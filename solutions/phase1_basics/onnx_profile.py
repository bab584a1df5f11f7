"""Time, arithmetic and traffic of each kernel that ONNX Runtime ran, by its own profile.

The runtime fuses and reorders layers before it runs them, so its profile, which names shapes,
is the truth about what was run; the file's graph is not.
"""

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from solutions.phase1_basics.flops import PRODUCTS, operator_flops, traffic_bytes
from solutions.phase1_basics.layers import Layer, Shape
from zoo.errors import InferenceError

WARM_RUNS = 5
SUFFIX = "_kernel_time"
WIDTHS = {
    "float": 4, "float16": 2, "bfloat16": 2, "double": 8, "int64": 8, "uint64": 8, "int32": 4,
    "uint32": 4, "int16": 2, "uint16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip


def read_onnx_profile(events: Sequence[Mapping[str, Any]], skip: int = 0) -> list[Layer]:
    """The kernels of a profile (its JSON events) with their median times, in order of execution.

    A kernel that ran r times in r runs is one layer; its first ``skip`` runs are left out.
    Times are microseconds in the profile, seconds here.

    Raises InferenceError where the profile holds no kernel or no run after the skipped ones.
    """
    runs: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(SUFFIX):
            runs[name.removesuffix(SUFFIX), str(event["args"].get("node_index"))].append(event)
    if not runs:
        raise InferenceError("the profile names no kernel: was it made by ONNX Runtime?")
    if any(len(found) <= skip for found in runs.values()):
        raise InferenceError(f"the profile holds no run after the first {skip}")
    return [_layer(name, found, skip) for (name, _), found in runs.items()]


def _layer(name: str, runs: Sequence[Mapping[str, Any]], skip: int) -> Layer:
    facts = runs[-1]["args"]
    inputs = _tensors(facts.get("input_type_shape", []))
    outputs = _tensors(facts.get("output_type_shape", []))
    kind = str(facts.get("op_name", "?"))
    if kind in PRODUCTS and inputs and outputs:
        inputs = _with_packed_weight(kind, inputs, outputs[0])
    return Layer(
        name=name or kind,
        kind=kind,
        seconds=statistics.median(float(run["dur"]) for run in runs[skip:]) * 1e-6,
        flops=operator_flops(kind, [s for s, _ in inputs], [s for s, _ in outputs]),
        bytes_moved=traffic_bytes([*inputs, *outputs]),
    )


def _with_packed_weight(
    kind: str, inputs: list[tuple[Shape, int]], output: tuple[Shape, int]
) -> list[tuple[Shape, int]]:
    """A product's inputs with its weight, which the profile leaves out where the runtime packed
    it beforehand: its shape follows from the other operand's and the result's."""
    seen = len(inputs) if kind in {"MatMul", "FusedMatMul"} else sum(
        len(shape) >= 2 for shape, _ in inputs
    )
    if seen >= 2 or not (inputs[0][0] and output[0]):
        return inputs
    (left, width), (product, _) = inputs[0], output
    return [inputs[0], ((left[-1], product[-1]), width), *inputs[1:]]


def _tensors(found: Sequence[Mapping[str, Sequence[int]]]) -> list[tuple[Shape, int]]:
    return [
        (tuple(int(size) for size in shape), WIDTHS.get(kind, 4))
        for tensor in found for kind, shape in tensor.items()
    ]


def profile_onnx(
    path: Path,
    feeds: Mapping[str, NDArray[Any]],
    runs: int = 20,
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Layer]:
    """Run the model with the runtime's profile switched on; threads as in ``OnnxModel``.

    Raises InferenceError where the runtime refuses the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises classes of its own, none of them public
            raise InferenceError(f"model {path} cannot be profiled: {error}") from error
        for done in range(WARM_RUNS + runs):
            session.run(None, dict(feeds))
            progress(max(done + 1 - WARM_RUNS, 0))
        events = json.loads(Path(session.end_profiling()).read_text())
    return read_onnx_profile(events, WARM_RUNS)
