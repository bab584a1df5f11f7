"""Weights by name, and the network that they are meant for.

The problem: checkpoints come wrapped (``{"epoch": 90, "state_dict": {...}}``), with prefixes that
a wrapper put before every name (``module.`` by DataParallel), and for another network than you
thought. The idea: unwrap, strip, then compare names and shapes before a single weight is copied,
so that a mistake is one readable sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.errors import InferenceError

Shape = tuple[int, ...]
NESTS = ("state_dict", "model_state_dict", "model", "net", "model_ema", "ema", "params", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # DataParallel, torch.compile, trainers
SHOWN = 4  # names of each kind in a message


def unwrap_state_dict(checkpoint: Any) -> dict[str, Any]:
    """The weights by name in what a checkpoint file holds.

    Follows the keys under which trainers keep them; leaves out what is not a tensor. Raises
    InferenceError where there are no weights to be found.
    """
    found = checkpoint
    while isinstance(found, Mapping) and not any(map(_is_tensor, found.values())):
        inner = next((found[key] for key in NESTS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping):
        raise InferenceError(f"a {type(found).__name__} instead of weights by name (a state dict)")
    weights = {str(name): value for name, value in found.items() if _is_tensor(value)}
    if not weights:
        keys = ", ".join(str(key)[:40] for key in list(found)[:SHOWN])
        raise InferenceError(f"no weights under its keys ({keys or 'none'})")
    return weights


def strip_prefixes(
    weights: Mapping[str, Any], wanted: Sequence[str], prefixes: Sequence[str] = PREFIXES
) -> dict[str, Any]:
    """The weights without the prefixes that all of them carry and no wanted name has."""
    stripped = dict(weights)
    while stripped:
        first = next(iter(stripped))
        prefix = next((prefix for prefix in prefixes if first.startswith(prefix)), None)
        if prefix is None or not all(name.startswith(prefix) for name in stripped):
            break
        if any(name.startswith(prefix) for name in wanted):
            break
        stripped = {name.removeprefix(prefix): value for name, value in stripped.items()}
    return stripped


@dataclass(frozen=True)
class WrongShape:
    """A weight that does not fit into its place."""

    name: str
    wanted: Shape
    given: Shape

    def __str__(self) -> str:
        return f"{self.name} ({_sizes(self.given)} instead of {_sizes(self.wanted)})"


@dataclass(frozen=True)
class StateDictDifference:
    """How weights and a network differ; names in their own order."""

    missing: tuple[str, ...]  # the network has them, the weights do not
    unexpected: tuple[str, ...]  # the weights have them, the network does not
    wrong_shape: tuple[WrongShape, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.wrong_shape)

    def __str__(self) -> str:
        kinds = {
            "missing": self.missing, "unexpected": self.unexpected, "of wrong shape":
            tuple(map(str, self.wrong_shape)),
        }
        return "; ".join(_listed(kind, names) for kind, names in kinds.items() if names)


def compare_state_dict(
    given: Mapping[str, Shape], wanted: Mapping[str, Shape]
) -> StateDictDifference:
    """Missing and unexpected names, and shapes that differ.

    ``num_batches_tracked``, a counter that inference never reads and that files older than
    PyTorch 0.4.1 lack, may be missing.
    """
    wrong = [
        WrongShape(name, wanted[name], shape)
        for name, shape in given.items()
        if name in wanted and wanted[name] != shape
    ]
    missing = [
        name for name in wanted if name not in given and not name.endswith("num_batches_tracked")
    ]
    return StateDictDifference(
        tuple(missing), tuple(name for name in given if name not in wanted), tuple(wrong)
    )


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _listed(kind: str, names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}"


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "one number"
