"""Which decoder fits a network's outputs, found out from their shapes.

A layout that does not fit would not fail: it would draw nonsense. So the shapes of a first run on
a blank picture are held against what the layout asks for, and a network that does not fit is
refused with the shapes seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.postprocessing import softmax
from solutions.phase4_production.video_analysis.box_decoders import (
    Candidates,
    decode_detr,
    decode_ssd,
    decode_yolov5,
    decode_yolov8,
    decode_yolox,
    grid_cells,
)
from zoo.errors import InferenceError

LAYOUTS = ("yolox", "yolov5", "yolov8", "ssd", "detr")
COMMON_STRIDES = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64), (16, 32), (8, 16))
ANCHORS = 3  # boxes per cell of YOLOv5 and YOLOv7
BACKGROUND = ("background", "__background__", "???")  # first label of lists that count it
Outputs = Sequence[NDArray[Any]]
Decoder = Callable[[Outputs, float], Candidates]


@dataclass(frozen=True)
class Layout:
    """How to read a network's outputs."""

    name: str
    decode: Decoder = field(repr=False)  # outputs of one picture, threshold -> candidates
    classes: int | None  # None: the outputs do not tell
    suppress: bool = True  # whether duplicates are left for us to remove


@dataclass(frozen=True)
class NetworkOutputs:
    """What a network gave for a blank picture."""

    names: tuple[str, ...]
    values: tuple[NDArray[Any], ...]
    width: int  # of its input, pixels
    height: int

    def __str__(self) -> str:
        shown = (f"{n} {list(v.shape)}" for n, v in zip(self.names, self.values, strict=True))
        return f"{', '.join(shown)} at {self.width}x{self.height}"


@dataclass(frozen=True)
class Known:
    """What is known of a network before it is run."""

    classes: int | None = None  # how many labels it has
    strides: tuple[int, ...] = ()  # of its grids
    background: bool = False  # whether its class 0 is the background

    def cells(self, seen: NetworkOutputs) -> list[NDArray[np.float32]]:
        """The grids that it may have."""
        likely = (self.strides,) if self.strides else COMMON_STRIDES
        return [grid_cells(strides, seen.width, seen.height) for strides in likely]

    def allows(self, classes: int) -> bool:
        """Whether it may have so many classes."""
        return classes >= 1 and self.classes in (None, classes)


def fit_layout(name: str, seen: NetworkOutputs, known: Known) -> Layout:
    """The layout of that name, or the one that fits where the name is ``auto``.

    Raises InferenceError with the shapes seen where it does not fit.
    """
    for fit in [FITS[name]] if name != "auto" else FITS.values():
        found = fit(seen, known)
        if found is not None:
            return found
    told = "" if known.classes is None else f" with {known.classes} labels"
    if name == "auto":
        raise InferenceError(
            f"detector output {seen} fits none of the layouts {', '.join(LAYOUTS)}{told}: export "
            "the network with one of them"
        )
    expected = EXPECTED[name]
    if known.strides and name == "yolox":
        expected += f", {len(known.cells(seen)[0])} cells for the strides {known.strides}"
    raise InferenceError(
        f"detector output {seen} does not fit the {name} layout{told}, which is {expected}"
    )


def _single(seen: NetworkOutputs) -> NDArray[Any] | None:
    """The only output, if it is one picture's table of floats."""
    first = seen.values[0]
    if len(seen.values) != 1 or first.ndim != 3 or first.shape[0] != 1:
        return None
    return first[0] if np.issubdtype(first.dtype, np.floating) else None


def fit_yolox(seen: NetworkOutputs, known: Known) -> Layout | None:
    """One row per grid cell, centres relative to their cells."""
    table = _single(seen)
    if table is None or not known.allows(table.shape[1] - 5):
        return None
    fitting = [cells for cells in known.cells(seen) if len(cells) == len(table)]
    if not fitting or _centres_in_pixels(table, fitting[0]):
        return None
    return Layout("yolox", lambda outputs, threshold: decode_yolox(
        outputs[0][0], fitting[0], threshold), table.shape[1] - 5)


def _centres_in_pixels(table: NDArray[Any], cells: NDArray[np.float32]) -> bool:
    """Whether the centres were decoded in the network: they then lie near their cells, on average
    within a few strides, while raw offsets lie near zero wherever the cell is."""
    middle = (cells[:, :2] + 0.5) * cells[:, 2:]
    decoded = np.abs(table[:, :2] - middle).mean()
    raw = np.abs(table[:, :2]).mean()
    return bool(decoded < raw)


def fit_yolov5(seen: NetworkOutputs, known: Known) -> Layout | None:
    """Rows of centre, size, objectness and classes in pixels: one or three to a cell."""
    table = _single(seen)
    if table is None or not known.allows(table.shape[1] - 5):
        return None
    cells = {len(grid) for grid in known.cells(seen)}
    if len(table) not in cells | {ANCHORS * count for count in cells}:
        return None
    return Layout("yolov5", lambda outputs, threshold: decode_yolov5(
        outputs[0][0], threshold), table.shape[1] - 5)


