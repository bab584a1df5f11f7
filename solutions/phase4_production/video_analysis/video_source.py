"""The video named on the command line, and the truth about it where that is known."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

from solutions.phase4_production.video_analysis.camera import CameraReader
from solutions.phase4_production.video_analysis.frame_folder import FrameFolder
from solutions.phase4_production.video_analysis.frame_reader import FrameReader
from solutions.phase4_production.video_analysis.image_file import SUFFIXES
from solutions.phase4_production.video_analysis.stream_reader import StreamReader
from solutions.phase4_production.video_analysis.stream_url import StreamUrl, is_url
from solutions.phase4_production.video_analysis.video_reader import VideoReader
from zoo import registry
from zoo.errors import InferenceError
from zoo.street import StreetClip, StreetConfig, StreetTruth, materialise
from zoo.street.truth_files import read_coco
from zoo.terminal import progress_bar

STREET = "zoo:street"
DEMO = StreetConfig(seed=10, frames=450)  # 15 seconds of a held-out street
CHOICES = ("seed", "frames", "difficulty", "width", "height", "fps")  # zoo:street?seed=3&...
MOST_FRAMES = 108_000  # an hour at 30 FPS
_WEBCAM = re.compile(r"(?:/dev/video)?([0-9]{1,3})")


@dataclass(frozen=True)
class Webcam:
    """A camera of this machine, by its number."""

    number: int

    def __str__(self) -> str:
        return f"webcam {self.number}"


@dataclass(frozen=True)
class Source:
    """The video to analyse and, where it is known, the truth about it."""

    name: str  # to be shown: holds no password
    video: Path | StreamUrl | Webcam  # a file, a folder of images, an address, a camera
    truth: StreetTruth | None
    note: str = ""  # what is to be said about it, "" if nothing


def open_source(video: str, truth: Path | None) -> Source:
    """The video of that name.

    A name is a file, a folder of images, the number of a webcam, an RTSP or HTTP address, a
    registry name, or ``zoo:street`` (``zoo:street?seed=3&frames=300&difficulty=0.5``), which is
    rendered on first use. A file's truth is the one given, or a street's ``coco.json`` beside it;
    one beside it that is no street's is left aside with a note.
    """
    if video.partition("?")[0] == STREET:
        clip = _render(street_config(video))
        return Source(video, clip.video, read_coco(truth) if truth else clip.truth)
    place = _locate(video)
    name = str(place) if isinstance(place, StreamUrl) else video
    if truth is not None:
        return Source(name, place, read_coco(truth))
    if not isinstance(place, Path):
        return Source(name, place, None)
    beside = place.with_name("coco.json")
    if not (place.is_file() and beside.is_file()):
        return Source(name, place, None)
    try:
        return Source(name, place, read_coco(beside))
    except InferenceError as error:
        return Source(name, place, None, f"accuracy is not measured: {error}")


def open_reader(source: Source, stream: int | None = None) -> FrameReader:
    """A reader of the source's frames; ``stream`` chooses among several picture streams.

    Raises InferenceError where it cannot be opened or holds no frame.
    """
    video = source.video
    if isinstance(video, StreamUrl):
        return StreamReader(lambda: VideoReader(video, stream))
    if isinstance(video, Path) and not video.is_dir() and not _is_image(video):
        return VideoReader(video, stream)
    if stream is not None:
        raise InferenceError(f"video {source.name}: has one picture stream: leave --stream out")
    if isinstance(video, Webcam):
        return StreamReader(lambda: CameraReader(video.number))
    return FrameFolder(video)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def street_config(name: str) -> StreetConfig:
    """The street that ``zoo:street?seed=3&frames=300`` names; what it leaves out is DEMO's.

    Streets are always held-out ones: nothing was trained on them. Raises InferenceError where a
    parameter is unknown, given twice, or does not make sense.
    """
    kinds = {key: type(getattr(DEMO, key)) for key in CHOICES}
    chosen: dict[str, float] = {}
    query = name.partition("?")[2]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InferenceError(f"{name}: write {STREET}?seed=3&frames=300") from error
    for key, value in pairs:
        if key not in CHOICES or key in chosen:
            wrong = "given twice" if key in chosen else f"unknown, choose of {', '.join(CHOICES)}"
            raise InferenceError(f"{name}: {key} is {wrong}")
        try:
            chosen[key] = kinds[key](value)
        except ValueError as error:
            raise InferenceError(f"{name}: {key} is no number: {value!r}") from error
    if chosen.get("frames", 0) > MOST_FRAMES:
        raise InferenceError(f"{name}: at most {MOST_FRAMES} frames")
    return replace(DEMO, **chosen)  # type: ignore[arg-type]


def _locate(video: str) -> Path | StreamUrl | Webcam:
    entry = registry.entries().get(video)
    if entry is not None:
        if entry.kind != "video":
            raise InferenceError(f"{video} is no video but a {entry.kind}: see python -m zoo list")
        return registry.fetch(entry)
    if video.startswith("zoo:"):
        raise InferenceError(f"no video named {video!r}: the zoo has {STREET}")
    if is_url(video):
        return StreamUrl(video)
    if webcam := _WEBCAM.fullmatch(video):
        return Webcam(int(webcam[1]))
    path = Path(video)
    try:
        path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InferenceError(f"video {video[:80]!r}: no such file ({error})") from error
    return path


def _render(config: StreetConfig) -> StreetClip:
    with progress_bar("frames") as bar:
        task = bar.add_task("rendering the street", total=config.frames)
        return materialise(
            config, registry.cache_folder() / "streets",
            lambda done, total: bar.update(task, completed=done),
        )
