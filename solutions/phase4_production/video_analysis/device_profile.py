"""What a device is given to run, and whether this machine is that device."""

import importlib
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

from solutions.phase1_basics.onnx_model import CPU, Provider
from zoo.errors import MissingExtraError

BOARD = Path("/proc/device-tree/model")  # single-board computers say here what they are
CPU_FACTS = Path("/proc/cpuinfo")
EDGE_TPU_DEVICES = Path("/dev")  # a Coral on PCIe is apex_0; on USB it has no node of its own
USB_DEVICES = Path("/sys/bus/usb/devices")
EDGE_TPU_USB = {("1a6e", "089a"), ("18d1", "9302")}  # before and after its firmware is loaded
MYRIAD_USB = {("03e7", "2485")}


@dataclass(frozen=True)
class Accelerator:
    """Hardware beside the CPU that a profile counts on."""

    name: str  # as people say it
    providers: tuple[Provider, ...] = ()  # of ONNX Runtime, the best first; (): it has none


TENSORRT = Accelerator("CUDA GPU", (
    ("TensorrtExecutionProvider", {"trt_fp16_enable": True, "trt_engine_cache_enable": True}),
    "CUDAExecutionProvider",
))
CUDA = Accelerator("CUDA GPU", ("CUDAExecutionProvider",))
EDGE_TPU = Accelerator("Edge TPU")
MYRIAD = Accelerator("Myriad X")


@dataclass(frozen=True)
class DeviceProfile:
    """The settings of a kind of device."""

    name: str
    boards: tuple[str, ...]  # what its board calls itself; (): any computer
    detector: str  # the default
    threads: int  # of the network; the others decode and encode
    precision: str = "fp32"  # on the accelerator, where there is one
    accelerator: Accelerator | None = None
    input_size: tuple[int, int] = (320, 192)  # width, height, where the detector leaves it open


@dataclass(frozen=True)
class Machine:
    """What this machine is."""

    board: str = ""  # "" for an ordinary computer
    architecture: str = "x86_64"
    cores: int = 1
    providers: frozenset[str] = frozenset({"CPUExecutionProvider"})  # of ONNX Runtime here
    usb: frozenset[tuple[str, str]] = frozenset()  # vendor and product of what is plugged in
    edge_tpu_node: bool = False

    def has(self, accelerator: Accelerator) -> bool:
        """Whether the accelerator is there and can be used."""
        if accelerator is EDGE_TPU:
            return self.edge_tpu_node or bool(EDGE_TPU_USB & self.usb)
        if accelerator is MYRIAD:
            return bool(MYRIAD_USB & self.usb)
        return bool(self.usable(accelerator))

    def usable(self, accelerator: Accelerator) -> tuple[Provider, ...]:
        """Those of its providers that are installed."""
        return tuple(p for p in accelerator.providers
                     if (p if isinstance(p, str) else p[0]) in self.providers)

    def __str__(self) -> str:
        return self.board or f"a computer with {self.cores} cores"


@dataclass(frozen=True)
class ChosenDevice:
    """A profile and what comes of it on this machine."""

    profile: DeviceProfile
    native: bool  # whether this machine is that device
    providers: tuple[Provider, ...] = CPU
    precision: str = "fp32"
    notes: tuple[str, ...] = field(default=())

    @property
    def label(self) -> str:
        """The device's name; says where it is only its profile."""
        return self.profile.name if self.native else f"{self.profile.name} (on another machine)"


PROFILES: dict[str, DeviceProfile] = {
    profile.name: profile
    for profile in (
        DeviceProfile("cpu", (), "zoo:street-large", 1),
        DeviceProfile("x86", (), "zoo:street-large", 1),
        DeviceProfile("raspberrypi4", ("Raspberry Pi 4",), "zoo:street-small", 3),
        DeviceProfile("raspberrypi5", ("Raspberry Pi 5",), "zoo:street-middle", 3),
        DeviceProfile("jetson-nano", ("Jetson Nano",), "zoo:street-middle", 2, "fp32", CUDA),
        DeviceProfile("jetson", ("Orin",), "zoo:street-large", 2, "fp16", TENSORRT),
        DeviceProfile("coral", (), "zoo:street-small", 3, "int8", EDGE_TPU),
        DeviceProfile("ncs", (), "zoo:street-middle", 2, "fp16", MYRIAD),
    )
}
AUTO = "auto"


