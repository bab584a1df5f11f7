"""Whether the processor slowed down during a measurement."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from solutions.phase1_basics.noise import Drift

CPUS = Path("/sys/devices/system/cpu")
SLOWED = 0.10  # of the frequency, or of the latency


@dataclass(frozen=True)
class Throttling:
    """The verdict and what it stands on."""

    noticed: bool
    evidence: str  # "frequency" or "drift"
    reason: str


def cpu_frequency(root: Path = CPUS) -> float | None:
    """The mean present frequency of the processors in Hz; None where it cannot be read."""
    read = []
    for path in root.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"):
        try:
            read.append(float(path.read_text()) * 1e3)
        except (OSError, ValueError):
            continue
    return sum(read) / len(read) if read else None


def judge_throttling(frequencies: Sequence[float | None], drift: Drift) -> Throttling:
    """Compare the last frequency (Hz) with the highest; without frequencies, judge by the drift.

    A drift alone cannot tell a hot processor from a busy neighbour, and the reason says so.
    """
    known = [value for value in frequencies if value is not None]
    if len(known) >= 2:
        lost = 1 - known[-1] / max(known)
        reason = (f"the frequency fell by {100 * lost:.0f}% from {max(known) / 1e9:.2f} GHz"
                  if lost > SLOWED else f"the frequency held at {known[-1] / 1e9:.2f} GHz")
        return Throttling(lost > SLOWED, "frequency", reason)
    slower = drift.significant and drift.change > SLOWED
    reason = "the frequency cannot be read here; "
    if slower:
        reason += (f"requests got {100 * drift.change:.0f}% slower during the run: "
                   "a hot processor or a busy neighbour")
    else:
        reason += "requests did not get slower during the run"
    return Throttling(slower, "drift", reason)
