"""Energy of a measurement, from the counters of the processor or of the GPU.

Where there is no counter, there is no figure: a zero would be a lie.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Energy:
    """Joules of a measurement, or why there is no figure."""

    joules: float | None
    source: str = ""  # "RAPL" or "NVML"
    reason: str = ""  # why it is unavailable

    def __post_init__(self) -> None:
        assert (self.joules is None) == bool(self.reason), self


class Counter(NamedTuple):
    """One reading of a RAPL counter, microjoules."""

    value: int
    wraps_at: int  # the largest value before it starts again from 0


def consumed(before: int, after: int, wraps_at: int) -> int:
    """Microjoules between two readings of a counter that starts again after ``wraps_at``.

    The counter may have wrapped once; oftener than once cannot be seen, so measure less than
    its period (about a minute under full load).
    """
    return after - before if after >= before else after + wraps_at + 1 - before


def read_rapl(root: Path = POWERCAP) -> dict[str, Counter]:
    """The energy counters of the processor packages (their parts and psys are left out, since
    they would be counted twice); empty where there are none or they may not be read."""
    found = {}
    for zone in sorted(root.glob("intel-rapl:*")):
        if zone.name.count(":") != 1:
            continue
        try:
            if not (zone / "name").read_text().startswith("package"):
                continue
            found[zone.name] = Counter(
                int((zone / "energy_uj").read_text()),
                int((zone / "max_energy_range_uj").read_text()),
            )
        except (OSError, ValueError):
            continue
    return found


def cpu_energy(call: Callable[[], object], root: Path = POWERCAP) -> Energy:
    """Joules that the processor packages used during a call, everything on them included.

    Source: Linux kernel documentation, power capping framework; Intel SDM volume 3B, 15.10.
    """
    before = read_rapl(root)
    call()
    after = read_rapl(root)
    zones = before.keys() & after.keys()
    if not zones:
        why = ("its counters may not be read by this user" if any(root.glob("intel-rapl:*"))
               else "this machine shows none")
        return Energy(None, reason=f"no RAPL energy counter: {why}")
    used = sum(consumed(before[z].value, after[z].value, after[z].wraps_at) for z in zones)
    if used == 0:
        return Energy(None, reason="the RAPL counter did not move: the call was too short")
    return Energy(used * 1e-6, "RAPL")


def gpu_energy(call: Callable[[], object], index: int = 0) -> Energy:
    """Joules that a GPU used during a call, by NVML's total energy counter (Volta and newer)."""
    try:
        import pynvml
    except ImportError:
        call()
        return Energy(None, reason="nvidia-ml-py is not installed: pip install '.[gpu]'")
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        call()
        return Energy(None, reason=f"NVML: {error}")
    try:
        call()
        used = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before
    finally:
        pynvml.nvmlShutdown()
    if used <= 0:
        return Energy(None, reason="NVML's counter did not move: the call was too short")
    return Energy(used * 1e-3, "NVML")
