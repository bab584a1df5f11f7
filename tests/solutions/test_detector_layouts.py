"""Every output layout: decoded as its definition says, found by its shapes, proven on pixels."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from colour_detectors import HEIGHT, LABELS, STRIDES, WIDTH, cell_boxes, write_detector
from onnx import TensorProto

from solutions.phase4_production.video_analysis.box_decoders import (
    decode_detr,
    decode_ssd,
    decode_yolov5,
    decode_yolov8,
)
from solutions.phase4_production.video_analysis.detector import DetectorConfig
from solutions.phase4_production.video_analysis.detector_choice import (
    ChosenDetector,
    DetectorOptions,
    choose_detector,
    onnx_loader,
)
from solutions.phase4_production.video_analysis.detector_layout import (
    Known,
    NetworkOutputs,
    fit_layout,
    object_probabilities,
    sigmoid,
)
from zoo.errors import InferenceError

CONFIG = DetectorConfig(score_threshold=0.9)
COLOURS = {"first": (255, 0, 0), "second": (0, 255, 0), "third": (0, 0, 255)}  # BGR


def rows_of(rng: np.random.Generator, count: int, classes: int) -> np.ndarray:
    """Centres and sizes in pixels, then numbers from 0 to 1."""
    return np.concatenate(
        [rng.uniform(0, 300, (count, 2)), rng.uniform(1, 90, (count, 2)),
         rng.uniform(0, 1, (count, classes))], axis=1
    ).astype(np.float32)


def check(found, expected: list[tuple[float, ...]]) -> None:
    table = np.array(expected).reshape(-1, 6)
    assert len(table) == len(found.scores)
    np.testing.assert_allclose(found.boxes, table[:, :4], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.scores, table[:, 4], rtol=1e-5)
    np.testing.assert_array_equal(found.labels, table[:, 5])
    assert found.boxes.dtype == np.float32 and found.labels.dtype == np.int64


@pytest.mark.parametrize("threshold", [0.0, 0.4, 2.0])
def test_yolov5_equals_its_definition(threshold: float) -> None:
    raw = rows_of(np.random.default_rng(1), 200, 6)
    expected = []
    for x, y, w, h, objectness, *classes in raw.astype(float).tolist():
        best = max(range(5), key=lambda k: classes[k])
        if objectness * classes[best] >= threshold:
            expected.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2,
                             objectness * classes[best], best))
    check(decode_yolov5(raw, threshold), expected)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 2.0])
def test_yolov8_equals_its_definition(threshold: float) -> None:
    raw = rows_of(np.random.default_rng(2), 200, 5)
    expected = []
    for x, y, w, h, *classes in raw.astype(float).tolist():
        best = max(range(5), key=lambda k: classes[k])
        if classes[best] >= threshold:
            expected.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2, classes[best], best))
    check(decode_yolov8(np.ascontiguousarray(raw.T), threshold), expected)


def test_ssd_equals_its_definition() -> None:
    rng = np.random.default_rng(3)
    boxes, scores = rng.uniform(0, 300, (50, 4)).astype(np.float32), rng.random(50)
    labels = rng.integers(-1, 4, 50)
    expected = [(*boxes[i], scores[i], labels[i]) for i in range(50)
                if scores[i] >= 0.3 and labels[i] >= 0]
    check(decode_ssd(boxes, labels, scores.astype(np.float32), 0.3), expected)


def test_detr_equals_its_definition() -> None:
    rng = np.random.default_rng(4)
    logits, shares = rng.normal(0, 2, (60, 5)), rng.uniform(0, 1, (60, 4))
    expected = []
    for row, (x, y, w, h) in zip(logits.tolist(), shares.tolist(), strict=True):
        odds = [math.exp(v) for v in row]
        best = max(range(4), key=lambda k: odds[k])  # the fifth is "no object"
        score = odds[best] / sum(odds)
        if score >= 0.3:
            expected.append(((x - w / 2) * 200, (y - h / 2) * 100, (x + w / 2) * 200,
                             (y + h / 2) * 100, score, best))
    found = decode_detr(object_probabilities(logits.astype(np.float32)),
                        shares.astype(np.float32), (200, 100), 0.3)
    check(found, expected)


def test_sigmoid_is_the_logistic_function_and_does_not_overflow() -> None:
    x = np.array([-1e4, -3.0, 0.0, 0.7, 1e4], np.float32)
    expected = [0.0, 1 / (1 + math.exp(3)), 0.5, 1 / (1 + math.exp(-0.7)), 1.0]
    np.testing.assert_allclose(sigmoid(x), expected, atol=1e-7)


LAYOUT_CASES = {
    "yolox": ("yolox", {}), "yolov5": ("yolov5", {"white": 1.0}),
    "yolov5 with anchors": ("yolov5", {"white": 1.0, "anchors": 3}),
    "yolov8": ("yolov8", {"white": 1.0}), "ssd": ("ssd", {}),
    "detr": ("detr", {"no_object": True}), "detr without no-object": ("detr", {"white": 1.0}),
}
RAW = {"mean": (0.0,), "std": (1.0,), "range": "0-255", "color": "bgr"}  # as the pixels are


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n")
    return path


def options_for(case: str, labels: Path, **more: object) -> DetectorOptions:
    """Those that fit the network's training."""
    chosen = DetectorOptions(labels=labels, letterbox="topleft", **RAW)
    if LAYOUT_CASES[case][1].get("white") == 1.0:
        chosen = replace(chosen, range="0-1")
    return replace(chosen, **more)


