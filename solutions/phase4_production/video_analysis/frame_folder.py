"""Frames from a folder of images, in the order that a person would put them."""

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

from solutions.phase4_production.video_analysis.frame_pixels import PixelConverter
from solutions.phase4_production.video_analysis.frame_reader import DecodedFrame
from solutions.phase4_production.video_analysis.image_file import SUFFIXES, decode_image
from zoo.errors import InferenceError

USUAL_FPS = 30.0
NAMED = 3  # unreadable images that are listed by name


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names so that numbers count as numbers: frame2 before frame10.

    >>> sorted(["f10.png", "f2.png", "f1.png"], key=natural_key)
    ['f1.png', 'f2.png', 'f10.png']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts]
    return key, name  # the name for those that differ in leading zeros or case only


class FrameFolder:
    """Reads the images of a folder, or a single one; all are brought to the size of the first.

    An image that cannot be read is skipped and named in ``broken``; its number and time are left
    out, so that the frames after it keep theirs. The rate is that of a ``seqinfo.ini``
    (MOTChallenge) in or above the folder, else 30 a second.
    Raises InferenceError where the folder holds no image that can be read.
    """

    live = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = _images(folder)
        if not self.paths:
            raise InferenceError(f"video {folder}: no images in this folder (.jpg, .png, ...)")
        self.fps = _rate(folder)
        self.expected_frames: int | None = len(self.paths)
        self.broken: str | None = None
        self._unreadable: list[str] = []
        self._pixels, self._closed = PixelConverter(), False
        self._read = self._decode()
        first = next(self._read, None)
        if first is None:
            raise InferenceError(
                f"video {folder}: none of its {len(self.paths)} images can be read"
            )
        self._first = first
        self.height, self.width = first.image.shape[:2]

    def _decode(self) -> Iterator[DecodedFrame]:
        for index, path in enumerate(self.paths):
            try:
                image = self._pixels.convert(decode_image(path.read_bytes()))
            except (InferenceError, OSError):
                self._unreadable.append(path.name)
                continue
            yield DecodedFrame(index, index / self.fps, image)

    def frames(self, limit: int | None = None) -> Iterator[DecodedFrame]:
        """The images in order; at most ``limit``."""
        yield self._first
        count = 1
        while count != limit and not self._closed:
            frame = next(self._read, None)
            if self._unreadable:
                self.broken = self._complaint()
            if frame is None:
                return
            yield frame
            count += 1

    def _complaint(self) -> str:
        names = ", ".join(self._unreadable[:NAMED])
        more = ", ..." if len(self._unreadable) > NAMED else ""
        return (f"{len(self._unreadable)} of {len(self.paths)} images could not be read: "
                f"{names}{more}")

    def close(self) -> None:
        """No further image is read."""
        self._closed = True


def _images(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    try:
        files = [
            path for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
    except OSError as error:
        raise InferenceError(f"video {folder}: cannot be listed ({error.strerror})") from error
    return sorted(files, key=lambda path: natural_key(path.name))


def _rate(folder: Path) -> float:
    """The rate in the sequence's description, where there is one that makes sense."""
    for place in (folder, folder.resolve().parent):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(place / "seqinfo.ini", encoding="utf-8")
            fps = parser.getfloat("Sequence", "frameRate", fallback=0.0)
        except (configparser.Error, ValueError, OSError):
            continue
        if 0 < fps <= 1000:
            return fps
    return USUAL_FPS
