"""Models, data and videos by name: what they are, where they come from, how to feed them.

``find`` looks a name up in ``registry.toml``; ``fetch`` gives the file: from the package, from
the folder in ``ZOO_MIRROR``, from the cache (``ZOO_CACHE``, default ``~/.cache/ml-inference``) or
by download. A file counts only when its sha256 is right, and appears under its name only when
whole.
"""

import difflib
import hashlib
import os
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from zoo.errors import InferenceError

ROOM = Path(__file__).parent
MODELS = ROOM / "models"
TIMEOUT = 20.0  # seconds without a byte
CHUNK = 1 << 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class InputConvention:
    """What a network wants its images to look like."""

    width: int
    height: int
    color: Literal["bgr", "rgb", "grey"] = "bgr"
    range: Literal["0-255", "0-1"] = "0-255"
    mean: tuple[float, ...] = (0.0,)  # taken off after scaling to the range
    std: tuple[float, ...] = (1.0,)
    letterbox: Literal["topleft", "center", "none"] = "topleft"
    pad: int = 114


@dataclass(frozen=True)
class FolderPart:
    """A file of an entry that is a folder."""

    path: str  # inside the folder, and after the entry's url
    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class ModelEntry:
    """One line of the registry."""

    name: str
    kind: Literal["detector", "model", "data", "video"]
    file: str  # in zoo/models where shipped, else the name in the mirror and the cache
    licence: str
    about: str
    url: str | None = None  # None: shipped
    sha256: str | None = None
    size: int | None = None  # bytes
    layout: str | None = None  # of a detector's output
    strides: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    input: InputConvention | None = None
    arch: str | None = None  # the network that a file of bare weights belongs to
    quantized_from: str | None = None  # the float entry that it is the INT8 form of
    parts: tuple[FolderPart, ...] = ()  # of a folder; then sha256 and size stand there


@cache
def entries() -> dict[str, ModelEntry]:
    """All entries by name."""
    document = tomllib.loads((ROOM / "registry.toml").read_text())
    return {raw["name"]: _entry(raw) for raw in document["entry"]}


def _entry(raw: dict[str, Any]) -> ModelEntry:
    labels = raw.get("labels", ())
    if isinstance(labels, str):
        labels = (ROOM / labels).read_text().split("\n")[:-1]
    convention = raw.get("input")
    parts = tuple(FolderPart(**part) for part in raw.get("parts", ()))
    fields = raw | {"labels": tuple(labels), "strides": tuple(raw.get("strides", ())),
                    "parts": parts}
    if convention is not None:
        lists = {key: tuple(convention[key]) for key in ("mean", "std") if key in convention}
        fields["input"] = InputConvention(**(convention | lists))
    return ModelEntry(**fields)


def find(name: str) -> ModelEntry:
    """The entry of that name. Raises InferenceError for any other name."""
    known = entries()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "`python -m zoo list` prints the names"
    raise InferenceError(f"no model named {name!r}: {hint}")


def int8_form(name: str) -> ModelEntry | None:
    """The entry that holds that model in 8-bit integers, where there is one."""
    return next((entry for entry in entries().values() if entry.quantized_from == name), None)


def cache_folder() -> Path:
    """Where downloads and rendered streets are kept."""
    chosen = os.environ.get("ZOO_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "ml-inference"


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def available(entry: ModelEntry) -> Path | None:
    """The verified file or folder where it can be had without a network, else None."""
    if entry.url is None:
        path = MODELS / entry.file
        return path if path.is_file() else None
    mirror = os.environ.get("ZOO_MIRROR")
    folders = ([Path(mirror)] if mirror else []) + [cache_folder()]
    for folder in folders:
        path = folder / entry.file
        if entry.parts:
            if all(_is_verified(path / part.path, part.sha256) for part in entry.parts):
                return path
        elif _is_verified(path, entry.sha256):
            return path
    return None


def _is_verified(path: Path, sha256: str | None) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def fetch(entry: ModelEntry, progress: Progress | None = None) -> Path:
    """The entry's file, downloaded where necessary; ``progress(bytes, total)`` on the way.

    Raises InferenceError where the network, the disk or the content is at fault; nothing broken
    stays behind.
    """
    path = available(entry)
    if path is not None:
        return path
    if entry.url is None:
        raise InferenceError(
            f"{entry.name}: {MODELS / entry.file} is missing: reinstall the package"
        )
    if entry.parts:
        return _fetch_folder(entry, progress)
    target = cache_folder() / entry.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise InferenceError(f"{entry.name}: cannot write to {target.parent}: {error}") from error
    part = Path(name)
    try:
        digest = _download(entry, part, progress)
        if digest != entry.sha256:
            raise InferenceError(
                f"{entry.name}: {entry.url} has sha256 {digest[:12]}..., the registry says "
                f"{(entry.sha256 or '')[:12]}...: not used"
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _fetch_folder(entry: ModelEntry, progress: Progress | None) -> Path:
    """Each part like a file of its own, below the folder in the cache."""
    for part in entry.parts:
        name = f"{entry.name} ({part.path})"
        file, url = f"{entry.file}/{part.path}", f"{entry.url}/{part.path}"
        fetch(replace(entry, name=name, file=file, url=url, sha256=part.sha256, size=part.size,
                      parts=()), progress)
    return cache_folder() / entry.file


def _download(entry: ModelEntry, part: Path, progress: Progress | None) -> str:
    """Write the entry's bytes to ``part``; returns their sha256."""
    assert entry.url is not None and entry.size is not None, entry
    digest, done = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(entry.url, timeout=TIMEOUT) as reply, part.open("wb") as file:
            while chunk := reply.read(CHUNK):
                done += len(chunk)
                if done > entry.size:
                    raise InferenceError(
                        f"{entry.name}: {entry.url} sends more than the {entry.size} bytes that "
                        "the registry knows: not used"
                    )
                digest.update(chunk)
                file.write(chunk)
                if progress is not None:
                    progress(done, entry.size)
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InferenceError(
            f"{entry.name}: cannot download {entry.url} ({reason}); put {entry.file} into a "
            "folder and name it in ZOO_MIRROR"
        ) from error
    if done < entry.size:
        raise InferenceError(
            f"{entry.name}: {entry.url} broke off after {done} of {entry.size} bytes: try again"
        )
    return digest.hexdigest()
