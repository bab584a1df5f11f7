"""What was measured of a detector's precisions, kept between runs."""

import json
import math
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

FILE = "precision.json"
MOST_BYTES = 1 << 20  # a larger file is none of ours

Pair = tuple[float, float]  # milliseconds, distance


class PrecisionCache:
    """Figures of one set of circumstances, in a file that holds those of many.

    A file that is broken or cannot be read counts as empty; one that cannot be written is left:
    the next run measures again.
    """

    def __init__(self, folder: Path, circumstances: str) -> None:
        self.path, self.key = folder / FILE, circumstances

    def read(self, precisions: Collection[str]) -> dict[str, Pair] | None:
        """The figures of exactly these precisions; None where they are not all there."""
        found = self._document().get(self.key)
        if not isinstance(found, dict) or set(found) != set(precisions):
            return None
        if not all(_is_pair(pair) for pair in found.values()):
            return None
        return {name: (float(ms), float(distance)) for name, (ms, distance) in found.items()}

    def write(self, figures: Mapping[str, Any]) -> None:
        """Add or replace the figures; the file is never half written."""
        document = self._document() | {self.key: dict(figures)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{FILE}-", dir=self.path.parent)
        except OSError:
            return
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(document, file, indent=1)
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)

    def _document(self) -> dict[str, Any]:
        try:
            if self.path.stat().st_size > MOST_BYTES:
                return {}
            document = json.loads(self.path.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


def _is_pair(value: object) -> bool:
    return (isinstance(value, list) and len(value) == 2
            and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
            and math.isfinite(value[0]) and value[0] > 0 and value[1] >= 0)
