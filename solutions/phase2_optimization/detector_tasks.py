"""Detectors as tasks: calibrated on frames of training streets or of the first part of videos.

Street detectors are judged by their average precision on held-out streets; public ones, which know
other things than streets, by how well their boxes agree with those of the float model.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.image_input import ImageInput, prepare_image
from solutions.phase2_optimization.detections_distance import detections_distance
from solutions.phase2_optimization.evaluation_task import Feeds, Metric, Run, Task, input_of
from solutions.phase2_optimization.onnx_rewrite import Model, load_onnx
from zoo.errors import InferenceError
from zoo.evaluate import DetectionScores, FrameBoxes, agreement_scores, detection_scores
from zoo.registry import ModelEntry, available, fetch, find
from zoo.score_detector import LibraryDetector, Network, held_out_frames
from zoo.street import FrameTruth, Street, StreetConfig

Image = NDArray[np.uint8]
CALIBRATION_SEED = 5000  # training streets of their own
CALIBRATION_STREETS, FRAMES_OF_STREET = 16, 4
STREETS, STREET_FRAMES = 8, 150  # held out, to judge by
VALIDATION_SEED, VALIDATION_STREETS, VALIDATION_FRAMES = 6000, 12, 12  # to choose by
CONTROLLED_ON = 2  # every second of those frames
VIDEOS = ("people-video", "cars-video", "highway-video")


def detector_task(
    name: str, streets: int = STREETS, videos: Sequence[Path] | None = None
) -> Task:
    """A zoo or registry detector as a task.

    Raises InferenceError for unknown names, models that are no detectors, and where a public
    detector's videos are not to be had.
    """
    entry = find(name)
    if entry.kind != "detector" or entry.layout != "yolox":
        raise InferenceError(f"{name} is no detector of the yolox layout ({entry.about})")
    if name.startswith("zoo:"):
        return street_task(entry, streets)
    return video_task(entry, known_videos() if videos is None else videos)


def street_task(entry: ModelEntry, streets: int = STREETS) -> Task:
    """A street detector, judged on held-out streets."""
    model = load_onnx(fetch(entry))

    def score(variant: Run) -> float:
        return score_on_streets(entry, variant, streets).map

    return Task(
        entry.name, model, feeds(entry, model, calibration_frames()), score,
        f"mAP@0.5:0.95 on {streets} held-out streets", detections_distance,
        control=on_validation(entry, CONTROLLED_ON),
    )


def as_network(run: Run, name: str) -> Network:
    """A detector as the zoo's scoring wants it: one array in, one array out."""
    return lambda blob: run({name: blob})[0]


def score_on_streets(entry: ModelEntry, variant: Run, streets: int) -> DetectionScores:
    """COCO's scores of a variant of a street detector."""
    frames = street_frames(streets)
    detector = LibraryDetector(entry, as_network(variant, "images"))
    return detection_scores([truth for _, truth in frames], [detector(i) for i, _ in frames])


def on_validation(entry: ModelEntry, step: int = 1) -> Metric:
    """The average precision on every ``step``-th frame of validation streets."""
    def score(run: Run) -> float:
        detector, frames = LibraryDetector(entry, as_network(run, "images")), validation_frames()
        seen = frames[::step]
        return detection_scores([truth for _, truth in seen], [detector(i) for i, _ in seen]).map

    return score


@cache
def validation_frames() -> list[tuple[Image, FrameTruth]]:
    """Frames of training streets that no detector was trained on or calibrated with."""
    frames = []
    for number in range(VALIDATION_STREETS):
        street = Street(StreetConfig(seed=VALIDATION_SEED + number, frames=150, split="train"))
        frames += [street.frame(int(i)) for i in np.linspace(8, 148, VALIDATION_FRAMES)]
    return frames


@cache
def street_frames(streets: int) -> list[tuple[Image, FrameTruth]]:
    """Frames of held-out streets with their truth."""
    return list(held_out_frames(streets, STREET_FRAMES))


@cache
def calibration_frames() -> list[Image]:
    """Frames of training streets that no detector was trained on."""
    frames = []
    for number in range(CALIBRATION_STREETS):
        street = Street(StreetConfig(seed=CALIBRATION_SEED + number, frames=120, split="train"))
        places = np.linspace(10, 110, FRAMES_OF_STREET).astype(int)
        frames += [street.frame(int(place))[0] for place in places]
    return frames


def video_task(entry: ModelEntry, videos: Sequence[Path]) -> Task:
    """A public detector, judged by its agreement with the float model on real videos.

    Calibration and accuracy control take frames of their own: those between the judged ones.
    Control counts every box once, whatever its class: of a class with two objects in a video, one
    box more or less would move the mean over classes more than all that control is looking for.
    """
    if not videos:
        raise InferenceError(
            f"{entry.name} is judged on real videos, and none is here: python -m zoo get "
            f"{VIDEOS[0]} (or name a folder in ZOO_MIRROR)"
        )
    model = load_onnx(fetch(entry))
    name = input_of(model).name
    calibration = [frame for video in videos for frame in sampled(video, 80, 0)]
    control = [frame for video in videos for frame in sampled(video, 10, 5)]
    judged = [frame for video in videos for frame in sampled(video, 20, 10)]
    return Task(
        entry.name, model, feeds(entry, model, calibration), on_frames(entry, name, judged),
        f"AP50 against FP32's boxes on {len(judged)} frames", detections_distance, loss=0.03,
        control=on_frames(entry, name, control, without_classes),
    )


def on_frames(
    entry: ModelEntry, name: str, frames: Sequence[Image],
    seen_as: Callable[[FrameBoxes], FrameBoxes] = lambda found: found,
) -> Metric:
    """How well a variant's boxes agree with those of the entry's float model on frames.

    ``seen_as`` looks at the boxes of either before they are compared.
    """
    reference: list[FrameBoxes] = []

    def score(variant: Run) -> float:
        if not reference:
            real = LibraryDetector(entry)
            reference.extend(seen_as(real.detect(frame)) for frame in frames)
        detector = LibraryDetector(entry, as_network(variant, name))
        return agreement_scores(reference, [seen_as(detector.detect(frame)) for frame in frames])

    return score


def without_classes(found: FrameBoxes) -> FrameBoxes:
    """The same boxes, all of one class."""
    return FrameBoxes(found.boxes, found.scores, np.zeros_like(found.labels))


def known_videos() -> list[Path]:
    """The registry's videos that are here."""
    found = [available(find(name)) for name in VIDEOS]
    return [path for path in found if path is not None]


def sampled(video: Path, step: int, first: int) -> Iterator[Image]:
    """Every ``step``-th frame of a video from ``first`` on, uint8 [H, W, 3] BGR."""
    import av

    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % step == first:
                yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def feeds(entry: ModelEntry, model: Model, frames: Sequence[Image]) -> list[Feeds]:
    """Frames as batches of one, prepared as the registry says."""
    assert entry.input is not None, entry
    want = ImageInput.of_convention(entry.input, "nchw")
    name = input_of(model).name
    return [{name: prepare_image(frame, want)} for frame in frames]
