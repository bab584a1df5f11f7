"""Classifiers as tasks: labelled digits where there are some, agreement with FP32 elsewhere."""

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.detector_tasks import calibration_frames, street_frames
from solutions.phase2_optimization.evaluation_task import (
    Task,
    accuracy,
    agreement,
    input_of,
    split_batches,
)
from solutions.phase2_optimization.onnx_rewrite import Model, load_onnx
from zoo import digits
from zoo.errors import MissingExtraError
from zoo.registry import fetch, find

Images = NDArray[np.float32]
CALIBRATED_ON = 256  # images
JUDGED_FROM = 2256  # of MNIST's test images; those between steer accuracy control
CONTROLLED_ON = 96  # of the calibration images, where there are no labels
CROPS = 4  # of each street frame
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TEST_STREETS = 4
OPSET = 18


def digits_task() -> Task:
    """The street's digit classifier, judged on digits of writers that it has not seen."""
    model = load_onnx(fetch(find("zoo:digits")))
    name = input_of(model).name
    images, known = digit_images("train")
    judged, labels = digit_images("test")
    chosen = np.random.default_rng(0).choice(len(images), CALIBRATED_ON, replace=False)
    rest = np.setdiff1d(np.arange(len(images)), chosen)
    return Task(
        "zoo:digits", model, split_batches(name, images[chosen]),
        accuracy(split_batches(name, judged, 100), labels),
        f"accuracy on {len(labels)} held-out digits",
        control=accuracy(split_batches(name, images[rest], 100), known[rest]),
    )


def digit_images(split: Literal["train", "test"]) -> tuple[Images, NDArray[np.int64]]:
    """Digits as a bus's panel shows them: float32 [n, 1, 20, 20], 0..255, and labels [n]."""
    glyphs, labels = digits.glyphs(split)
    drawn = [cv2.resize(glyph.astype(np.float32), (16, 16), interpolation=cv2.INTER_CUBIC)
             for glyph in glyphs]
    cover = np.clip(np.pad(np.stack(drawn), [(0, 0), (2, 2), (2, 2)]) / 16.0, 0, 1)
    lit = np.arange(len(cover)) % 2 == 0  # bright on dark, and dark on bright
    ink, ground = np.where(lit, 220.0, 40.0), np.where(lit, 40.0, 200.0)
    pixels = ground[:, None, None] + (ink - ground)[:, None, None] * cover
    return pixels[:, None].astype(np.float32), labels


def mnist_task() -> Task:
    """The registry's MNIST network, on the test set: the first images calibrate, the last judge."""
    model = load_onnx(fetch(find("mnist-cnn")))
    name = input_of(model).name
    pixels, labels = mnist_test_set()
    between, last = slice(CALIBRATED_ON, JUDGED_FROM), slice(JUDGED_FROM, None)
    return Task(
        "mnist-cnn", model, split_batches(name, pixels[:CALIBRATED_ON]),
        accuracy(split_batches(name, pixels[last]), labels[last]),
        f"accuracy on {len(labels[last]):,} test images", loss=0.005,
        control=accuracy(split_batches(name, pixels[between]), labels[between]),
    )


def mnist_test_set() -> tuple[Images, NDArray[np.int64]]:
    """MNIST's test set: float32 [10000, 1, 28, 28], 0..1, and labels [10000]."""
    images = _idx(fetch(find("mnist-test-images")), 16).reshape(-1, 1, 28, 28)
    labels = _idx(fetch(find("mnist-test-labels")), 8).astype(np.int64)
    return (images / 255).astype(np.float32), labels


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    """The bytes of an IDX file behind its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[header:]


def resnet20_task() -> Task:
    """CIFAR-10's ResNet-20 with its trained weights, on crops of streets."""
    from solutions.phase1_basics.model_loader import load_model

    network: Any = load_model(fetch(find("resnet20-cifar10")), arch="cifar_resnet20")
    return _agreement_task("resnet20-cifar10", network.module, 32)


def torchvision_task(arch: str) -> Task:
    """A torchvision network with random weights, on crops of streets.

    Raises InferenceError for unknown names, MissingExtraError without torch.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "learn") from error
    from solutions.phase1_basics.architectures import build_architecture, input_pixels

    torch.manual_seed(0)
    network = build_architecture(arch)
    note = "random weights: accuracy means agreement, and close calls are many"
    return _agreement_task(arch, network, input_pixels(arch)[1], note)


def _agreement_task(name: str, network: Any, side: int, note: str = "") -> Task:
    model = exported(network, (1, 3, side, side))
    calibration = street_crops(calibration_frames(), side, CALIBRATED_ON)
    judged = street_crops([image for image, _ in street_frames(TEST_STREETS)], side, 160)
    entry = input_of(model).name
    metric, metric_name = agreement(model, split_batches(entry, judged))
    batches = split_batches(entry, calibration)
    control, _ = agreement(model, batches[:: max(1, len(batches) // CONTROLLED_ON)])
    return Task(name, model, batches, metric, f"{metric_name}, {len(judged)} crops", loss=0.02,
                note=note, control=control)


def street_crops(frames: list[NDArray[np.uint8]], side: int, most: int) -> Images:
    """Square parts of street frames as ImageNet networks want them: float32 [n, 3, side, side]."""
    rng = np.random.default_rng(1)
    crops = []
    for frame in frames[:: max(1, CROPS * len(frames) // most)]:  # from all of them
        rows, columns = frame.shape[:2]
        for _ in range(CROPS):
            size = int(rng.integers(64, min(rows, columns)))
            top, left = int(rng.integers(rows - size)), int(rng.integers(columns - size))
            crop = frame[top : top + size, left : left + size, ::-1]
            crops.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
    pixels = (np.stack(crops[:most]).astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)


def exported(network: Any, shape: tuple[int, ...]) -> Model:
    """A PyTorch network as ONNX with a free batch axis."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            network.eval(), (torch.zeros(shape),), str(path), opset_version=OPSET,
            input_names=["images"], output_names=["output"],
            dynamic_axes={"images": {0: "batch"}, "output": {0: "batch"}}, dynamo=False,
        )
        return load_onnx(path)


TASKS: dict[str, Callable[[], Task]] = {
    "zoo:digits": digits_task,
    "mnist-cnn": mnist_task,
    "resnet20-cifar10": resnet20_task,
}
