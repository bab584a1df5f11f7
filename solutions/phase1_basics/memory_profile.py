"""How much memory a prediction takes: of the process, of Python, of the GPU."""

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import InferenceError

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Allocations:
    """What one call allocated through Python and NumPy, bytes."""

    peak: int  # more than before the call, at the worst moment
    kept: int  # more than before the call, after it
    largest: tuple[tuple[str, int], ...]  # the places in the code that kept most


@dataclass(frozen=True)
class ProcessMemory:
    """Resident memory of the process, bytes."""

    before: int  # the measurement
    peak: int  # during it
    lifetime: bool  # whether the peak is since the process began (it could not be reset)


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of an accelerator, or why there is no figure."""

    peak: int | None  # bytes
    reason: str = ""


def status_bytes(field: str, status: Path = STATUS) -> int | None:
    """One of the kernel's memory fields of this process (VmRSS, VmHWM); None where it has none."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def reset_peak(clear: Path = CLEAR) -> bool:
    """Let the kernel's peak start again from the present (Linux, proc(5)); whether it did."""
    try:
        clear.write_text("5")
    except OSError:
        return False
    return True


def process_memory(call: Callable[[], object]) -> ProcessMemory:
    """The process's resident memory before a call and its peak during it."""
    before = status_bytes("VmRSS") or _psutil_rss()
    fresh = reset_peak()
    call()
    peak = status_bytes("VmHWM") or _lifetime_peak()
    return ProcessMemory(before, max(peak, before), not fresh)


def _psutil_rss() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _lifetime_peak() -> int:
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def trace_allocations(call: Callable[[], object], top: int = 5) -> Allocations:
    """What a call allocates, as far as Python's allocator hooks see it (NumPy's arrays included,
    the runtimes' own arenas not). The call is made once before, so that caches are filled.

    Raises InferenceError where allocations are being traced already.
    """
    if tracemalloc.is_tracing():
        raise InferenceError("allocations are being traced already: stop tracemalloc first")
    call()
    gc.collect()
    tracemalloc.start()
    try:
        start = tracemalloc.take_snapshot()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = call()
        kept, peak = tracemalloc.get_traced_memory()
        end = tracemalloc.take_snapshot()
        del result
    finally:
        tracemalloc.stop()
    here = tracemalloc.Filter(False, tracemalloc.__file__)
    changes = end.filter_traces([here]).compare_to(start.filter_traces([here]), "lineno")
    largest = tuple(
        (f"{Path(c.traceback[0].filename).name}:{c.traceback[0].lineno}", c.size_diff)
        for c in changes[:top] if c.size_diff > 0
    )
    return Allocations(max(peak - before, 0), max(kept - before, 0), largest)


def device_memory(call: Callable[[], object], device: str) -> DeviceMemory:
    """The peak of torch's allocator on a CUDA device during a call."""
    if not device.startswith("cuda"):
        return DeviceMemory(None, "the model runs on the CPU")
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return DeviceMemory(int(torch.cuda.max_memory_allocated(device)))
