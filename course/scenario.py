"""What is checked: scenarios, and the watch that is kept over the calls in them.

A scenario is a function ``(impl, rng) -> dict of plain data``. The same one runs on the reference
and on the answer, with the same seed; ``rng`` makes inputs only.
"""

import functools
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from course.difference import Tolerance
from zoo.errors import InferenceError

Check = Callable[[Any, np.random.Generator], dict[str, Any]]
REGISTRY: list["Scenario"] = []


@dataclass(frozen=True)
class Scenario:
    """One check of one exercise."""

    exercise: str
    name: str
    check: Check
    seeds: int = 3  # fresh ones at each check
    tolerance: Tolerance = field(default_factory=Tolerance)
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    limit_s: float = 10.0  # for all seeds together
    at_most: float | None = None  # times the reference's time, where speed is asked for

    @property
    def about(self) -> str:
        """The sentence that says what is checked."""
        return " ".join((self.check.__doc__ or self.name.replace("_", " ")).split())


def scenario(
    exercise: str, *, seeds: int = 3, relative: float = 1e-6, absolute: float = 1e-9,
    tolerances: Mapping[str, Tolerance] | None = None, limit_s: float = 10.0,
    at_most: float | None = None,
) -> Callable[[Check], Check]:
    """Register a check of an exercise."""
    def register(check: Check) -> Check:
        REGISTRY.append(Scenario(
            exercise, check.__name__, check, seeds, Tolerance(relative, absolute),
            tolerances or {}, limit_s, at_most,
        ))
        return check

    return register


def load_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of a file, in the order of their definition."""
    name = f"scenarios_of_{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    before = len(REGISTRY)
    try:
        spec.loader.exec_module(module)
        return REGISTRY[before:]
    finally:
        del REGISTRY[before:]


class MutationError(Exception):
    """A function changed what it was given."""


class Guarded:
    """A module whose functions must leave the arrays alone that they are given.

    ``last`` names the latest call, so that a message can speak of it. ``calls`` keeps arguments
    where ``record`` asks for it.
    """

    def __init__(self, module: ModuleType | Any, record: bool = False) -> None:
        self._module, self._record = module, record
        self.last: tuple[str, Any] | None = None
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if isinstance(found, type) or not callable(found):
            return found

        @functools.wraps(found)
        def watched(*args: Any, **named: Any) -> Any:
            kept = _copies((args, named))
            if self._record:
                self.calls.append((name, args, named))
            self.last = (name, None)
            result = found(*args, **named)
            self.last = (name, result)
            for array, copy in kept:
                if array.shape != copy.shape or array.tobytes() != copy.tobytes():
                    raise MutationError(f"{name} changed an array that it was given: work on a "
                                        "copy")
            return result

        return watched


def _copies(value: Any, depth: int = 0) -> list[tuple[np.ndarray[Any, Any], Any]]:
    if isinstance(value, np.ndarray):
        return [(value, value.copy())] if value.dtype != object else []
    if depth > 3:
        return []
    if isinstance(value, list | tuple):
        return [pair for item in value for pair in _copies(item, depth + 1)]
    if isinstance(value, dict):
        return [pair for item in value.values() for pair in _copies(item, depth + 1)]
    return []


def draw(seed: int) -> np.random.Generator:
    """The generator of a seed's inputs."""
    return np.random.default_rng([seed, 20])


def forget_modules(prefix: str) -> None:
    """Unload modules of that prefix, so that the next import reads the files again."""
    for name in [n for n in sys.modules if n == prefix or n.startswith(prefix + ".")]:
        del sys.modules[name]


def attempt(call: Callable[[], Any]) -> dict[str, Any]:
    """What a call gives, or the class of what it raises: for checks of refusals.

    NotImplementedError, which says that something is still to be done, goes through.
    """
    try:
        return {"value": call()}
    except NotImplementedError:
        raise
    except InferenceError:
        return {"raises": "InferenceError"}
    except Exception as error:
        return {"raises": type(error).__name__}
