"""The forms in which the edge program's detector can run on this machine."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from solutions.phase1_basics.onnx_model import CPU
from solutions.phase4_production.video_analysis.detector_choice import (
    DetectorOptions,
    NetworkLoader,
    choose_detector,
    onnx_loader,
)
from solutions.phase4_production.video_analysis.device_profile import (
    ChosenDevice,
    describe_machine,
    runtime_version,
)
from solutions.phase4_production.video_analysis.openvino_model import (
    OpenVinoModel,
    computes_in_bf16,
)
from solutions.phase4_production.video_analysis.precision_cache import PrecisionCache
from solutions.phase4_production.video_analysis.precision_choice import (
    BF16,
    FLOOR,
    FP32,
    INT8,
    DetectorForm,
    PrecisionChoice,
    choose_precision,
)
from zoo import registry
from zoo.errors import InferenceError
from zoo.street import Street, StreetConfig

STREETS, PLACE, FRAMES = 4, 60, 120  # drawn to measure with: one frame of each
FIRST_SEED = 6000


def network_loader(
    runtime: str, threads: int, device: ChosenDevice, precision: str = FP32
) -> NetworkLoader:
    """What loads networks into that runtime; ``precision`` is that of OpenVINO's arithmetic."""
    if runtime == "openvino":
        return lambda path: OpenVinoModel(path, threads, precision=precision)
    return onnx_loader(threads, device.providers)


def detector_forms(
    name: str, runtime: str, threads: int, device: ChosenDevice
) -> list[DetectorForm]:
    """The detector in every precision that it has in that runtime on this processor."""
    load = network_loader(runtime, threads, device)
    entry = registry.entries().get(name)
    if entry is not None and entry.quantized_from is not None:
        return [DetectorForm(INT8, name, load)]
    forms = [DetectorForm(FP32, name, load)]
    if device.providers != CPU:
        return [DetectorForm(device.precision, name, load)]
    if runtime == "openvino" and computes_in_bf16():
        forms.append(DetectorForm(BF16, name, network_loader(runtime, threads, device, BF16)))
    integers = registry.int8_form(name)
    if integers is not None and recorded_share(name, integers.name) >= FLOOR:
        forms.append(DetectorForm(INT8, integers.name, load))
    return forms


def recorded_share(name: str, quantized: str) -> float:
    """The mAP of a zoo detector's INT8 form over that of the float one, as recorded; 0: unknown."""
    try:
        scores = json.loads((registry.MODELS / "scores.json").read_text())
        other, real = (float(scores[n.removeprefix("zoo:")]["map"]) for n in (quantized, name))
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    return other / real if real else 0.0


def form_for(
    asked: str, name: str, runtime: str, threads: int, device: ChosenDevice,
    options: DetectorOptions,
) -> PrecisionChoice:
    """The form that was asked for, or for ``auto`` the best one here.

    Only detectors that ship an INT8 form are measured; others run in fp32 unless told otherwise.

    Raises InferenceError where the form that was asked for does not exist.
    """
    forms = detector_forms(name, runtime, threads, device)
    if asked not in ("auto", *(form.precision for form in forms)):
        raise InferenceError(_why_not(asked, name, runtime, device))
    if asked == "auto" and registry.int8_form(name) is None:
        return PrecisionChoice(forms[0])
    files = [registry.sha256_of(path_of(form))[:16] for form in forms]
    circumstances = "; ".join((
        describe_machine(), f"{runtime} {runtime_version(runtime)}",
        f"{threads} threads", *files,
    ))
    cache = PrecisionCache(registry.cache_folder(), circumstances)
    return choose_precision(
        asked, forms, path_of, lambda: street_batches(forms[0], options), cache
    )


def path_of(form: DetectorForm) -> Path:
    """The form's file."""
    return registry.fetch(registry.find(form.name))


def street_batches(form: DetectorForm, options: DetectorOptions) -> Sequence[NDArray[Any]]:
    """Frames of drawn streets as the detector's input."""
    detector = choose_detector(form.name, form.load, options).detector
    streets = (Street(StreetConfig(seed=FIRST_SEED + n, frames=FRAMES)) for n in range(STREETS))
    return [detector.prepare(street.frame(PLACE)[0]).batch for street in streets]


def _why_not(asked: str, name: str, runtime: str, device: ChosenDevice) -> str:
    entry = None if name.endswith(".onnx") else registry.find(name)
    if entry is not None and entry.quantized_from is not None:
        return (f"--precision {asked}: {name} holds 8-bit integers: name {entry.quantized_from} "
                "with --detector")
    if device.providers != CPU:
        return f"--precision {asked}: {device.label} computes in {device.precision}"
    if asked == BF16:
        reason = ("needs --runtime openvino" if runtime != "openvino"
                  else "this processor has no bfloat16 arithmetic")
        return f"--precision {asked}: {reason}"
    return (f"--precision {asked}: {name} has no INT8 form: quantize its ONNX file (python -m "
            "solutions.phase2_optimization.quantizer) and name the result with --detector")
