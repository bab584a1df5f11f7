"""Where a model shall run.

Your part, to be checked by ``course check``:

    1.8 Which device?: choose_device

The idea, an example and the usual mistakes: guidelines.md#18-which-device
"""

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
    # TODO 1.8 Which device?
    # 1. auto: of the GPUs that runs_on allows and that have room for the model and KEEP_FREE bytes
    #    more, the one with the most free memory. Where there is no GPU at all, Apple's (mps) if it
    #    is there. Else the CPU.
    # 2. A device by name is that device or an InferenceError, never another one. cuda is cuda:0; a
    #    number beyond the GPUs that are there, a GPU that torch was not built for, mps where it is
    #    not, and any other word are refused.
    # 3. Say the reason in a few words: its wording is yours.
    raise NotImplementedError("exercise 1.8: choose_device")


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
