"""The models that quantization is measured on, each with three disjoint sets of data.

One set calibrates, one (``control``) tells accuracy control what is accurate enough, and one
(``judge``), which no quantizer sees, gives the accuracy in the table.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.classifier_tasks import (
    CALIBRATED_ON,
    digit_images,
    digits_task,
    mnist_task,
    mnist_test_set,
    resnet20_task,
    street_crops,
    torchvision_task,
)
from solutions.phase2_optimization.detector_tasks import (
    as_network,
    known_videos,
    sampled,
    street_frames,
    street_task,
    validation_frames,
    video_task,
    without_classes,
)
from solutions.phase2_optimization.evaluation_task import Run, Task, input_of, onnx_run
from solutions.phase2_optimization.onnx_rewrite import Model
from zoo.evaluate import FrameBoxes, agreement_scores, detection_scores
from zoo.registry import ModelEntry, find
from zoo.score_detector import LibraryDetector
from zoo.street import FrameTruth

GROUPS = 8  # of the judged inputs, left out in turn to see how far chance moves a metric
STREETS, QUICK_STREETS = 10, 5  # ten frames of each
Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Judge:
    """A metric over some inputs, which can leave some of them out."""

    count: int  # inputs
    find: Callable[[Run, int], Any]  # what a model says about an input, by its number
    score: Callable[[Sequence[Any], Sequence[int]], float]  # of findings, over these inputs

    def found(self, run: Run) -> list[Any]:
        """What a model says about every input."""
        return [self.find(run, number) for number in range(self.count)]

    def __call__(self, run: Run) -> float:
        """The metric over all inputs."""
        return self.score(self.found(run), range(self.count))

    def chance(self, ours: Sequence[Any], theirs: Sequence[Any]) -> float:
        """The standard error of the difference of two models' scores on the same inputs.

        By the jackknife over groups of neighbouring inputs (Efron and Stein, 1981).
        """
        places = np.arange(self.count)
        differences = []
        for group in np.array_split(places, min(GROUPS, self.count)):
            rest = np.setdiff1d(places, group).tolist()
            differences.append(self.score(ours, rest) - self.score(theirs, rest))
        spread = np.var(differences) * (len(differences) - 1)
        return math.sqrt(float(spread))


@dataclass(frozen=True)
class Case:
    """A model, what calibrates it, and who judges it."""

    task: Task  # its metric is the control's
    control: Judge
    judge: Judge
    metric_name: str

    @property
    def name(self) -> str:
        """The model's name."""
        return self.task.name


def build_case(name: str, quick: bool) -> Case:
    """The case of a model's name; fewer inputs judge in a quick run.

    Raises InferenceError where the model or its data are not to be had, MissingExtraError where a
    package is missing.
    """
    if name.startswith("zoo:street"):
        return _street(find(name), quick)
    if name == "zoo:digits":
        return _digits()
    if name == "mnist-cnn":
        return _mnist()
    if name == "yolox-nano":
        return _videos(find(name))
    if name == "resnet20-cifar10":
        return _crops(resnet20_task(), 160 if quick else 640)
    task = torchvision_task(name)
    return _crops(replace(task, batches=task.batches[:64]), 80 if quick else 160)


def _case(task: Task, control: Judge, judge: Judge, metric_name: str) -> Case:
    return Case(replace(task, metric=control, control=control), control, judge, metric_name)


def _street(entry: ModelEntry, quick: bool) -> Case:
    streets = QUICK_STREETS if quick else STREETS
    judge = _on_streets(entry, street_frames(streets))
    # a quick run controls nothing, and drawing these frames takes longer than all the rest
    control = judge if quick else _on_streets(entry, validation_frames()[::3])
    return _case(street_task(entry, streets), control, judge,
                 f"mAP@0.5:0.95, {judge.count} frames of {streets} held-out streets")


def _on_streets(entry: ModelEntry, frames: Sequence[tuple[Frame, FrameTruth]]) -> Judge:
    def score(found: Sequence[Any], numbers: Sequence[int]) -> float:
        return detection_scores([frames[i][1] for i in numbers], [found[i] for i in numbers]).map

    def look(run: Run, number: int) -> Any:
        return LibraryDetector(entry, as_network(run, "images"))(frames[number][0])

    return Judge(len(frames), look, score)


def _videos(entry: ModelEntry) -> Case:
    """Calibrated on every 80th frame, controlled and judged on others.

    Control counts every box once: the mean over classes hangs on a few objects of rare ones.
    """
    videos = known_videos()
    task = video_task(entry, videos)
    control = [frame for video in videos for frame in sampled(video, 10, 5)]
    judged = [frame for video in videos for frame in sampled(video, 20, 10)]
    return _case(task, _on_frames(entry, task.model, control, without_classes),
                 _on_frames(entry, task.model, judged, lambda found: found),
                 f"AP50 against FP32's boxes, {len(judged)} frames of {len(videos)} videos")


def _on_frames(
    entry: ModelEntry, model: Model, frames: Sequence[Frame],
    seen_as: Callable[[FrameBoxes], FrameBoxes],
) -> Judge:
    name = input_of(model).name

    def look(run: Run, number: int) -> Any:
        return seen_as(LibraryDetector(entry, as_network(run, name)).detect(frames[number]))

    float_run = onnx_run(model)
    reference = [look(float_run, number) for number in range(len(frames))]

    def score(found: Sequence[Any], numbers: Sequence[int]) -> float:
        return agreement_scores([reference[i] for i in numbers], [found[i] for i in numbers])

    return Judge(len(frames), look, score)


def _digits() -> Case:
    task = digits_task()
    images, labels = digit_images("train")
    chosen = np.random.default_rng(0).choice(len(images), CALIBRATED_ON, replace=False)
    rest = np.setdiff1d(np.arange(len(images)), chosen)
    judged, answers = digit_images("test")
    return _case(task, _by_label(task.model, images[rest], labels[rest]),
                 _by_label(task.model, judged, answers),
                 f"accuracy, {len(answers)} held-out digits")


def _mnist() -> Case:
    """The test set: its first images calibrate, the next control, the rest judge."""
    task = mnist_task()
    images, labels = mnist_test_set()
    last = CALIBRATED_ON + 1000
    judged = labels[last:]
    control = _by_label(task.model, images[CALIBRATED_ON:last], labels[CALIBRATED_ON:last])
    return _case(task, control, _by_label(task.model, images[last:], judged),
                 f"accuracy, {len(judged)} test images")


def _crops(task: Task, count: int) -> Case:
    """Agreement with FP32 on crops of streets."""
    side = int(task.example[input_of(task.model).name].shape[-1])
    held_out = [image for image, _ in street_frames(math.ceil(count / 40))]
    judged = street_crops(held_out, side, count)
    control = street_crops([image for image, _ in validation_frames()], side, 160)
    return _case(task, _by_agreement(task.model, control), _by_agreement(task.model, judged),
                 f"same first choice as FP32, {count} crops")


def _by_agreement(model: Model, images: NDArray[np.float32]) -> Judge:
    plain = _by_label(model, images, np.zeros(len(images), np.int64))
    return _by_label(model, images, np.array(plain.found(onnx_run(model))))


def _by_label(
    model: Model, images: NDArray[np.float32], labels: NDArray[np.int64]
) -> Judge:
    name = input_of(model).name

    def look(run: Run, number: int) -> int:
        return int(run({name: images[number : number + 1]})[0].argmax())

    def score(found: Sequence[Any], numbers: Sequence[int]) -> float:
        return float(np.mean(np.asarray(found)[numbers] == labels[numbers]))

    return Judge(len(images), look, score)
