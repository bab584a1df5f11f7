"""Memory and energy: known allocations, scripted counters, and no zero where nothing is known."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from solutions.phase1_basics.device_comparison import compare_devices
from solutions.phase1_basics.energy import Energy, consumed, cpu_energy, gpu_energy, read_rapl
from solutions.phase1_basics.memory_profile import (
    device_memory,
    process_memory,
    reset_peak,
    status_bytes,
    trace_allocations,
)
from tests.solutions.scripted import ScriptedClock
from zoo.errors import InferenceError

MIB = 2**20


def test_allocations_are_what_was_allocated() -> None:
    kept: list[np.ndarray] = []

    def call() -> None:
        kept[:] = [np.ones(2 * MIB, np.uint8)]
        passing = np.ones(5 * MIB, np.uint8)
        del passing

    def fresh() -> None:
        np.ones(3 * MIB, np.uint8)

    found = trace_allocations(fresh)
    assert 3 * MIB <= found.peak < 3.1 * MIB and found.kept < 0.1 * MIB
    found = trace_allocations(call)
    assert 7 * MIB <= found.peak < 7.1 * MIB and 2 * MIB <= found.kept < 2.1 * MIB
    assert found.largest[0][0].startswith("test_profiler_memory.py") or found.largest
    assert not tracemalloc.is_tracing()


def test_tracing_ends_even_if_the_call_breaks() -> None:
    calls = [0]

    def second_breaks() -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        trace_allocations(second_breaks)
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        with pytest.raises(InferenceError, match="already"):
            trace_allocations(lambda: None)
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(status_bytes("VmRSS") is None, reason="no /proc/self/status")
def test_the_peak_of_the_process_is_the_peak_of_the_call() -> None:
    import psutil

    def call() -> None:
        np.ones(200 * MIB, np.uint8)

    found = process_memory(call)
    assert abs(status_bytes("VmRSS") - psutil.Process().memory_info().rss) < 16 * MIB
    assert found.peak - found.before > 150 * MIB
    if not found.lifetime:
        small = process_memory(lambda: np.ones(MIB, np.uint8))
        assert small.peak - small.before < 100 * MIB


def test_absent_kernel_files_are_no_error(tmp_path: Path) -> None:
    assert status_bytes("VmRSS", tmp_path / "no") is None
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t  123 kB\n")
    assert status_bytes("VmHWM", tmp_path / "status") == 123 * 1024
    assert status_bytes("VmRSS", tmp_path / "status") is None
    assert not reset_peak(tmp_path / "no" / "clear_refs")


def test_no_gpu_is_a_reason_not_a_zero() -> None:
    found = device_memory(lambda: None, "cpu")
    assert found.peak is None and "CPU" in found.reason


def write_zone(root: Path, zone: str, name: str, value: int, wraps_at: int = 10**9) -> None:
    """One RAPL zone."""
    folder = root / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(name + "\n")
    (folder / "energy_uj").write_text(f"{value}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps_at}\n")


def test_energy_is_that_of_all_packages_and_of_nothing_twice(tmp_path: Path) -> None:
    def call() -> None:
        for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"),
                           ("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys")):
            write_zone(tmp_path, zone, name, 5_000_000)

    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"),
                       ("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys")):
        write_zone(tmp_path, zone, name, 1_000_000)
    found = cpu_energy(call, tmp_path)
    assert found == Energy(8.0, "RAPL") and set(read_rapl(tmp_path)) == {"intel-rapl:0",
                                                                         "intel-rapl:1"}


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    assert consumed(900, 100, 999) == 200 and consumed(5, 5, 999) == 0
    write_zone(tmp_path, "intel-rapl:0", "package-0", 999_999_990)
    found = cpu_energy(lambda: write_zone(tmp_path, "intel-rapl:0", "package-0", 1_999_989),
                       tmp_path)
    assert found.joules == pytest.approx(2.0)


def test_no_counter_is_unavailable_never_zero(tmp_path: Path) -> None:
    found = cpu_energy(lambda: None, tmp_path)
    assert found.joules is None and "shows none" in found.reason
    write_zone(tmp_path, "intel-rapl:0", "package-0", 7)
    still = cpu_energy(lambda: None, tmp_path)
    assert still.joules is None and "too short" in still.reason
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    hidden = cpu_energy(lambda: None, tmp_path)
    assert hidden.joules is None and "may not be read" in hidden.reason
    with pytest.raises(AssertionError):
        Energy(None)


def test_gpu_energy_without_a_gpu_still_makes_the_call() -> None:
    calls: list[int] = []
    found = gpu_energy(lambda: calls.append(1))
    assert calls == [1]
    assert (found.joules is None) == bool(found.reason)


def test_devices_are_compared_within_rounds() -> None:
    clock = ScriptedClock()
    load = [1.0]

    def cpu() -> None:
        clock.advance(0.4 * load[0])

    def gpu() -> None:
        clock.advance(0.1 * load[0])
        load[0] *= 1.3  # the machine gets slower from round to round

    slow, fast = compare_devices({"cpu": cpu, "gpu": gpu}, 7, clock)
    assert slow.speedup == pytest.approx(1.0) and fast.device == "gpu"
    assert fast.speedup == pytest.approx(4.0)