def detector_for(case: str, tmp_path: Path, options: DetectorOptions) -> ChosenDetector:
    name, settings = LAYOUT_CASES[case]
    path = write_detector(tmp_path / f"{case}.onnx", name, **settings)
    return choose_detector(str(path), onnx_loader(), options, CONFIG)


def boxes_in(chosen: ChosenDetector, image: np.ndarray) -> dict[str, list[float]]:
    """The box around all that was found of each class."""
    detector = chosen.detector
    prepared = detector.prepare(image)
    found = detector.decode(detector.infer(prepared), prepared.transform)
    around = {}
    for label in np.unique(found.labels):
        boxes = found.boxes[found.labels == label]
        around[detector.labels[label]] = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
    return around


def picture(width: int, height: int, squares: dict[str, tuple[int, int, int, int]]) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for label, (x1, y1, x2, y2) in squares.items():
        image[y1:y2, x1:x2] = COLOURS[label]
    return image


SQUARES = {"first": (16, 24, 40, 56), "second": (64, 8, 96, 40), "third": (112, 48, 152, 88)}


@pytest.mark.parametrize("case", LAYOUT_CASES)
@pytest.mark.parametrize("layout", ["named", "auto"])
def test_colours_are_found_where_they_are(
    case: str, layout: str, tmp_path: Path, labels: Path
) -> None:
    said = LAYOUT_CASES[case][0] if layout == "named" else "auto"
    options = options_for(case, labels, layout=said)
    chosen = detector_for(case, tmp_path, options)
    assert chosen.detector.layout.name == LAYOUT_CASES[case][0]
    assert boxes_in(chosen, picture(WIDTH, HEIGHT, SQUARES)) == {
        label: pytest.approx(box, abs=0.01) for label, box in SQUARES.items()
    }


@pytest.mark.parametrize("case", LAYOUT_CASES)
def test_the_other_colour_order_swaps_the_classes(
    case: str, tmp_path: Path, labels: Path
) -> None:
    chosen = detector_for(case, tmp_path, options_for(case, labels, color="rgb"))
    swapped = {"first": "third", "second": "second", "third": "first"}
    assert boxes_in(chosen, picture(WIDTH, HEIGHT, SQUARES)) == {
        swapped[label]: pytest.approx(box, abs=0.01) for label, box in SQUARES.items()
    }


@pytest.mark.parametrize("placing", ["topleft", "center", "none"])
def test_boxes_move_exactly_as_the_picture_is_moved_padded_and_resized(
    placing: str, tmp_path: Path, labels: Path
) -> None:
    chosen = detector_for("yolox", tmp_path, options_for("yolox", labels, letterbox=placing))
    plain = boxes_in(chosen, picture(WIDTH, HEIGHT, SQUARES))
    moved = {k: (a + 8, b + 8, c + 8, d + 8) for k, (a, b, c, d) in SQUARES.items()}
    for label, box in boxes_in(chosen, picture(WIDTH, HEIGHT, moved)).items():
        assert box == pytest.approx([v + 8 for v in plain[label]], abs=0.01)
    double = cv2.resize(picture(WIDTH, HEIGHT, SQUARES), None, fx=2, fy=2,
                        interpolation=cv2.INTER_NEAREST)
    for label, box in boxes_in(chosen, double).items():
        assert box == pytest.approx([2 * v for v in plain[label]], abs=0.02)
    tall = np.zeros((HEIGHT + 64, WIDTH, 3), np.uint8)  # black below: the scale is 0.6
    tall[:HEIGHT] = picture(WIDTH, HEIGHT, {"second": (0, 0, 160, 96)})
    box = boxes_in(chosen, tall)["second"]
    cell = 32 / 0.6
    assert box[0] <= cell and box[2] >= WIDTH - cell, box
    assert box[1] <= cell and HEIGHT - cell <= box[3] <= HEIGHT + 1, box


