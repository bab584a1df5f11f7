"""The detector named on the command line: from the zoo, the registry or a file of one's own."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from solutions.phase1_basics.onnx_model import CPU, OnnxModel, Provider
from solutions.phase4_production.video_analysis.detector import (
    Detector,
    DetectorConfig,
    Network,
    probe,
)
from solutions.phase4_production.video_analysis.detector_layout import (
    BACKGROUND,
    Known,
    Layout,
    fit_layout,
)
from solutions.phase4_production.video_analysis.network_input import (
    NetworkInput,
    input_size,
    is_channels_last,
    tensor_dtype,
)
from zoo import registry
from zoo.errors import InferenceError
from zoo.registry import InputConvention, ModelEntry

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONVENTIONS: dict[str, InputConvention] = {  # as the authors of each layout train and export
    "yolox": InputConvention(0, 0, "bgr", "0-255", letterbox="topleft"),
    "yolov5": InputConvention(0, 0, "rgb", "0-1", letterbox="center"),
    "yolov8": InputConvention(0, 0, "rgb", "0-1", letterbox="center"),
    "ssd": InputConvention(0, 0, "rgb", "0-255", letterbox="none"),
    "detr": InputConvention(0, 0, "rgb", "0-1", IMAGENET_MEAN, IMAGENET_STD, "none"),
}
DEFAULT_SIZES = {"ssd": (320, 320), "detr": (640, 640)}  # where the network leaves it open
DEFAULT_SIZE = (640, 640)
COCO = registry.ROOM / "coco_labels.txt"
MOST_LABELS = 100_000
NetworkLoader = Callable[[Path], Network]


@dataclass(frozen=True)
class DetectorOptions:
    """What the user says about a detector; None: what the registry or the layout's authors say."""

    layout: str = "auto"
    labels: Path | None = None
    color: Literal["bgr", "rgb"] | None = None
    range: Literal["0-255", "0-1"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    letterbox: Literal["topleft", "center", "none"] | None = None
    input_size: tuple[int, int] | None = None  # width, height

    def applied(self, convention: InputConvention) -> InputConvention:
        """The convention with what the user said."""
        names = ("color", "range", "mean", "std", "letterbox")
        said = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(convention, **said)


class ChosenDetector(NamedTuple):
    """A detector and what is to be said about it."""

    detector: Detector
    notes: tuple[str, ...]


def onnx_loader(threads: int = 1, providers: tuple[Provider, ...] = CPU) -> NetworkLoader:
    """Loads networks into ONNX Runtime."""
    return lambda path: OnnxModel(path, threads, providers=providers)


def choose_detector(
    name: str, load: NetworkLoader, options: DetectorOptions | None = None,
    config: DetectorConfig | None = None, progress: registry.Progress | None = None,
) -> ChosenDetector:
    """The detector of that zoo or registry name, or in that ONNX file.

    Raises InferenceError for an unknown name, a model that is no detector, a missing or broken
    file, labels that do not fit, or outputs that do not fit the layout.
    """
    options = options or DetectorOptions()
    if name not in registry.entries() and (name.endswith(".onnx") or Path(name).is_file()):
        return _from_file(Path(name), load(Path(name)), options, config)
    entry = registry.find(name)
    if entry.kind != "detector" or entry.input is None or entry.layout is None:
        raise InferenceError(f"{name} is no detector ({entry.about}): see python -m zoo list")
    detector = _registered(entry, load(registry.fetch(entry, progress)), options, config)
    return ChosenDetector(detector, ())


def _registered(
    entry: ModelEntry, network: Network, options: DetectorOptions, config: DetectorConfig | None
) -> Detector:
    assert entry.input is not None and entry.layout is not None, entry
    labels = read_labels(options.labels) if options.labels else entry.labels
    size = input_size(network.inputs[0], options.input_size,
                      (entry.input.width, entry.input.height))
    convention = replace(entry.input, width=size[0], height=size[1])
    layout = entry.layout if options.layout == "auto" else options.layout
    return _fitted(network, options.applied(convention), layout,
                   Known(len(labels), entry.strides), labels, config)


def _from_file(
    path: Path, network: Network, options: DetectorOptions, config: DetectorConfig | None
) -> ChosenDetector:
    given = read_labels(options.labels) if options.labels else named_in(network)
    background = bool(given) and given[0].lower() in BACKGROUND
    known = Known(len(given) - background if given else None, background=background)
    layout = _layout_of(network, options, known)
    convention = options.applied(_convention(network, layout.name, options))
    labels, note = _labels_for(layout, given[background:] if given else ())
    detector = Detector(network, _network_input(network, convention), layout, labels, config)
    pixels = (f"{layout.name} layout, {convention.color} {convention.range}, letterbox "
              f"{convention.letterbox}, {convention.width}x{convention.height}")
    return ChosenDetector(detector, (f"detector {path}: {pixels}", *([note] if note else [])))


def _layout_of(network: Network, options: DetectorOptions, known: Known) -> Layout:
    if len(network.inputs) != 1:
        names = ", ".join(spec.name for spec in network.inputs)
        raise InferenceError(f"detector with the inputs {names}: one picture is all that it gets")
    guess = "yolox" if options.layout == "auto" else options.layout
    seen = probe(network, _network_input(network, _convention(network, guess, options)))
    try:
        return fit_layout(options.layout, seen, known)
    except InferenceError as misfit:
        if known.classes is None:
            raise
        try:
            fitting = fit_layout(options.layout, seen, replace(known, classes=None))
        except InferenceError:
            raise misfit from None
        raise InferenceError(
            f"{known.classes} labels for a detector of {fitting.classes} classes: --labels must "
            "name each of them, one a line"
        ) from misfit


def _fitted(
    network: Network, convention: InputConvention, layout: str, known: Known,
    labels: tuple[str, ...], config: DetectorConfig | None,
) -> Detector:
    entry = _network_input(network, convention)
    fitting = fit_layout(layout, probe(network, entry), known)
    return Detector(network, entry, fitting, labels, config)


def _network_input(network: Network, convention: InputConvention) -> NetworkInput:
    spec = network.inputs[0]
    return NetworkInput(convention, is_channels_last(spec), tensor_dtype(spec))


def _convention(network: Network, layout: str, options: DetectorOptions) -> InputConvention:
    default = DEFAULT_SIZES.get(layout, DEFAULT_SIZE)
    width, height = input_size(network.inputs[0], options.input_size, default)
    usual = CONVENTIONS[layout]
    if network.inputs[0].dtype == "uint8":  # bytes as they are: the network scales them itself
        usual = replace(usual, range="0-255", mean=(0.0,), std=(1.0,))
    return replace(usual, width=width, height=height)


def _labels_for(layout: Layout, given: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Labels for the classes, and what is to be said about them."""
    if given:
        return given, ""
    if layout.classes is None:
        raise InferenceError(f"a detector with the {layout.name} layout does not tell how many "
                             "classes it has: name them with --labels, one a line")
    coco = read_labels(COCO)
    if layout.classes == len(coco):
        return coco, "80 classes without names: taken for COCO's (--labels)"
    numbered = tuple(f"class {number}" for number in range(layout.classes))
    return numbered, f"{layout.classes} classes without names: numbered (--labels)"


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels in a text file, one a line.

    Raises InferenceError where it cannot be read, is empty, or is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InferenceError(f"labels {path}: {reason}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or len(lines) > MOST_LABELS:
        raise InferenceError(f"labels {path}: {len(lines)} lines: one label a line is needed")
    return tuple(line.strip() for line in lines)


def named_in(network: Network) -> tuple[str, ...]:
    """The labels that an ONNX file carries with it, as Ultralytics' exports do; else none."""
    text = getattr(network, "metadata", {}).get("names", "")
    if not text or len(text) > 64 * MOST_LABELS:
        return ()
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[i] for i in range(len(names))]
    return tuple(map(str, names)) if isinstance(names, list) else ()
