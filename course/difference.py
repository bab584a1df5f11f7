"""Where two results differ first: type, then shape, then dtype, then values.

Lenient where a different correct answer may differ (a list for a tuple, a NumPy number for a
Python one, another width of integer), strict where the contract speaks (float32, uint8, shapes).
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.plain_data import Record


class Tolerance(NamedTuple):
    """How far values may lie apart: ``absolute + relative * |expected|``."""

    relative: float = 1e-6
    absolute: float = 1e-9


@dataclass(frozen=True)
class Difference:
    """The first thing that differs."""

    path: str  # boxes[2].score; "" for the whole result
    kind: str  # type, shape, dtype, value
    text: str  # one sentence
    expected: Any
    got: Any
    first: tuple[int, ...] = ()  # index of the first differing value of an array
    worst: tuple[int, ...] = ()


def find_difference(
    expected: Any, got: Any, tolerance: Tolerance | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
) -> Difference | None:
    """The first difference between plain data; None where there is none.

    ``tolerances`` are those of single paths, in the place of the common one.
    """
    return _compare(expected, got, "", tolerance or Tolerance(), tolerances or {})


def _compare(a: Any, b: Any, path: str, tol: Tolerance, tols: Mapping[str, Tolerance]
             ) -> Difference | None:
    kinds = _kind(a), _kind(b)
    if kinds[0] != kinds[1] and not _compatible(a, b):
        return Difference(path, "type", f"{_name(path)} is {_described(b)}, expected "
                          f"{_described(a)}", a, b)
    match kinds[0]:
        case "array":
            return _arrays(a, np.asarray(b), path, tol)
        case "mapping":
            return _mappings(a, b, path, tol, tols)
        case "record":
            return _mappings(a.fields, b.fields, path, tol, tols)
        case "sequence":
            return _sequences(a, b, path, tol, tols)
        case "number":
            return _numbers(a, b, path, tol)
    if a != b:
        return Difference(path, "value", f"{_name(path)} is {b!r:.200}, expected {a!r:.200}", a, b)
    return None


def _kind(value: Any) -> str:
    if isinstance(value, Record):
        return "record"
    if isinstance(value, np.ndarray):
        return "array"
    if isinstance(value, bool | np.bool_):
        return "truth"
    if isinstance(value, int | float | complex | np.number):
        return "number"
    if isinstance(value, Mapping):
        return "mapping"
    if isinstance(value, list | tuple):
        return "sequence"
    return type(value).__name__


def _compatible(expected: Any, got: Any) -> bool:
    return _kind(expected) == "number" and isinstance(got, np.ndarray) and got.shape == ()


def _described(value: Any) -> str:
    match _kind(value):
        case "NoneType":
            return "None"
        case "array":
            return f"an array of {value.dtype} {list(value.shape)}"
        case "record":
            return f"a {value.name}"
        case "sequence":
            return f"a {type(value).__name__} of {len(value)}"
        case "mapping":
            return f"a dict of {len(value)}"
    return f"{value!r:.60} ({type(value).__name__})"


def _name(path: str) -> str:
    return path or "the result"


def _mappings(a: Mapping[str, Any], b: Mapping[str, Any], path: str, tol: Tolerance,
              tols: Mapping[str, Tolerance]) -> Difference | None:
    missing, extra = [k for k in a if k not in b], [k for k in b if k not in a]
    if missing or extra:
        text = f"{_name(path)} lacks {missing[0]!r}" if missing else (
            f"{_name(path)} has {extra[0]!r}, which is not expected")
        return Difference(path, "type", text, sorted(a), sorted(b))
    for key in a:
        inner = f"{path}.{key}" if path else key
        found = _compare(a[key], b[key], inner, tols.get(inner, tol), tols)
        if found is not None:
            return found
    return None


def _sequences(a: Sequence[Any], b: Sequence[Any], path: str, tol: Tolerance,
               tols: Mapping[str, Tolerance]) -> Difference | None:
    if len(a) != len(b):
        return Difference(path, "shape", f"{_name(path)} has {len(b)} items, expected {len(a)}",
                          list(a), list(b))
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        found = _compare(x, y, f"{path}[{i}]", tol, tols)
        if found is not None:
            return found
    return None


def _numbers(a: Any, b: Any, path: str, tol: Tolerance) -> Difference | None:
    b = b[()] if isinstance(b, np.ndarray) else b
    whole = isinstance(a, int | np.integer)
    if whole and not isinstance(b, int | np.integer):
        return Difference(path, "type", f"{_name(path)} is {_described(b)}, expected the whole "
                          f"number {a}", a, b)
    if _close(a, b, tol if not whole else Tolerance(0, 0)):
        return None
    return Difference(path, "value", f"{_name(path)} is {_short(b)}, expected {_short(a)}", a, b)


def _close(a: Any, b: Any, tol: Tolerance) -> bool:
    if isinstance(a, int | np.integer):  # exactly, however large
        return bool(a == b)
    if isinstance(b, int) and abs(b) > sys.float_info.max:
        return False
    if isinstance(a, complex | np.complexfloating) or isinstance(b, complex | np.complexfloating):
        return not _apart(np.asarray(a, complex), np.asarray(b, complex), tol).any()
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if math.isinf(a) or math.isinf(b):
        return bool(a == b)
    return bool(abs(a - b) <= tol.absolute + tol.relative * abs(a))


def _short(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float | np.floating) else f"{value!s:.60}"


def _arrays(a: NDArray[Any], b: NDArray[Any], path: str, tol: Tolerance) -> Difference | None:
    if a.shape != b.shape:
        return Difference(path, "shape", f"{_name(path)} has the shape {list(b.shape)}, expected "
                          f"{list(a.shape)}", a, b)
    if not _same_dtype(a.dtype, b.dtype):
        return Difference(path, "dtype", f"{_name(path)} is an array of {b.dtype}, expected "
                          f"{a.dtype}", a, b)
    apart = _apart(a, b, tol)
    if not apart.any():
        return None
    first = tuple(int(i[0]) for i in np.nonzero(apart)) if a.ndim else ()
    with np.errstate(all="ignore"):
        gap = np.abs(a.astype(np.complex128) - b.astype(np.complex128))
    gap = np.where(apart, np.nan_to_num(gap, nan=np.inf, posinf=np.inf), -1.0)
    worst = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), a.shape))
    count = int(apart.sum())
    text = (f"{_name(path)}: {count} of {apart.size} values differ; the first at "
            f"{_index(first)}: {_short(b[first])}, expected {_short(a[first])}")
    if worst != first:
        text += f"; the worst at {_index(worst)}: {_short(b[worst])}, expected {_short(a[worst])}"
    return Difference(path, "value", text, a, b, first, worst)


def _index(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"


def _same_dtype(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    if a == b:
        return True
    return a.kind in "iu" and b.kind in "iu" and a.itemsize > 1 and b.itemsize > 1


def _apart(a: NDArray[Any], b: NDArray[Any], tol: Tolerance) -> NDArray[np.bool_]:
    if a.dtype.kind in "biu":
        different: NDArray[np.bool_] = np.asarray(a != b)
        return different
    with np.errstate(all="ignore"):
        near = np.abs(a - b) <= tol.absolute + tol.relative * np.abs(a)
        same = near & np.isfinite(a) & np.isfinite(b)
        same |= (a == b) | (np.isnan(a) & np.isnan(b))
    return np.asarray(~same)
