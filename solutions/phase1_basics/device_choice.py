"""Where a model shall run."""

import re
from typing import NamedTuple

from solutions.phase1_basics.machine_facts import Gpu, MachineFacts
from zoo.errors import InferenceError

KEEP_FREE = 512 << 20  # bytes of a GPU's memory for activations


class ChosenDevice(NamedTuple):
    """A device and why."""

    device: str  # cpu, cuda:0, mps
    reason: str


def choose_device(wanted: str, facts: MachineFacts, model_bytes: int = 0) -> ChosenDevice:
    """The device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    ``auto`` takes the GPU with the most free memory that torch was built for and that has room
    for the model, else Apple's GPU, else the CPU. Whoever names a device gets that one or an
    error, never another. Raises InferenceError for a device that is not there or not known.
    """
    if wanted == "auto":
        return _automatic(facts, model_bytes)
    if wanted == "cpu":
        return ChosenDevice("cpu", "as asked")
    if wanted == "mps":
        if not facts.mps:
            raise InferenceError("device mps: no Apple GPU that torch can use; use --device cpu")
        return ChosenDevice("mps", "as asked")
    found = re.fullmatch(r"cuda(?::(\d+))?", wanted)
    if found is None:
        raise InferenceError(f"device {wanted!r}: write auto, cpu, cuda, cuda:1 or mps")
    number = int(found.group(1) or 0)
    if number >= len(facts.gpus):
        have = f"{len(facts.gpus)} of them" if facts.gpus else "none"
        raise InferenceError(
            f"device {wanted}: torch can use {have} here; --diagnose says why, --device cpu works"
        )
    gpu = facts.gpus[number]
    if not runs_on(gpu, facts.torch_arches):
        raise InferenceError(f"device {wanted}: {_unsupported(gpu, facts.torch_arches)}")
    return ChosenDevice(f"cuda:{number}", f"as asked: {gpu.name}")


def _automatic(facts: MachineFacts, model_bytes: int) -> ChosenDevice:
    reason = "no GPU that torch can use"
    for number, gpu in sorted(enumerate(facts.gpus), key=lambda entry: -entry[1].free):
        if not runs_on(gpu, facts.torch_arches):
            reason = _unsupported(gpu, facts.torch_arches)
        elif gpu.free < model_bytes + KEEP_FREE:
            reason = f"{gpu.name} has only {gpu.free >> 20} MiB free"
        else:
            return ChosenDevice(f"cuda:{number}", gpu.name)
    if facts.mps and not facts.gpus:
        return ChosenDevice("mps", "Apple's GPU")
    return ChosenDevice("cpu", reason)


def runs_on(gpu: Gpu, arches: tuple[str, ...]) -> bool:
    """Whether code built for ``arches`` (``sm_80``, ``compute_90``) runs on a GPU.

    Machine code runs on its own major version from its minor version upward; ``compute_`` code is
    compiled by the driver, for any later version (CUDA C Programming Guide, "Compatibility").
    """
    for arch in arches:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", arch)
        if found is None:
            continue
        major, minor = int(found.group(2)), int(found.group(3))
        if found.group(1) == "compute" and (major, minor) <= gpu.capability:
            return True
        if major == gpu.capability[0] and minor <= gpu.capability[1]:
            return True
    return not arches  # not known: let torch say


def _unsupported(gpu: Gpu, arches: tuple[str, ...]) -> str:
    major, minor = gpu.capability
    return f"{gpu.name} is sm_{major}{minor}, this torch was built for {', '.join(arches)}"
