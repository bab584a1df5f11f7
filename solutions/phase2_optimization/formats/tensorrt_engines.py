"""A cache of TensorRT engines that never hands out one that does not fit.

Building takes minutes, and an engine is bound to what it was built with: the model, its precision
and profiles, the TensorRT version and the GPU. All of that stands in a description beside the
engine. A description that differs, an engine that is damaged or whose description is missing: it
is built anew, and the reason is said.

    FOLDER/<key>.engine, FOLDER/<key>.json     key: of the model, precision and profiles
    FOLDER/<version>-<gpu>.timing              what the builder measured, for the next build
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from solutions.phase2_optimization.formats.tensorrt_profiles import Profile
from zoo.errors import InferenceError


@dataclass(frozen=True)
class EngineFacts:
    """What an engine is bound to."""

    model: str  # sha256 of the ONNX file that was given to the parser
    precision: str
    profiles: str  # as text
    tensorrt: str  # version
    device: str  # the GPU's name
    capability: str  # "9.0"

    @property
    def key(self) -> str:
        """Names the files: of what was asked for, not of where it was built."""
        asked = json.dumps([self.model, self.precision, self.profiles])
        return hashlib.sha256(asked.encode()).hexdigest()[:24]


class Engine(NamedTuple):
    """A serialized engine."""

    data: bytes
    built: str  # why it was built anew; "" where it came from the cache


def engine_facts(
    model: bytes, precision: str, profiles: Sequence[Profile], tensorrt: str, device: str,
    capability: tuple[int, int],
) -> EngineFacts:
    """The facts of an engine for this model on this machine."""
    shapes = json.dumps([[asdict(each) for each in profile] for profile in profiles])
    return EngineFacts(hashlib.sha256(model).hexdigest(), precision, shapes, tensorrt, device,
                       f"{capability[0]}.{capability[1]}")


def mismatch(found: Any, wanted: EngineFacts) -> str:
    """What speaks against an engine with this description; "" where it fits."""
    if not isinstance(found, dict):
        return "its description is damaged"
    for name, value in asdict(wanted).items():
        if found.get(name) != value:
            return f"it was built for {name} {found.get(name)!r}, here it is {value!r}"
    return ""


class EngineCache:
    """Engines in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_or_build(self, facts: EngineFacts, build: Callable[[], bytes]) -> Engine:
        """The cached engine where it fits, else a new one, which is kept.

        Raises InferenceError where the folder cannot be written, and what ``build`` raises; then
        nothing is kept.
        """
        data, reason = self._read(facts)
        if data is not None:
            return Engine(data, "")
        data = bytes(build())
        self._write(facts, data)
        return Engine(data, reason)

    def timing_cache(self, facts: EngineFacts) -> bytes:
        """What builders of this version measured on this GPU; empty at first."""
        try:
            return self._timing_path(facts).read_bytes()
        except OSError:
            return b""

    def keep_timing_cache(self, facts: EngineFacts, data: bytes) -> None:
        """Keep a builder's measurements."""
        _write_whole(self._timing_path(facts), bytes(data))

    def _timing_path(self, facts: EngineFacts) -> Path:
        name = re.sub(r"[^\w.]+", "-", f"{facts.tensorrt}-{facts.device}-{facts.capability}")
        return self.folder / f"{name}.timing"

    def _read(self, facts: EngineFacts) -> tuple[bytes | None, str]:
        engine = self.folder / f"{facts.key}.engine"
        try:
            data = engine.read_bytes()
            about = json.loads(engine.with_suffix(".json").read_text("utf-8"))
        except FileNotFoundError:
            return None, "there was none"
        except (OSError, ValueError) as error:
            return None, f"it cannot be read ({type(error).__name__})"
        reason = mismatch(about.get("facts") if isinstance(about, dict) else None, facts)
        if not reason and about.get("sha256") != hashlib.sha256(data).hexdigest():
            reason = "it is damaged"
        return (None, reason) if reason else (data, "")

    def _write(self, facts: EngineFacts, data: bytes) -> None:
        """The engine first: a description without its engine would promise something."""
        engine = self.folder / f"{facts.key}.engine"
        about = {"facts": asdict(facts), "sha256": hashlib.sha256(data).hexdigest()}
        _write_whole(engine, data)
        _write_whole(engine.with_suffix(".json"), json.dumps(about, indent=2).encode())


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file; under its name only when whole. Raises InferenceError where it cannot be."""
    part = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(part).replace(path)
    except OSError as error:
        raise InferenceError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        if part:
            with contextlib.suppress(OSError):
                Path(part).unlink(missing_ok=True)
