"""The same model on several devices, measured in turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class DeviceTime(NamedTuple):
    """Median seconds of a prediction on a device, and how many times faster than the first."""

    device: str
    seconds: float
    speedup: float


def compare_devices(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = 20,
    clock: Callable[[], float] = time.perf_counter,
) -> list[DeviceTime]:
    """Time one synchronised prediction of each device in turns, the first device as the measure.

    Speed-ups are taken within rounds, where both devices met the same neighbours, and their
    median is returned.
    """
    seconds: dict[str, list[float]] = {device: [] for device in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for device, call in calls.items():
            start = clock()
            call()
            seconds[device].append(clock() - start)
    base = seconds[next(iter(calls))]
    return [
        DeviceTime(device, statistics.median(found),
                   statistics.median(b / s for b, s in zip(base, found, strict=True)))
        for device, found in seconds.items()
    ]
