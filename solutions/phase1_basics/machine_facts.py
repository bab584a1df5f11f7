"""What this machine and its Python environment have, as a plain record.

Everything that ``diagnose`` and ``choose_device`` judge is in it, so that each of their verdicts
can be had, and tested, without the machine that deserves it.
"""

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
CPU_FACTS = Path("/proc/cpuinfo")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
CGROUP_USED = Path("/sys/fs/cgroup/memory.current")
PCI = Path("/sys/bus/pci/devices")
NVIDIA_VENDOR, DISPLAY_CLASSES = "0x10de", ("0x0300", "0x0302")


class Gpu(NamedTuple):
    """A GPU as a framework sees it."""

    name: str
    capability: tuple[int, int]  # compute capability
    memory: int  # bytes, all of it
    free: int  # bytes


@dataclass(frozen=True)
class MachineFacts:
    """What is there. None: not known, or not there."""

    python: tuple[int, int] = (3, 11)
    machine: str = "x86_64"
    cpu_flags: frozenset[str] = frozenset()  # as Linux names them; empty: not known
    memory_free: int | None = None  # bytes, within the limits of a container
    packages: dict[str, str] = field(default_factory=dict)  # distribution -> version
    nvidia_hardware: int = 0  # NVIDIA GPUs on the PCI bus
    driver: str | None = None  # NVIDIA's
    driver_cuda: tuple[int, int] | None = None  # newest CUDA that the driver runs
    torch_cuda: tuple[int, int] | None = None  # CUDA that torch was built for
    torch_arches: tuple[str, ...] = ()  # sm_80, ... that torch was built for
    torch_error: str = ""  # why torch cannot be imported or cannot start CUDA
    gpus: tuple[Gpu, ...] = ()  # that torch can use
    mps: bool = False  # Apple's GPU
    onnx_providers: tuple[str, ...] = ()
    tensorflow_python: str | None = None  # the interpreter that TensorFlow models run in


def gather_facts() -> MachineFacts:
    """The facts of this machine. Imports torch and ONNX Runtime where they are installed."""
    packages = installed_packages()
    torch_facts = _torch_facts() if "torch" in packages else {}
    return MachineFacts(
        python=sys.version_info[:2],
        machine=platform.machine(),
        cpu_flags=_cpu_flags(),
        memory_free=memory_free(),
        packages=packages,
        nvidia_hardware=_nvidia_hardware(),
        driver=_driver(),
        driver_cuda=_driver_cuda(),
        onnx_providers=_onnx_providers() if "onnxruntime" in packages else (),
        tensorflow_python=os.environ.get("INFERENCE_TENSORFLOW_PYTHON"),
        **torch_facts,  # type: ignore[arg-type]
    )


def installed_packages() -> dict[str, str]:
    """Distributions and their versions; names in lower case with hyphens."""
    found = {}
    for item in importlib.metadata.distributions():
        name = item.metadata["Name"]
        if name:
            found[re.sub(r"[-_.]+", "-", name).lower()] = item.version
    return found


def memory_free() -> int | None:
    """Bytes that can still be taken: of the machine, or of the container where that is less."""
    try:
        import psutil
    except ImportError:
        return None
    free: int = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):
        free = min(free, int(CGROUP_LIMIT.read_text()) - int(CGROUP_USED.read_text()))
    return free


def _cpu_flags() -> frozenset[str]:
    with contextlib.suppress(OSError):
        for line in CPU_FACTS.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                return frozenset(value.split())
    return frozenset()


def _nvidia_hardware() -> int:
    """NVIDIA GPUs on the PCI bus: they are there even where no driver is."""
    count = 0
    with contextlib.suppress(OSError):
        for device in PCI.iterdir():
            with contextlib.suppress(OSError):
                if (device / "vendor").read_text().strip() != NVIDIA_VENDOR:
                    continue
                count += (device / "class").read_text().strip()[:6] in DISPLAY_CLASSES
    return count


def _driver() -> str | None:
    with contextlib.suppress(OSError):
        found = re.search(r"\b(\d{3}\.\d+(?:\.\d+)?)\b", NVIDIA_DRIVER.read_text())
        return found.group(1) if found else "unknown version"
    return None


def _driver_cuda() -> tuple[int, int] | None:
    """What ``nvidia-smi`` says in its head line."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([program], capture_output=True, text=True, timeout=20)
        found = re.search(r"CUDA[^:|]*Version:\s*(\d+)\.(\d+)", done.stdout)
        if found:
            return int(found.group(1)), int(found.group(2))
    return None


def _torch_facts() -> dict[str, object]:
    try:
        import torch
    except Exception as error:  # a missing library, a wrong driver, a damaged package
        return {"torch_error": " ".join(str(error).split())[:200]}
    facts: dict[str, object] = {"mps": torch.backends.mps.is_available()}
    if torch.version.cuda is None:
        return facts
    major, minor = torch.version.cuda.split(".")[:2]
    facts |= {"torch_cuda": (int(major), int(minor)), "torch_arches": _arches()}
    try:
        if torch.cuda.is_available():
            facts["gpus"] = tuple(_gpu(number) for number in range(torch.cuda.device_count()))
    except Exception as error:
        facts["torch_error"] = " ".join(str(error).split())[:200]
    return facts


def _arches() -> tuple[str, ...]:
    import torch

    return tuple(torch.cuda.get_arch_list())


def _gpu(number: int) -> Gpu:
    import torch

    about = torch.cuda.get_device_properties(number)
    free, memory = torch.cuda.mem_get_info(number)
    return Gpu(about.name, (about.major, about.minor), memory, free)


def _onnx_providers() -> tuple[str, ...]:
    try:
        import onnxruntime
    except Exception:
        return ()
    return tuple(onnxruntime.get_available_providers())
