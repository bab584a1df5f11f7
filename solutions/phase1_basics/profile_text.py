"""A profile in words and figures, for the terminal and the report page alike."""

from typing import NamedTuple

from solutions.phase1_basics.percentiles import PercentileEstimate
from solutions.phase1_basics.profile_record import Profile

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MIB = 2**20


class Fact(NamedTuple):
    """One line of a table."""

    name: str
    value: str


def milliseconds(seconds: float) -> str:
    """A time in ms with three or four significant digits."""
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}" if value >= 100 else f"{value:.3g}"


def quantity(value: float) -> str:
    """A large number with a prefix: 3.63 G."""
    for size, prefix in PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "


def interval(estimate: PercentileEstimate) -> str:
    """The confidence interval in ms; an end that the sample does not support is a question."""
    low, high = ("?" if end is None else milliseconds(end) for end in (estimate.low, estimate.high))
    return f"{low} .. {high}"


def facts(profile: Profile) -> dict[str, list[Fact]]:
    """The tables besides latency and layers: memory, energy, devices, how it was run."""
    return {
        "memory": _memory(profile), "energy": _energy(profile), "devices": _devices(profile),
        "run": _run(profile), "roofline": _roofline(profile),
    }  # fmt: skip


def _memory(profile: Profile) -> list[Fact]:
    found = []
    if profile.process is not None:
        since = " since the process began" if profile.process.lifetime else ""
        grown = (profile.process.peak - profile.process.before) / MIB
        found.append(Fact("resident, peak", f"{profile.process.peak / MIB:.0f} MiB{since}, "
                                            f"{grown:.0f} MiB of it by predicting"))
    if profile.activations is not None:
        peak = profile.activations
        found.append(Fact("activations, peak", f"{peak.peak_bytes / MIB:.2f} MiB during "
                                               f"{peak.operation}"))
        found.append(Fact("activations, all", f"{peak.total_bytes / MIB:.2f} MiB if none were "
                                              "ever freed"))
    elif "activations" in profile.missing:
        found.append(Fact("activations", f"unavailable: {profile.missing['activations']}"))
    if profile.allocations is not None:
        found.append(Fact("Python and NumPy", f"{profile.allocations.peak / 1024:.1f} KiB "
                                              "allocated at most during a prediction"))
    if profile.device_memory is not None:
        peak_bytes = profile.device_memory.peak
        found.append(Fact("GPU, peak", f"unavailable: {profile.device_memory.reason}"
                          if peak_bytes is None else f"{peak_bytes / MIB:.0f} MiB"))
    return found


def _energy(profile: Profile) -> list[Fact]:
    if profile.energy is None:
        return [Fact("energy", "unavailable: not measured")]
    joules = profile.joules_per_request
    if joules is None:
        return [Fact("energy", f"unavailable: {profile.energy.reason}")]
    return [Fact("energy", f"{1e3 * joules:.3g} mJ per request ({profile.energy.source})")]


def _devices(profile: Profile) -> list[Fact]:
    if not profile.devices:
        why = profile.missing.get("devices", "not measured")
        return [Fact("CPU against GPU", f"unavailable: {why}")]
    return [
        Fact(found.device, f"{milliseconds(found.seconds)} ms, {found.speedup:.3g} times as fast "
                           f"as {profile.devices[0].device}")
        for found in profile.devices
    ]


def _roofline(profile: Profile) -> list[Fact]:
    if profile.ceilings is None:
        return []
    roof = profile.ceilings
    found = [
        Fact("peak", f"{quantity(roof.peak_flops)}FLOP/s"),
        Fact("bandwidth", f"{quantity(roof.bandwidth)}B/s"),
        Fact("ridge", f"{roof.ridge:.3g} operations per byte"),
        Fact("measured by", roof.about),
    ]
    flops = sum(layer.flops for layer in profile.layers)
    if flops and profile.closed is not None:
        median = profile.closed.percentile(0.5).value
        rate = flops / median
        found.append(Fact("the model", f"{quantity(flops)}FLOP: {quantity(rate)}FLOP/s, "
                                       f"{100 * rate / roof.peak_flops:.0f}% of the peak"))
    return found


def _run(profile: Profile) -> list[Fact]:
    machine = profile.machine
    warm = profile.warm_up
    found = [
        Fact("Model", f"{profile.model}, input {'×'.join(map(str, profile.batch_shape))}"),
        Fact("Runtime", f"{profile.runtime} on {profile.device}, {profile.threads} "
                        f"thread{'' if profile.threads == 1 else 's'}"),
        Fact("Machine", f"{machine['processor']}, {machine['cores']} cores, "
                        f"{machine['memory_gib']} GiB, {machine['system']}"),
        Fact("Python", str(machine["python"])),
    ]
    if warm is not None:
        state = "stable" if warm.stable else "not stable: given up"
        found.append(Fact("Warm-up", f"{warm.calls} calls, {state} (medians of the last two "
                                     "windows of 5 within 5%)"))
    if profile.layers and profile.closed is not None:
        spent = sum(layer.seconds for layer in profile.layers)
        median = profile.closed.percentile(0.5).value
        found.append(Fact("Layers", f"sum {milliseconds(spent)} ms under the layer profiler, "
                                    f"{milliseconds(median)} ms without it"))
    return found