@pytest.mark.parametrize(("dtype", "last"), [
    (TensorProto.FLOAT16, False), (TensorProto.UINT8, True), (TensorProto.UINT8, False),
    (TensorProto.FLOAT, True),
])
def test_other_tensor_types_and_orders(
    dtype: int, last: bool, tmp_path: Path, labels: Path
) -> None:
    path = write_detector(tmp_path / "a.onnx", "yolox", dtype=dtype, channels_last=last)
    chosen = choose_detector(str(path), onnx_loader(), options_for("yolox", labels), CONFIG)
    assert boxes_in(chosen, picture(WIDTH, HEIGHT, SQUARES)) == {
        label: pytest.approx(box, abs=0.01) for label, box in SQUARES.items()
    }


def test_mean_and_standard_deviation_are_taken_by_channel(tmp_path: Path, labels: Path) -> None:
    """White minus mean over std is 1 only in the second channel."""
    path = write_detector(tmp_path / "a.onnx", "yolox", white=1.0)
    options = DetectorOptions(labels=labels, color="rgb", range="0-1", letterbox="topleft",
                              mean=(0.5, 0.0, 0.5), std=(1.0, 1.0, 1.0))
    chosen = choose_detector(str(path), onnx_loader(), options, CONFIG)
    assert boxes_in(chosen, np.full((HEIGHT, WIDTH, 3), 255, np.uint8)).keys() == {"second"}


def test_an_open_size_is_asked_for_or_taken_from_the_layout(tmp_path: Path, labels: Path) -> None:
    path = write_detector(tmp_path / "a.onnx", "yolox", open_size=True)
    options = options_for("yolox", labels, input_size=(WIDTH, HEIGHT))
    chosen = choose_detector(str(path), onnx_loader(), options, CONFIG)
    assert boxes_in(chosen, picture(WIDTH, HEIGHT, SQUARES)).keys() == set(LABELS)
    fixed = write_detector(tmp_path / "b.onnx", "yolox")
    with pytest.raises(InferenceError, match="is 160x96, not 320x192"):
        choose_detector(str(fixed), onnx_loader(),
                        options_for("yolox", labels, input_size=(320, 192)))


def test_labels_come_from_the_file_the_model_or_are_numbered(tmp_path: Path) -> None:
    named = write_detector(tmp_path / "a.onnx", "yolov8", 1.0, names="{0: 'a', 1: 'b', 2: 'c'}")
    assert choose_detector(str(named), onnx_loader()).detector.labels == ("a", "b", "c")
    plain = write_detector(tmp_path / "b.onnx", "yolov8", 1.0)
    chosen = choose_detector(str(plain), onnx_loader())
    assert chosen.detector.labels == ("class 0", "class 1", "class 2")
    assert any("numbered" in note for note in chosen.notes)
    assert any("yolov8 layout, rgb 0-1, letterbox center, 160x96" in n for n in chosen.notes)
    hostile = write_detector(tmp_path / "c.onnx", "yolov8", 1.0, names="__import__('os')")
    assert choose_detector(str(hostile), onnx_loader()).detector.labels[0] == "class 0"


def test_a_background_label_is_not_a_class(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "a.onnx", "ssd")
    labels = tmp_path / "l.txt"
    labels.write_text("__background__\n" + "\n".join(LABELS))
    chosen = choose_detector(str(path), onnx_loader(),
                             DetectorOptions(labels=labels, color="bgr", letterbox="topleft"),
                             CONFIG)
    assert boxes_in(chosen, picture(WIDTH, HEIGHT, SQUARES)).keys() == set(LABELS)


