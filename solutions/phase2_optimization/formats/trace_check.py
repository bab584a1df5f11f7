"""When is a trace the program? It is the record of one run, and knows nothing of other branches.

    def forward(self, x):
        if x.sum() > 0:        the trace holds the branch that the example took, and
            return x * 2       answers with it for every input, without an error
        return -x

Three looks, each of which finds what the others miss: the trace is compared with the module on
inputs that differ from the example in sign, size and number of rows; a second trace, of another
input, must write down the same operators; and what PyTorch warned about while tracing is kept,
since it names the line.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solutions.phase2_optimization.formats.compiled import (
    Array,
    Batch,
    relative_error,
)
from solutions.phase2_optimization.formats.torch_runner import as_tensors, runner
from zoo.errors import InferenceError

TOLERANCE = 1e-3  # of the largest output: rounding stays below, another branch does not


@dataclass(frozen=True)
class TraceCheck:
    """Whether a trace does what the module does, and what speaks against it."""

    worst_error: float  # relative, over all probes; inf where the trace refuses one
    same_operators: bool  # traces of different inputs wrote down the same
    warned: tuple[str, ...]  # places at which a value left the trace, as PyTorch saw them
    reason: str  # "" where nothing was found

    @property
    def is_the_program(self) -> bool:
        """Whether nothing was found. Warnings alone (of shapes, mostly) are no proof."""
        return not self.reason


def probes(example: Batch, sizes: Sequence[int] = ()) -> list[Batch]:
    """Inputs unlike the example: negated, zero, large, reversed, and of other batch sizes.

    Integers keep their range, since they may be indices.
    """
    def each(change: Any) -> Batch:
        return tuple(change(a) if a.dtype.kind == "f" else a for a in example)

    found = [
        each(np.negative), each(np.zeros_like), each(lambda a: a * 100),
        tuple(a[::-1].copy() for a in example),
    ]
    rows = len(example[0])
    for size in set(sizes) - {rows}:
        found.append(tuple(np.ascontiguousarray(np.resize(a, (size, *a.shape[1:])))
                           for a in example))
    return found


def operators_of(traced: Any) -> list[str]:
    """The operators of a TorchScript graph in order, submodules included."""
    text = str(traced.inlined_graph)
    return re.findall(r"= (\w+::\w+)", text)


def check_trace(module: Any, traced: Any, batches: Sequence[Batch]) -> TraceCheck:
    """Compare a trace with its module on inputs that it was not made from."""
    worst, reason = 0.0, ""
    for batch in batches:
        error, why = _difference(module, traced, batch)
        worst = max(worst, error)
        if error > TOLERANCE and not reason:
            reason = why
    again, warned = _trace_again(module, batches[0])
    same = again is not None and operators_of(again) == operators_of(traced)
    if not same and not reason:
        reason = "a trace of another input holds other operators"
    if reason and warned:
        reason += f" ({warned[0]})"
    return TraceCheck(worst, same, warned, reason)


def _difference(module: Any, traced: Any, batch: Batch) -> tuple[float, str]:
    expected = runner(module)(batch)
    shapes = [list(array.shape) for array in batch]
    try:
        error = relative_error(runner(traced)(batch), expected)
    except (RuntimeError, InferenceError) as refused:
        line = (str(refused).strip().splitlines() or [""])[-1]
        return float("inf"), f"it cannot take inputs of {shapes}: {line[:200]}"
    return error, f"its output differs by {error:.2g} for {_described(batch[0])}"


def _described(array: Array) -> str:
    return f"an input of shape {list(array.shape)} with values from {array.min():.3g} to " \
           f"{array.max():.3g}"


def _trace_again(module: Any, batch: Batch) -> tuple[Any, tuple[str, ...]]:
    """A trace of other inputs, and the places that the tracer warned about."""
    import torch
    from torch.jit._trace import TracerWarning

    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        try:
            again = torch.jit.trace(module, as_tensors(batch), check_trace=False)  # type: ignore[no-untyped-call]
        except RuntimeError:
            again = None
    places = [
        f"{warning.filename.rpartition('/')[2]} line {warning.lineno}: "
        f"{str(warning.message).partition('.')[0]}"
        for warning in caught if issubclass(warning.category, TracerWarning)
    ]
    return again, tuple(dict.fromkeys(places))
