"""What every format takes and gives: one network in, one thing that runs out.

A format is a function ``(Source, FormatOptions) -> Compiled``. It compiles for the batch sizes that
it is told; more than one means a free batch axis, where the format has such a thing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import InferenceError

Array = NDArray[Any]
Batch = tuple[Array, ...]  # one array per input, the batch along axis 0
Outputs = list[Array]
OPSET = 18  # of exported ONNX: what both exporters and every runtime here know


@dataclass(frozen=True)
class Source:
    """A network to compile: a PyTorch module, an ONNX file, or the same network as both."""

    name: str
    example: Batch  # inputs that show names, types and sizes; at least one row
    module: Any = None  # torch.nn.Module in evaluation mode
    onnx: Path | None = None

    def need_module(self) -> Any:
        """The module. Raises InferenceError where there is none."""
        if self.module is None:
            raise InferenceError("an ONNX file has no PyTorch program")
        return self.module

    def rows(self, count: int) -> Batch:
        """The example repeated or cut to that many rows."""
        return tuple(
            np.ascontiguousarray(np.resize(each, (count, *each.shape[1:]))) for each in self.example
        )


@dataclass(frozen=True)
class FormatOptions:
    """How to compile; the same for every format that is compared."""

    folder: Path  # where a format writes its files; their bytes are its size
    sizes: tuple[int, ...] = (1,)  # batch sizes that it will be run with
    threads: int = 1
    opset: int = OPSET
    calibration: Sequence[Batch] = field(default_factory=tuple)  # for INT8

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1 or self.threads < 1:
            raise InferenceError(
                f"batch sizes {list(self.sizes)} and {self.threads} threads: at least 1 is needed")

    @property
    def is_dynamic(self) -> bool:
        """Whether one program has to take several batch sizes."""
        return len(set(self.sizes)) > 1

    def example(self, source: Source) -> Batch:
        """Inputs to trace with. A free axis wants two rows: exporters take 1 for a constant."""
        return source.rows(2 if self.is_dynamic else self.sizes[0])


@dataclass(frozen=True)
class Compiled:
    """A network in some format, ready to run."""

    format: str
    run: Callable[[Batch], Outputs]
    compile_seconds: float  # from the source to the first possible run, warm-up not included
    size_bytes: int  # of what would be shipped, weights included
    detail: str = ""  # what a reader of the figures should know


class Stopwatch:
    """Seconds since it was made, in one place so that every format counts the same."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start


def relative_error(found: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest difference as a share of the largest expected number, of the worst output.

    A share of each number would be infinite at every zero. Infinite where something is not finite
    that should be; raises InferenceError where outputs differ in number or shape.
    """
    if [each.shape for each in found] != [each.shape for each in expected]:
        raise InferenceError(
            f"outputs of shapes {[list(a.shape) for a in found]}, expected "
            f"{[list(a.shape) for a in expected]}"
        )
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        if not theirs.size:
            continue
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))  # equal infinities and NaN are equal
        if same.all():
            continue
        if not np.isfinite(a[~same]).all() or not np.isfinite(b[~same]).all():
            return float("inf")
        scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
        worst = max(worst, float(np.abs(a - b)[~same].max()) / (scale or 1.0))
    return worst


def typical_error(found: Sequence[Array], expected: Sequence[Array]) -> float:
    """The root mean square of the differences as a share of that of the expected numbers, of the
    worst output. Where few numbers are far off, it is small and ``relative_error`` large.

    Infinite where a difference is not finite.
    """
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        if not a.size or np.array_equal(a, b, equal_nan=True):
            continue
        scale = float(np.sqrt(np.mean(b * b)))
        with np.errstate(invalid="ignore"):
            error = float(np.sqrt(np.mean((a - b) ** 2))) / (scale or 1.0)
        worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst


def bytes_below(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def faults_of(what: str) -> Iterator[None]:
    """What a library raises, as one line of ours that names the step."""
    try:
        yield
    except InferenceError:
        raise
    except MemoryError as error:
        raise InferenceError(f"{what}: out of memory") from error
    except Exception as error:  # a dozen libraries, each with exceptions of its own
        text = " ".join(str(error).split()) or "no reason given"
        raise InferenceError(f"{what}: {type(error).__name__}: {text[:300]}") from error