def fit_yolov8(seen: NetworkOutputs, known: Known) -> Layout | None:
    """One column per grid cell, no objectness."""
    table = _single(seen)
    if table is None or not known.allows(table.shape[0] - 4):
        return None
    cells = {len(grid) for grid in known.cells(seen)}
    if table.shape[1] not in cells:
        return None
    return Layout("yolov8", lambda outputs, threshold: decode_yolov8(
        outputs[0][0], threshold), table.shape[0] - 4)


def fit_ssd(seen: NetworkOutputs, known: Known) -> Layout | None:
    """Outputs for boxes, labels and scores, by their names and types.

    TensorFlow's exports name them ``detection_...``, with y before x and labels from 1; the
    others count x first. Boxes of a batch are shares of the picture, those of torchvision's
    unbatched exports are pixels, with the background as label 0.
    """
    by_role = {_ssd_role(n, v): i
               for i, (n, v) in enumerate(zip(seen.names, seen.values, strict=True))}
    if not {"boxes", "labels", "scores"} <= by_role.keys():
        return None
    places = (by_role["boxes"], by_role["labels"], by_role["scores"])
    tensorflow = "detection_boxes" in seen.names[places[0]]
    torchvision = seen.values[places[0]].ndim == 2
    size = (1, 1) if torchvision else (seen.width, seen.height)
    scale = np.array(size * 2, np.float32)
    first = 1 if tensorflow or torchvision or known.background else 0

    def decode(outputs: Outputs, threshold: float) -> Candidates:
        boxes, labels, scores = (outputs[i] for i in places)
        boxes = boxes.reshape(-1, 4).astype(np.float32)
        boxes = boxes[:, [1, 0, 3, 2]] if tensorflow else boxes
        return decode_ssd(boxes * scale, labels.reshape(-1).astype(np.int64) - first,
                          scores.reshape(-1).astype(np.float32), threshold)

    return Layout("ssd", decode, None, suppress=False)


def _ssd_role(name: str, value: NDArray[Any]) -> str:
    if value.ndim >= 2 and value.shape[-1] == 4 and "box" in name.lower():
        return "boxes"
    for role, words in (("labels", ("class", "label")), ("scores", ("score",))):
        if value.ndim <= 2 and any(word in name.lower() for word in words):
            return role
    return ""


def fit_detr(seen: NetworkOutputs, known: Known) -> Layout | None:
    """Logits [1, Q, C] and boxes [1, Q, 4].

    DETR keeps its last class for "no object" and takes the softmax; its successors (Deformable
    DETR, RT-DETR) have none and take the sigmoid. The number of labels decides; where it is not
    known, a network with COCO's 80 classes is taken for one of the latter.
    """
    shapes = [value.shape for value in seen.values]
    fours = [i for i, s in enumerate(shapes) if len(s) == 3 and s[2] == 4]
    named = [i for i in fours if "box" in seen.names[i].lower()]  # three classes have fours, too
    boxes = next(iter(named or fours), None)
    logits = next((i for i, s in enumerate(shapes) if len(s) == 3 and i != boxes and s[2] > 1),
                  None)
    if boxes is None or logits is None or shapes[boxes][:2] != shapes[logits][:2]:
        return None
    columns = shapes[logits][2]
    if known.classes not in (None, columns, columns - 1):
        return None
    has_no_object = columns != (known.classes or 80)
    probabilities = object_probabilities if has_no_object else sigmoid

    def decode(outputs: Outputs, threshold: float) -> Candidates:
        return decode_detr(probabilities(outputs[logits][0]), outputs[boxes][0],
                           (seen.width, seen.height), threshold)

    return Layout("detr", decode, columns - has_no_object, suppress=False)


def object_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the classes and "no object", which stands last and is left out."""
    return softmax(logits)[:, :-1]


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)), which does not overflow."""
    half: NDArray[np.float32] = 0.5 * (1 + np.tanh(0.5 * logits))
    return half


FITS: dict[str, Callable[[NetworkOutputs, Known], Layout | None]] = {
    "yolox": fit_yolox, "yolov5": fit_yolov5, "yolov8": fit_yolov8, "ssd": fit_ssd,
    "detr": fit_detr,
}
EXPECTED = {
    "yolox": "[1, cells, 5 + classes] with centres relative to their cells",
    "yolov5": "[1, cells or 3 x cells, 5 + classes] with centres in pixels",
    "yolov8": "[1, 4 + classes, cells]",
    "ssd": "boxes [N, 4], labels [N] and scores [N], named so",
    "detr": "logits [1, queries, classes] and boxes [1, queries, 4]",
}
