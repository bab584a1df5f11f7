"""What a device is given to run, and whether this machine is that device."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

BOARD = Path("/proc/device-tree/model")  # single-board computers say here what they are
CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class DeviceProfile:
    """The settings of a kind of device."""

    name: str
    board: str | None  # what its board calls itself; None: any computer
    detector: str  # the default
    threads: int  # of the network


@dataclass(frozen=True)
class ChosenDevice:
    """A profile and what is to be said about running it here."""

    profile: DeviceProfile
    native: bool  # whether this machine is that device
    note: str  # "" where there is nothing to say


PROFILES: dict[str, DeviceProfile] = {
    profile.name: profile
    for profile in (
        DeviceProfile("cpu", None, "zoo:street-large", 1),
        DeviceProfile("raspberrypi4", "Raspberry Pi 4", "zoo:street-small", 3),
        DeviceProfile("jetson", "Jetson", "zoo:street-middle", 2),
    )
}


def choose_device(name: str, board_file: Path = BOARD) -> ChosenDevice:
    """The profile of that name; says so where this machine is not that device."""
    profile = PROFILES[name]
    if profile.board is None:
        return ChosenDevice(profile, True, "")
    try:
        board = board_file.read_text(errors="replace").strip("\0\n ")
    except OSError:
        board = ""
    if profile.board in board:
        return ChosenDevice(profile, True, "")
    here = board or f"a computer with {os.cpu_count()} cores"
    note = f"this is {here}, no {profile.board}: its profile runs on the CPU"
    return ChosenDevice(profile, False, note)


def describe_machine() -> str:
    """Processor and cores of this machine, in a few words."""
    model = platform.processor() or platform.machine()
    try:
        facts = CPU_FACTS.read_text(errors="replace").splitlines()
    except OSError:
        facts = []
    for fact in facts:
        key, _, value = fact.partition(":")
        if key.strip() == "model name":
            model = value.strip()
            break
    return f"{model}, {os.cpu_count()} cores"
