"""Streets as files: H.264 video, MOTChallenge and COCO ground truth, kept in a cache directory.

A clip is written into a temporary directory and renamed when complete, so that an interrupted
rendering leaves nothing that looks finished, and two processes at once do not disturb each other.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from zoo.errors import InferenceError
from zoo.street.street import Street, StreetConfig
from zoo.street.truth import FrameTruth, StreetTruth
from zoo.street.truth_files import read_coco, write_coco, write_mot

VERSION = 1  # of the generator; a change of pixels must change it, so that old clips are not used
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StreetClip:
    """A rendered street on disk."""

    video: Path
    truth: StreetTruth
    config: StreetConfig


def materialise(
    config: StreetConfig, directory: Path, progress: Progress | None = None
) -> StreetClip:
    """The clip of this configuration in ``directory``, rendered unless it is there already.

    ``progress(done, total)`` is called after each frame. The clip's folder holds ``video.mp4``,
    ``coco.json`` (everything), ``gt/gt.txt`` and ``seqinfo.ini`` (MOTChallenge).
    """
    folder = directory / f"{config.name}-v{VERSION}"
    if not (folder / "coco.json").is_file():
        _render_into(folder, config, progress)
    return StreetClip(folder / "video.mp4", read_coco(folder / "coco.json"), config)


def _render_into(folder: Path, config: StreetConfig, progress: Progress | None) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InferenceError(f"cannot write the street to {folder.parent}: {error}") from error
    try:
        truth = write_video(Street(config), scratch / "video.mp4", progress)
        write_mot(truth, scratch)
        write_coco(truth, scratch / "coco.json")
        try:
            scratch.rename(folder)
        except OSError:
            if not (folder / "coco.json").is_file():  # another process may have been faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_video(street: Street, path: Path, progress: Progress | None = None) -> StreetTruth:
    """Draw all frames into an H.264 MP4 (x264, constant quality) and return the ground truth."""
    import av

    config = street.config
    frames: list[FrameTruth] = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(config.fps).limit_denominator(1001))
        stream.width, stream.height = config.width, config.height
        stream.pix_fmt = "yuv420p" if config.width % 2 == config.height % 2 == 0 else "yuv444p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        for image, truth in street:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")):
                container.mux(packet)
            frames.append(truth)
            if progress is not None:
                progress(len(frames), len(street))
        for packet in stream.encode():
            container.mux(packet)
    return street.truth_of(tuple(frames))
