"""A whole profile, and its JSON."""

import json
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from solutions.phase1_basics.activation_memory import ActivationPeak
from solutions.phase1_basics.device_comparison import DeviceTime
from solutions.phase1_basics.energy import Energy
from solutions.phase1_basics.latency_profile import LatencyProfile
from solutions.phase1_basics.layers import Layer
from solutions.phase1_basics.memory_profile import Allocations, DeviceMemory, ProcessMemory
from solutions.phase1_basics.roofline import Ceilings
from solutions.phase1_basics.warm_up import WarmUp
from zoo.errors import InferenceError

VERSION = 1


@dataclass
class Profile:
    """Everything that was found out about one model; a part that is missing is in ``missing``."""

    model: str
    runtime: str
    device: str
    threads: int
    batch_shape: tuple[int, ...]
    machine: dict[str, Any]
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    warm_up: WarmUp | None = None
    closed: LatencyProfile | None = None
    open: LatencyProfile | None = None
    layers: list[Layer] = field(default_factory=list)
    ceilings: Ceilings | None = None
    process: ProcessMemory | None = None
    allocations: Allocations | None = None
    activations: ActivationPeak | None = None
    device_memory: DeviceMemory | None = None
    energy: Energy | None = None  # of the closed loop
    devices: list[DeviceTime] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # part: why it is not there
    partial: str = ""  # why the profile ended early

    @property
    def joules_per_request(self) -> float | None:
        """Energy of the closed loop by its requests; None where it is unavailable."""
        if self.energy is None or self.energy.joules is None or self.closed is None:
            return None
        return self.energy.joules / self.closed.count


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system and Python of this machine."""
    import os

    import psutil

    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "processor": name, "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }  # fmt: skip


def write_profile(profile: Profile, path: Path) -> None:
    """Write the profile's JSON: every latency, so that two profiles can be compared later."""
    document = {"version": VERSION} | asdict(profile)
    document["joules_per_request"] = profile.joules_per_request
    for mode in ("closed", "open"):
        found: LatencyProfile | None = getattr(profile, mode)
        if found is not None:
            document[mode]["flags"] = found.flags
            document[mode]["throughput"] = found.throughput
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise InferenceError(f"{path} cannot be written: {error.strerror}") from error


@dataclass(frozen=True)
class SavedProfile:
    """What a comparison needs of a saved profile."""

    model: str
    runtime: str
    processor: str
    latency: dict[str, tuple[float, ...]]  # by mode, seconds
    rate: float | None  # of the open loop


def read_profile(path: Path) -> SavedProfile:
    """Read back what :func:`write_profile` wrote.

    Raises InferenceError where the file is missing or is no profile, and says which part.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise InferenceError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InferenceError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise InferenceError(f"{path} is no profile of version {VERSION}: write one with --json")
    try:
        latency = {
            mode: tuple(float(value) for value in document[mode]["latency"])
            for mode in ("closed", "open") if document[mode] is not None
        }
        rate = document["open"]["rate"] if document["open"] is not None else None
        saved = SavedProfile(
            str(document["model"]), str(document["runtime"]),
            str(document["machine"]["processor"]), latency, rate,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InferenceError(f"{path} is a damaged profile: {error!r}") from error
    for mode, values in saved.latency.items():
        if not values or not np.all(np.isfinite(values)) or min(values) < 0:
            raise InferenceError(f"{path}: the latencies of the {mode} loop are no times")
    return saved
