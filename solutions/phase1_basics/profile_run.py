"""A profile from beginning to end: each part is measured after the other, and may be missing."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solutions.phase1_basics.activation_memory import activation_peak
from solutions.phase1_basics.device_comparison import compare_devices
from solutions.phase1_basics.energy import cpu_energy, gpu_energy
from solutions.phase1_basics.latency_profile import summarise
from solutions.phase1_basics.load_generator import closed_loop, open_loop, poisson_arrivals
from solutions.phase1_basics.matrix_product import matrix_products
from solutions.phase1_basics.memory_profile import (
    device_memory,
    process_memory,
    trace_allocations,
)
from solutions.phase1_basics.onnx_graph import read_onnx_graph
from solutions.phase1_basics.onnx_profile import profile_onnx
from solutions.phase1_basics.profile_record import Profile, describe_machine
from solutions.phase1_basics.profile_target import ProfileTarget
from solutions.phase1_basics.request_times import RequestTimes
from solutions.phase1_basics.roofline import measure_ceilings
from solutions.phase1_basics.throttling import cpu_frequency
from solutions.phase1_basics.torch_profile import profile_torch
from solutions.phase1_basics.warm_up import WarmUp, warm_up
from zoo.errors import InferenceError

PRODUCTS = (512, 1024)  # rows of the matrices that measure the peak
Progress = Callable[[str, int, int], None]  # part, done, of


@dataclass(frozen=True)
class ProfileSettings:
    """What to measure."""

    iterations: int = 100
    rate: float | None = None  # requests per second of the open loop; None: no open loop
    layer_runs: int = 20
    seed: int = 0  # of the arrivals

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InferenceError(f"{self.iterations} iterations: at least one is needed")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise InferenceError(f"rate {self.rate:g}: must be a positive number per second")


def silent(part: str, done: int, total: int) -> None:
    """No progress is shown."""


def profile_model(
    target: ProfileTarget, settings: ProfileSettings, progress: Progress = silent
) -> Profile:
    """Measure latency, memory, layers, ceilings and devices, in this order.

    An error or Ctrl-C after the first request ends the profile, which keeps what it has and says
    that it is partial; a part that cannot be had here is named in ``missing``.

    Raises InferenceError where not a single request was finished.
    """
    profile = Profile(target.name, target.runtime, target.device, target.threads,
                      target.batch_shape, describe_machine())
    parts = (_latency, _open_latency, _memory, _layers, _ceilings, _devices)
    try:
        for measure in parts:
            measure(profile, target, settings, progress)
            if profile.partial:
                break
    except KeyboardInterrupt:
        profile.partial = "interrupted"
    except Exception as error:  # whatever a model raises
        if profile.closed is None:
            raise
        first = (str(error).splitlines() or [""])[0]
        profile.partial = f"{type(error).__name__}: {first}"
    if profile.closed is None:
        raise InferenceError(f"nothing was measured: {profile.partial or 'no request finished'}")
    return profile


def _latency(
    profile: Profile, target: ProfileTarget, settings: ProfileSettings, progress: Progress
) -> None:
    count = settings.iterations
    progress("warm-up", 0, 1)
    warm: list[WarmUp] = []
    try:
        profile.process = process_memory(
            lambda: warm.append(warm_up(target.call, synchronise=target.synchronise))
        )
    except Exception as error:  # whatever a model raises
        what = f"{type(error).__name__}: {error}"
        raise InferenceError(f"the model cannot predict: {what}") from error
    profile.warm_up = warm[0]
    times: list[RequestTimes] = []
    frequencies = [cpu_frequency()]

    def measure() -> None:
        times.append(closed_loop(
            target.call, count, time.perf_counter, target.synchronise, shown(
                lambda done: progress("closed loop", done, count)),
        ))

    kind, _, index = target.device.partition(":")
    profile.energy = gpu_energy(measure, int(index or 0)) if kind == "cuda" else cpu_energy(measure)
    frequencies.append(cpu_frequency())
    profile.closed = summarise(times[0], count, None, frequencies)
    profile.partial = times[0].stopped


def _open_latency(
    profile: Profile, target: ProfileTarget, settings: ProfileSettings, progress: Progress
) -> None:
    if settings.rate is None:
        return
    count = settings.iterations
    draws = np.random.default_rng(settings.seed).random(count)
    frequencies = [cpu_frequency()]
    times = open_loop(
        target.call, poisson_arrivals(draws, settings.rate), synchronise=target.synchronise,
        progress=shown(lambda done: progress("open loop", done, count)),
    )
    frequencies.append(cpu_frequency())
    profile.partial = times.stopped
    if times.count:
        profile.open = summarise(times, count, settings.rate, frequencies)


def _layers(
    profile: Profile, target: ProfileTarget, settings: ProfileSettings, progress: Progress
) -> None:
    runs = settings.layer_runs

    def say(done: int) -> None:
        progress("layers", done, runs)

    if target.module is not None and target.tensor is not None:
        profile.layers, trace = profile_torch(
            target.module, target.tensor, runs, synchronise=target.synchronise, progress=say
        )
        profile.activations = activation_peak(trace.operations, trace.sizes, trace.results)
    elif target.onnx is not None:
        profile.layers = profile_onnx(target.onnx, target.feeds, runs, target.threads, say)
        try:
            shapes = {name: tuple(value.shape) for name, value in target.feeds.items()}
            graph = read_onnx_graph(target.onnx, shapes)
            profile.activations = activation_peak(graph.operations, graph.sizes, graph.results)
        except InferenceError as error:
            profile.missing["activations"] = str(error)
    else:
        profile.missing["layers"] = f"{target.runtime} shows no layers"
        profile.missing["activations"] = profile.missing["layers"]


def _ceilings(
    profile: Profile, target: ProfileTarget, settings: ProfileSettings, progress: Progress
) -> None:
    if target.device.startswith("cuda"):
        from solutions.phase1_basics.gpu_ceilings import measure_gpu_ceilings

        profile.ceilings = measure_gpu_ceilings(target.device)
        return
    progress("ceilings", 0, 1)
    profile.ceilings = measure_ceilings(matrix_products(PRODUCTS, target.threads), target.threads)


def _memory(
    profile: Profile, target: ProfileTarget, settings: ProfileSettings, progress: Progress
) -> None:
    def call() -> object:
        result = target.call()
        target.synchronise()
        return result

    progress("memory", 0, 1)
    profile.allocations = trace_allocations(call)
    profile.device_memory = device_memory(call, target.device)


def _devices(
    profile: Profile, target: ProfileTarget, settings: ProfileSettings, progress: Progress
) -> None:
    if target.module is None or target.tensor is None:
        profile.missing["devices"] = "only torch models move between CPU and GPU"
        return
    import torch

    if not torch.cuda.is_available():
        profile.missing["devices"] = "no GPU here"
        return
    progress("devices", 0, 1)
    module, tensor = target.module, target.tensor

    def on(device: str) -> Callable[[], object]:
        import copy

        own, batch = copy.deepcopy(module).to(device), tensor.to(device)

        def call() -> None:
            with torch.inference_mode():
                own(batch)
            torch.cuda.synchronize()

        return call

    profile.devices = compare_devices({"cpu": on("cpu"), "cuda": on("cuda")})


def shown(progress: Callable[[int], None], every: float = 0.1) -> Callable[[int], None]:
    """Progress at most ten times a second, so that showing it costs no time worth mentioning."""
    last = 0.0

    def step(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every:
            last = now
            progress(done)

    return step
