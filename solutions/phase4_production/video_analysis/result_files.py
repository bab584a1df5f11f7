"""The files that a run writes as it goes, so that a run that breaks off leaves what it knew."""

import json
from pathlib import Path

from solutions.phase4_production.video_analysis.detections import TrackedObject
from solutions.phase4_production.video_analysis.events import Event
from solutions.phase4_production.video_analysis.model_pipeline import FrameResult
from zoo.errors import InferenceError


class ResultFile:
    """A text file that grows line by line; raises InferenceError where that fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("w")
        except OSError as error:
            raise self._fault(error) from error

    def write(self, text: str) -> None:
        """Add text, buffered."""
        try:
            self._file.write(text)
        except OSError as error:
            raise self._fault(error) from error

    def close(self) -> None:
        """Write what is buffered."""
        try:
            self._file.close()
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> InferenceError:
        return InferenceError(f"{self.path}: cannot be written ({error.strerror or error})")


class TrackFile(ResultFile):
    """``tracks.txt`` (MOTChallenge): frame from 1, identity, left, top, width, height, score,
    class from 1, visibility (-1: unknown)."""

    def add(self, index: int, result: FrameResult) -> None:
        """The tracks of the frame with that number, from 0."""
        if result.tracks:
            self.write("".join(_line(index + 1, track) for track in result.tracks))


def _line(frame: int, track: TrackedObject) -> str:
    x1, y1, x2, y2 = track.box.tolist()
    return (
        f"{frame},{track.identity},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},"
        f"{track.score:.4f},{track.label + 1},-1\n"
    )


class EventFile(ResultFile):
    """``events.jsonl``: one event a line."""

    def add(self, event: Event) -> None:
        """One event."""
        self.write(json.dumps(event.record()) + "\n")

    def count(self, label: str, unique: int) -> None:
        """How many objects of a class there were in all."""
        self.write(json.dumps({"event": "unique", "label": label, "count": unique}) + "\n")
