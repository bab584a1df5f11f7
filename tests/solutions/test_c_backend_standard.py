"""The ONNX project's own cases of single operators, as C: equal, or refused in one line.

All inputs but the first become constants, as they are in a network.
"""

import shutil

import numpy as np
import onnx
import pytest

from benchmarks.backend_cases import BackendCase, backend_cases
from solutions.phase2_optimization.c_backend import build
from solutions.phase2_optimization.c_backend.fusion import ELEMENTWISE
from solutions.phase2_optimization.c_backend.operators import OPERATORS
from zoo.errors import InferenceError

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler on PATH"
)
KNOWN = {*OPERATORS, *ELEMENTWISE, "Constant"}


def cases() -> list[BackendCase]:
    """Those of known operators that give float32 for float32."""
    found = []
    for case in backend_cases(("node",)):
        if isinstance(case, str) or not {n.op_type for n in case.model.graph.node} <= KNOWN:
            continue
        kinds = [value.type.tensor_type.elem_type for value in case.model.graph.output]
        inputs = case.data_sets[0].inputs
        if inputs and np.asarray(inputs[0]).dtype == np.float32 and set(kinds) == {1}:
            found.append(case)
    return found


def outcome(case: BackendCase) -> str:
    """ "equal", "refused", or what is wrong."""
    inputs, expected = case.data_sets[0]
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    name = model.graph.input[0].name
    for value, array in zip(list(model.graph.input)[1:], inputs[1:], strict=False):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        model.graph.input.remove(value)
    try:
        module = build(model, optimization="-O0")
    except InferenceError as error:
        return "refused" if len(str(error).splitlines()) == 1 else "refused in many lines"
    for found, wanted in zip(module.run({name: inputs[0]}).values(), expected, strict=True):
        if found.shape != wanted.shape:
            return f"{found.shape}, not {wanted.shape}"
        if not np.allclose(found, wanted, rtol=case.rtol, atol=1e-5, equal_nan=True):
            return f"differs by {np.abs(found - wanted).max()}"
    return "equal"


def judged(chosen: list[BackendCase]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for case in chosen:
        found.setdefault(outcome(case), []).append(case.name)
    return found


def test_some_cases_of_the_standard() -> None:
    found = judged(cases()[::16])
    assert set(found) <= {"equal", "refused"}, found
    assert len(found["equal"]) >= 10


@pytest.mark.slow
def test_all_cases_of_the_standard() -> None:
    found = judged(cases())
    assert set(found) <= {"equal", "refused"}, found
    assert len(found["equal"]) >= 220
