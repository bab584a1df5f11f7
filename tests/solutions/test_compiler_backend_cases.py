"""The ONNX project's own node and model cases, each passed through the optimizer."""

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from benchmarks.backend_cases import backend_cases, judge_all
from solutions.phase2_optimization.pass_manager import optimize
from solutions.phase2_optimization.pass_order import ONNXRUNTIME_STAGES, PORTABLE_STAGES

STAGES = {"portable": PORTABLE_STAGES, "onnxruntime": ONNXRUNTIME_STAGES}


@pytest.mark.parametrize("name", STAGES)
def test_a_sample_still_gives_the_expected_output(name: str) -> None:
    judged = judge_all(backend_cases(every=15), lambda m: optimize(m, STAGES[name]).model)
    assert not judged.wrong and judged.count("equal") >= 90


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", STAGES)
def test_every_case_still_gives_the_expected_output(name: str) -> None:
    judged = judge_all(backend_cases(), lambda m: optimize(m, STAGES[name]).model)
    assert not judged.wrong and not judged.absent
    assert judged.count("equal") >= 1400  # the rest ONNX Runtime itself does not compute