def this_machine() -> Machine:
    """What can be read of this machine without asking anybody."""
    import onnxruntime

    return Machine(
        board=_read(BOARD), architecture=platform.machine(), cores=os.cpu_count() or 1,
        providers=frozenset(onnxruntime.get_available_providers()), usb=_usb_devices(),
        edge_tpu_node=(EDGE_TPU_DEVICES / "apex_0").exists(),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _usb_devices() -> frozenset[tuple[str, str]]:
    folders = USB_DEVICES.glob("*") if USB_DEVICES.is_dir() else ()
    return frozenset((_read(f / "idVendor"), _read(f / "idProduct")) for f in folders)


def choose_device(name: str, machine: Machine | None = None) -> ChosenDevice:
    """The profile of that name (``auto``: the one that fits) on this machine.

    Says in its notes where this machine is not that device, and where an accelerator is absent.
    """
    machine = machine or this_machine()
    if name == AUTO:
        chosen = choose_device(fitting_profile(machine), machine)
        found = f"device auto: {machine} gets the profile {chosen.profile.name}"
        return ChosenDevice(chosen.profile, chosen.native, chosen.providers, chosen.precision,
                            (found, *chosen.notes))
    profile = PROFILES[name]
    notes = []
    native = _is_native(profile, machine)
    if not native and profile.boards:
        notes.append(f"this is {machine}, no {profile.boards[0]}: only its profile is used")
    elif not native and profile.accelerator is None:
        notes.append(f"this is a {machine.architecture}, no {profile.name}: only its profile is "
                     "used")
    providers, precision = CPU, "fp32"
    if profile.accelerator is not None:
        usable = machine.usable(profile.accelerator)
        if usable:
            providers, precision = (*usable, *CPU), profile.precision
        else:
            notes.append(_why_unused(profile.accelerator, machine))
    return ChosenDevice(profile, native, providers, precision, tuple(notes))


def _is_native(profile: DeviceProfile, machine: Machine) -> bool:
    if profile.boards:
        return any(board in machine.board for board in profile.boards)
    if profile.name == "x86":
        return machine.architecture in ("x86_64", "AMD64", "i686")
    return profile.accelerator is None or machine.has(profile.accelerator)


def _why_unused(accelerator: Accelerator, machine: Machine) -> str:
    if not machine.has(accelerator):
        return f"no {accelerator.name} here that could be used: the CPU does its work"
    return (f"the {accelerator.name} runs only networks compiled for it, which ONNX Runtime does "
            "not: the CPU does its work")


def fitting_profile(machine: Machine) -> str:
    """The name of the profile for this machine."""
    for profile in PROFILES.values():
        if profile.boards and _is_native(profile, machine):
            return profile.name
    if machine.has(TENSORRT):
        return "jetson"
    return "x86" if _is_native(PROFILES["x86"], machine) else "cpu"


def describe_machine() -> str:
    """Processor and cores of this machine, in a few words."""
    model = platform.processor() or platform.machine()
    for fact in _read(CPU_FACTS).splitlines():
        key, _, value = fact.partition(":")
        if key.strip() == "model name":
            model = value.strip()
            break
    return f"{model}, {os.cpu_count()} cores"


def runtime_version(runtime: str) -> str:
    """The version of a runtime, whichever of its packages (onnxruntime, onnxruntime-gpu) is here.

    Raises MissingExtraError where none is.
    """
    try:
        return str(importlib.import_module(runtime).__version__)
    except ImportError as error:
        raise MissingExtraError(runtime, runtime) from error
