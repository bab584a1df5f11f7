"""The video named on the command line, and the truth about it where that is known."""

from dataclasses import dataclass
from pathlib import Path

from zoo import registry
from zoo.errors import InferenceError
from zoo.street import StreetClip, StreetConfig, StreetTruth, materialise
from zoo.street.truth_files import read_coco
from zoo.terminal import progress_bar

STREET = "zoo:street"
DEMO = StreetConfig(seed=10, frames=450)  # 15 seconds of a held-out street


@dataclass(frozen=True)
class Source:
    """The video to analyse and, where it is known, the truth about it."""

    name: str
    video: Path
    truth: StreetTruth | None
    note: str = ""  # what is to be said about it, "" if nothing


def open_source(video: str, truth: Path | None) -> Source:
    """The video of that name: a file, a registry name or ``zoo:street``.

    A street is rendered on first use. A file's truth is the one given, or a street's
    ``coco.json`` beside it; one beside it that is no street's is left aside with a note.
    """
    if video == STREET:
        clip = _render()
        return Source(STREET, clip.video, read_coco(truth) if truth else clip.truth)
    path = _locate(video)
    if truth is not None:
        return Source(video, path, read_coco(truth))
    beside = path.with_name("coco.json")
    if not (path.is_file() and beside.is_file()):
        return Source(video, path, None)
    try:
        return Source(video, path, read_coco(beside))
    except InferenceError as error:
        return Source(video, path, None, f"accuracy is not measured: {error}")


def _locate(video: str) -> Path:
    entry = registry.entries().get(video)
    if entry is None:
        if video.startswith("zoo:"):
            raise InferenceError(f"no video named {video!r}: the zoo has {STREET}")
        return Path(video)
    if entry.kind != "video":
        raise InferenceError(f"{video} is no video but a {entry.kind}: see python -m zoo list")
    return registry.fetch(entry)


def _render() -> StreetClip:
    with progress_bar("frames") as bar:
        task = bar.add_task("rendering the street", total=DEMO.frames)
        return materialise(
            DEMO, registry.cache_folder() / "streets",
            lambda done, total: bar.update(task, completed=done),
        )
