"""The options of the edge program."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from solutions.phase4_production.video_analysis.detector_choice import DetectorOptions
from solutions.phase4_production.video_analysis.detector_layout import LAYOUTS
from solutions.phase4_production.video_analysis.device_profile import AUTO, PROFILES
from solutions.phase4_production.video_analysis.precision_choice import AUTO as AUTO_PRECISION
from solutions.phase4_production.video_analysis.precision_choice import PRECISIONS
from solutions.phase4_production.video_analysis.video_source import STREET

RUNTIMES = ("onnxruntime", "openvino")
Command = TypeVar("Command", bound=Callable[..., Any])


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers with a separator between them: 0.5,0.5,0.5 or 640x384."""

    def __init__(self, name: str, separator: str, kind: type[int] | type[float],
                 counts: tuple[int, ...]) -> None:
        self.name, self.separator, self.kind, self.counts = name, separator, kind, counts

    def convert(self, value: Any, param: click.Parameter | None,
                ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers; fails where there are too many or too few."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(word) for word in str(value).split(self.separator))
        except ValueError:
            numbers = ()
        if len(numbers) not in self.counts or not all(abs(n) < 1e6 for n in numbers):
            self.fail(f"{value!r}: {self.name} is needed", param, ctx)
        return numbers


COLOURS = Numbers("one number or three with commas", ",", float, (1, 3))
SIZE = Numbers("WIDTHxHEIGHT in pixels", "x", int, (2,))


@dataclass(frozen=True)
class EdgeOptions:
    """What was asked for."""

    video: str
    stream: int | None
    detector: str | None
    layout: str
    labels: Path | None
    color: Literal["bgr", "rgb"] | None
    range: Literal["0-255", "0-1"] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    letterbox: Literal["topleft", "center", "none"] | None
    input_size: tuple[int, int] | None
    device: str
    runtime: str
    precision: str
    threads: int | None
    realtime: bool
    line: tuple[str, ...]
    zone: tuple[str, ...]
    output: Path
    truth: Path | None
    frames: int | None
    annotate: bool

    def detector_options(self) -> DetectorOptions:
        """Those that concern the detector."""
        return DetectorOptions(self.layout, self.labels, self.color, self.range, self.mean,
                               self.std, self.letterbox, self.input_size)


PATH = click.Path(path_type=Path)
OPTIONS = (
    click.option("--video", default=STREET, show_default=True,
                 help="a file, a folder of pictures, a camera's number, an rtsp:// or http:// "
                      "address, zoo:street[?seed=…&frames=…&difficulty=…], or a name from "
                      "python -m zoo list"),
    click.option("--stream", type=click.IntRange(min=0),
                 help="which of a file's video streams; default: the largest"),
    click.option("--detector", help="a zoo or registry name, or an ONNX file; default: the "
                                    "device's"),
    click.option("--layout", type=click.Choice([*LAYOUTS, "auto"]), default="auto",
                 show_default=True, help="of the detector's output"),
    click.option("--labels", type=PATH, help="text file with the detector's classes, one a line"),
    click.option("--color", type=click.Choice(["bgr", "rgb"]),
                 help="the detector's colour order"),
    click.option("--range", type=click.Choice(["0-255", "0-1"]),
                 help="what black and white are to the detector"),
    click.option("--mean", type=COLOURS, help="taken off the colours, in that range"),
    click.option("--std", type=COLOURS, help="the colours are divided by"),
    click.option("--letterbox", type=click.Choice(["topleft", "center", "none"]),
                 help="where the picture lies in the detector's input; none: stretched"),
    click.option("--input-size", type=SIZE, metavar="WxH",
                 help="of a detector that leaves it open"),
    click.option("--device", type=click.Choice([*PROFILES, AUTO]), default="cpu",
                 show_default=True, help="profile of threads, precision and detector"),
    click.option("--runtime", type=click.Choice(RUNTIMES), default=RUNTIMES[0],
                 show_default=True),
    click.option("--precision", type=click.Choice(PRECISIONS), default=AUTO_PRECISION,
                 show_default=True,
                 help="of the detector; auto: the fastest that is accurate enough, measured once "
                      "on this machine"),
    click.option("--threads", type=click.IntRange(1, 256),
                 help="of the network; default: the device's"),
    click.option("--realtime", is_flag=True,
                 help="pace the frames by their times; the latest wins, drops are counted"),
    click.option("--line", multiple=True, metavar="[NAME=]X1,Y1,X2,Y2",
                 help="count what crosses it, in pixels or shares of the picture; repeatable"),
    click.option("--zone", multiple=True, metavar="[NAME=]X1,Y1,X2,Y2[,…]",
                 help="measure how long objects stay in a rectangle or polygon; repeatable"),
    click.option("--output", type=PATH, default=Path("out/edge"), show_default=True,
                 help="folder of the results"),
    click.option("--truth", type=PATH,
                 help="ground truth: a street's coco.json; found by itself beside the video"),
    click.option("--frames", type=click.IntRange(min=1), help="stop after so many frames"),
    click.option("--annotate/--no-annotate", default=True, show_default=True,
                 help="write annotated.mp4"),
)


def edge_options(command: Command) -> Command:
    """Give a command all of them."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
