"""Every environment fault from a record of facts, and never as wrong mathematics."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from solutions.phase1_basics import self_tests
from solutions.phase1_basics.device_choice import choose_device, runs_on
from solutions.phase1_basics.diagnosis import diagnose
from solutions.phase1_basics.machine_facts import Gpu, MachineFacts, gather_facts
from solutions.phase1_basics.self_tests import SelfTest, compare, run_self_tests
from zoo.errors import InferenceError

GIB = 1 << 30
PACKAGES = dict.fromkeys(
    ("numpy", "scipy", "opencv-python-headless", "onnxruntime", "torch", "torchvision",
     "safetensors", "onnx", "ai-edge-litert"), "1.0",
)  # fmt: skip
H200 = Gpu("H200", (9, 0), 140 * GIB, 130 * GIB)
HEALTHY = MachineFacts(
    cpu_flags=frozenset({"avx2", "avx512_vnni"}), memory_free=16 * GIB, packages=PACKAGES,
    nvidia_hardware=1, driver="580.65", driver_cuda=(13, 0), torch_cuda=(13, 0),
    torch_arches=("sm_80", "sm_90"), gpus=(H200,), tensorflow_python="/opt/tensorflow/bin/python",
    onnx_providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
)  # fmt: skip


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in PACKAGES.items() if name not in names}


FAULTS = {
    "old Python": (replace(HEALTHY, python=(3, 8)), "fault", "Python 3.8", "3.11"),
    "no driver": (
        replace(HEALTHY, driver=None, driver_cuda=None, gpus=()),
        "fault", "no driver", "install NVIDIA's driver",
    ),
    "CUDA mismatch": (
        replace(HEALTHY, driver_cuda=(12, 4), gpus=()),
        "fault", "needs CUDA 13.0, driver 580.65 runs up to CUDA 12.4", "update the driver",
    ),
    "torch for the CPU": (
        replace(HEALTHY, torch_cuda=None, torch_arches=(), gpus=()),
        "fault", "built without CUDA", "wheels for CUDA",
    ),
    "hidden GPU": (replace(HEALTHY, gpus=()), "fault", "finds no GPU", "CUDA_VISIBLE_DEVICES"),
    "new GPU": (
        replace(HEALTHY, gpus=(H200._replace(name="B200", capability=(10, 0)),)),
        "fault", "B200 is sm_100", "built for it",
    ),
    "broken torch": (
        replace(HEALTHY, torch_cuda=None, torch_error="libcudart.so.13: no such file", gpus=(),
                driver=None, nvidia_hardware=0),
        "fault", "libcudart", "install torch",
    ),
    "full GPU": (
        replace(HEALTHY, gpus=(H200._replace(free=GIB // 2),)), "warning", "only 0.5", "nvidia-smi",
    ),
    "CPU wheel of ONNX Runtime": (
        replace(HEALTHY, onnx_providers=("CPUExecutionProvider",)),
        "warning", "ONNX Runtime runs on the CPU", "onnxruntime-gpu",
    ),
    "little memory": (
        replace(HEALTHY, memory_free=GIB // 2), "warning", "only 0.5 GiB", "smaller",
    ),
    "no AVX2": (
        replace(HEALTHY, cpu_flags=frozenset({"sse4_2"})), "fault", "no AVX2", "another machine",
    ),
    "no VNNI": (
        replace(HEALTHY, cpu_flags=frozenset({"avx2"})), "warning", "no VNNI", "reduce_range",
    ),
    "missing edge package": (
        replace(HEALTHY, packages=without("onnxruntime")), "fault", "onnxruntime", "'.[edge]'",
    ),
    "missing extra": (
        replace(HEALTHY, packages=without("safetensors")), "warning", "safetensors", "'.[learn]'",
    ),
    "two OpenCVs": (
        replace(HEALTHY, packages=PACKAGES | {"opencv-python": "5.0"}),
        "fault", "overwrite each other", "pip uninstall -y opencv-python opencv-python-headless",
    ),
    "two ONNX Runtimes": (
        replace(HEALTHY, packages=PACKAGES | {"onnxruntime-gpu": "1.0"}),
        "fault", "onnxruntime and onnxruntime-gpu", "pip install onnxruntime-gpu",
    ),
    "TensorFlow beside triton": (
        replace(HEALTHY, packages=PACKAGES | {"tensorflow": "2.21", "triton": "3.8"}),
        "warning", "crashes the process", "import triton first",
    ),
    "no TensorFlow": (
        replace(HEALTHY, tensorflow_python=None), "warning", "no TensorFlow", "make tensorflow",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_alone_with_its_remedy(name) -> None:
    facts, verdict, what, remedy = FAULTS[name]
    findings = diagnose(facts, [])
    assert len(findings) == 1, findings
    assert findings[0].area == "environment" and findings[0].verdict == verdict
    assert what in findings[0].what and remedy in findings[0].remedy


def test_a_healthy_machine_gets_no_finding() -> None:
    assert diagnose(HEALTHY, []) == []
    arm = MachineFacts(machine="aarch64", packages=PACKAGES, tensorflow_python="python")
    assert diagnose(arm, []) == []


def test_wrong_numbers_are_mathematics_and_a_crash_is_environment() -> None:
    tests = [
        SelfTest("PyTorch", "wrong", "5 where 4 is right", "reinstall torch"),
        SelfTest("ONNX Runtime", "broken", "ImportError: libstdc++"),
        SelfTest("NumPy", "right", "largest error 0"),
        SelfTest("LiteRT", "absent", "not installed"),
    ]
    findings = diagnose(HEALTHY, tests)
    assert [(found.area, found.verdict) for found in findings] == [
        ("environment", "fault"), ("mathematics", "fault"), ("mathematics", "fine"),
    ]  # fmt: skip
    assert "libstdc++" in findings[0].what and findings[1].remedy == "reinstall torch"


def test_the_installed_runtimes_compute_right() -> None:
    outcomes = {test.name: test for test in run_self_tests()}
    assert {test.outcome for test in outcomes.values()} <= {"right", "absent"}, outcomes
    assert outcomes["NumPy"].outcome == "right"


def test_a_runtime_that_lies_is_caught(monkeypatch) -> None:
    """A resize that is off by one level, a runtime whose answers are not the digits."""
    import cv2

    from solutions.phase1_basics.onnx_model import OnnxModel

    genuine = cv2.resize
    monkeypatch.setattr(cv2, "resize", lambda *a, **k: genuine(*a, **k) + np.uint8(1))
    assert self_tests.opencv_resize().outcome == "wrong"
    monkeypatch.undo()
    monkeypatch.setattr(OnnxModel, "predict", lambda self, batch: np.eye(10)[::-1])
    assert self_tests.onnx_digits().outcome == "wrong"


def test_a_runtime_that_cannot_start_is_broken_not_wrong(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    outcome = next(test for test in _named("ONNX Runtime"))
    assert outcome.outcome in ("broken", "absent")


def _named(name: str) -> list[SelfTest]:
    try:
        return [test for test in run_self_tests() if test.name == name]
    except ValueError:  # find_spec on a module that is None
        return [SelfTest(name, "absent", "")]


def test_comparison_sees_not_a_number_and_another_shape() -> None:
    one = np.ones(3)
    assert compare("x", one, one, 0.0, "").outcome == "right"
    assert compare("x", np.array([1, np.nan, 1]), one, 0.1, "").outcome == "wrong"
    assert compare("x", np.array([1, np.inf, 1]), one, 0.1, "").outcome == "wrong"
    assert compare("x", np.ones(4), one, 0.1, "").outcome == "wrong"
    assert "1.2 where 1" in compare("x", np.array([1, 1.2, 1.1]), one, 0.05, "").detail


def test_the_facts_of_this_machine_can_be_had() -> None:
    facts = gather_facts()
    assert facts.python == sys.version_info[:2]
    assert "numpy" in facts.packages and (facts.memory_free is None or facts.memory_free > 0)


def test_auto_takes_the_gpu_with_most_room_else_the_cpu() -> None:
    small, large = H200._replace(free=2 * GIB), H200._replace(free=50 * GIB)
    assert choose_device("auto", replace(HEALTHY, gpus=(small, large))).device == "cuda:1"
    assert choose_device("auto", replace(HEALTHY, gpus=(small,)), 4 * GIB).device == "cpu"
    assert "2048 MiB" in choose_device("auto", replace(HEALTHY, gpus=(small,)), 4 * GIB).reason
    old = H200._replace(capability=(6, 1), name="old")
    assert choose_device("auto", replace(HEALTHY, gpus=(old, small))).device == "cuda:1"
    assert "sm_61" in choose_device("auto", replace(HEALTHY, gpus=(old,))).reason
    assert choose_device("auto", replace(HEALTHY, gpus=())).device == "cpu"
    assert choose_device("auto", replace(HEALTHY, gpus=(), mps=True)).device == "mps"


def test_whoever_names_a_device_gets_that_one_or_an_error() -> None:
    assert choose_device("cpu", HEALTHY).device == "cpu"
    assert choose_device("cuda", HEALTHY).device == "cuda:0"
    for wanted, message in (
        ("cuda:1", "can use 1 of them"), ("mps", "no Apple GPU"), ("gpu", "write auto"),
        ("cuda:-1", "write auto"), ("", "write auto"),
    ):  # fmt: skip
        with pytest.raises(InferenceError, match=message):
            choose_device(wanted, HEALTHY)
    old = replace(HEALTHY, gpus=(H200._replace(capability=(6, 1)),))
    with pytest.raises(InferenceError, match="sm_61"):
        choose_device("cuda:0", old)


@pytest.mark.parametrize(
    ("capability", "arches", "runs"),
    [
        ((8, 0), ("sm_80",), True), ((8, 6), ("sm_80",), True), ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80", "compute_80"), True), ((9, 0), ("sm_80",), False),
        ((9, 0), ("sm_90a",), True), ((10, 0), ("sm_90", "sm_100"), True),
        ((7, 0), ("compute_80",), False), ((7, 5), (), True),
    ],
)  # fmt: skip
def test_which_code_runs_on_which_gpu(capability, arches, runs) -> None:
    assert runs_on(H200._replace(capability=capability), arches) is runs
