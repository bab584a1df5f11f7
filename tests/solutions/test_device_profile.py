"""Device profiles: what they ask for, what is here, and what is said where it is not."""

from dataclasses import replace

import pytest

from solutions.phase1_basics.onnx_model import CPU
from solutions.phase4_production.video_analysis.device_profile import (
    CUDA,
    EDGE_TPU,
    PROFILES,
    Machine,
    choose_device,
    fitting_profile,
    this_machine,
)
from zoo import registry

PC = Machine(architecture="x86_64", cores=8)
WITH_GPU = replace(PC, providers=frozenset({"CPUExecutionProvider", "CUDAExecutionProvider"}))
ORIN = Machine("NVIDIA Jetson Orin Nano Developer Kit", "aarch64", 6, frozenset(
    {"TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"}))
BOARDS = {
    "raspberrypi4": "Raspberry Pi 4 Model B Rev 1.4", "raspberrypi5": "Raspberry Pi 5 Model B",
    "jetson-nano": "NVIDIA Jetson Nano Developer Kit", "jetson": "NVIDIA Jetson AGX Orin",
}


def test_the_promised_profiles_are_there_with_detectors_that_exist() -> None:
    promised = {"cpu", "raspberrypi4", "raspberrypi5", "jetson-nano", "jetson", "coral", "ncs",
                "x86"}
    assert PROFILES.keys() == promised
    for profile in PROFILES.values():
        entry = registry.find(profile.detector)
        assert entry.kind == "detector" and profile.threads >= 1
        assert entry.input and (entry.input.width, entry.input.height) == profile.input_size


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_known_by_what_it_calls_itself(name: str) -> None:
    machine = Machine(BOARDS[name], "aarch64", 4)
    assert choose_device(name, machine).native
    assert fitting_profile(machine) == name
    others = [other for other in BOARDS if other != name]
    assert not any(choose_device(other, machine).native for other in others)


def test_an_accelerator_that_is_here_is_used() -> None:
    chosen = choose_device("jetson", ORIN)
    assert chosen.native and not chosen.notes and chosen.precision == "fp16"
    assert [p if isinstance(p, str) else p[0] for p in chosen.providers] == [
        "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    foreign = choose_device("jetson", WITH_GPU)
    assert not foreign.native and foreign.providers == ("CUDAExecutionProvider", *CPU)
    assert "no Orin" in foreign.notes[0] and foreign.label == "jetson (on another machine)"


@pytest.mark.parametrize(("name", "what"), [
    ("jetson", "CUDA GPU"), ("jetson-nano", "CUDA GPU"), ("coral", "Edge TPU"),
    ("ncs", "Myriad X"),
])
def test_an_absent_accelerator_is_said_and_the_cpu_takes_over(name: str, what: str) -> None:
    chosen = choose_device(name, PC)
    assert chosen.providers == CPU and chosen.precision == "fp32" and not chosen.native
    assert any(f"no {what} here that could be used: the CPU" in note for note in chosen.notes)


def test_an_edge_tpu_that_is_here_is_found_and_its_limit_told() -> None:
    plugged = replace(PC, usb=frozenset({("18d1", "9302")}))
    assert plugged.has(EDGE_TPU) and replace(PC, edge_tpu_node=True).has(EDGE_TPU)
    chosen = choose_device("coral", plugged)
    assert chosen.native and "networks compiled for it" in chosen.notes[0]


def test_auto_takes_what_fits_and_says_so() -> None:
    assert fitting_profile(PC) == "x86" and fitting_profile(WITH_GPU) == "jetson"
    assert fitting_profile(Machine(architecture="aarch64")) == "cpu"
    chosen = choose_device("auto", PC)
    assert chosen.profile.name == "x86" and "gets the profile x86" in chosen.notes[0]
    assert WITH_GPU.has(CUDA) and not PC.has(CUDA)


def test_this_machine_can_be_read() -> None:
    machine = this_machine()
    assert machine.cores >= 1 and "CPUExecutionProvider" in machine.providers
    assert choose_device("cpu", machine).native