MISFITS = {
    "yolov8 as yolox": ("yolov8", "yolox", r"output0 \[1, 7, 315\] at 160x96 does not fit the "
                                           r"yolox layout"),
    "yolox as yolov8": ("yolox", "yolov8", r"does not fit the yolov8 layout"),
    "yolox as detr": ("yolox", "detr", r"output \[1, 315, 8\]"),
    "yolov5 as yolox": ("yolov5", "yolox", "centres relative to their cells"),
    "detr as ssd": ("detr", "ssd", r"pred_logits \[1, 315, 3\], pred_boxes \[1, 315, 4\]"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_layout_that_does_not_fit_is_refused_with_the_shapes(
    name: str, tmp_path: Path, labels: Path
) -> None:
    real, claimed, words = MISFITS[name]
    path = write_detector(tmp_path / "a.onnx", real)
    with pytest.raises(InferenceError, match=words):
        choose_detector(str(path), onnx_loader(), DetectorOptions(layout=claimed, labels=labels))


def test_what_fits_nothing_is_refused() -> None:
    seen = NetworkOutputs(("x",), (np.zeros((1, 1000)),), 160, 96)
    with pytest.raises(InferenceError, match=r"x \[1, 1000\] at 160x96 fits none of the layouts"):
        fit_layout("auto", seen, Known())


@pytest.mark.parametrize("layout", ["yolox", "yolov8", "detr"])
def test_labels_must_be_as_many_as_classes(layout: str, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("one\n")
    path = write_detector(tmp_path / "a.onnx", layout)
    with pytest.raises(InferenceError, match=r"1 labels for a detector of \d classes"):
        choose_detector(str(path), onnx_loader(), DetectorOptions(labels=short))


def test_an_ssd_that_finds_more_classes_than_labels_says_so(tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("one\n")
    options = DetectorOptions(labels=short, color="bgr", letterbox="topleft")
    chosen = choose_detector(str(write_detector(tmp_path / "a.onnx", "ssd")), onnx_loader(),
                             options, CONFIG)
    with pytest.raises(InferenceError, match="found class 2, but there are only 1 labels"):
        boxes_in(chosen, picture(WIDTH, HEIGHT, SQUARES))
    with pytest.raises(InferenceError, match="does not tell how many classes"):
        choose_detector(str(tmp_path / "a.onnx"), onnx_loader())


def _text(path: Path) -> None:
    path.write_text("not a network\n" * 40)


def _cut(path: Path) -> None:
    whole = write_detector(path.with_name("whole.onnx"), "yolox").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def _classifier(path: Path) -> None:
    import onnx
    from onnx import helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, str(path))


BAD_FILES = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: path.touch(), "not a usable ONNX file"),
    "text": (_text, "not a usable ONNX file"),
    "cut": (_cut, "not a usable ONNX file"),
    "no picture": (_classifier, r"input x \[1, 10\]: a picture"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_bad_files_are_named(kind: str, runtime: str, tmp_path: Path) -> None:
    load = onnx_loader()
    if runtime == "openvino":
        pytest.importorskip("openvino")
        from solutions.phase4_production.video_analysis.openvino_model import OpenVinoModel

        load = OpenVinoModel
    make, words = BAD_FILES[kind]
    make(tmp_path / "a.onnx")
    words = words.replace("a usable ONNX file", "(a usable ONNX file|usable in OpenVINO)")
    with pytest.raises(InferenceError, match=words):
        choose_detector(str(tmp_path / "a.onnx"), load)


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b"\xff\xfe\x00\x01"])
def test_bad_label_files_are_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InferenceError, match=r"labels .*labels\.txt"):
        choose_detector("zoo:street-small", onnx_loader(), DetectorOptions(labels=path))


@pytest.mark.parametrize("name", ["zoo:digits", "people-video", "nothing", "zoo:street-smal"])
def test_what_is_no_detector_is_refused(name: str) -> None:
    with pytest.raises(InferenceError, match=r"no detector|no model named"):
        choose_detector(name, onnx_loader())


@pytest.mark.parametrize("case", LAYOUT_CASES)
def test_openvino_finds_the_same(case: str, tmp_path: Path, labels: Path) -> None:
    pytest.importorskip("openvino")
    from solutions.phase4_production.video_analysis.openvino_model import OpenVinoModel

    name, settings = LAYOUT_CASES[case]
    path = write_detector(tmp_path / "a.onnx", name, **settings)
    chosen = choose_detector(str(path), OpenVinoModel, options_for(case, labels), CONFIG)
    assert boxes_in(chosen, picture(WIDTH, HEIGHT, SQUARES)) == {
        label: pytest.approx(box, abs=0.1) for label, box in SQUARES.items()
    }


def test_the_test_networks_have_the_cells_of_their_strides() -> None:
    assert len(cell_boxes()) == sum((WIDTH // s) * (HEIGHT // s) for s in STRIDES)
