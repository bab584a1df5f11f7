"""The worker's half of the conversation: load one model, then answer with its outputs.

A worker script gives ``serve`` a function that loads; results and faults go back as messages on
what was standard output, and whatever a framework prints goes to standard error.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase1_basics.worker_protocol import pack, unpack

Arrays = list[NDArray[Any]]


class Loaded(NamedTuple):
    """A model inside a worker."""

    run: Callable[[Arrays], Arrays]
    input_spec: tuple[TensorSpec, ...]
    output_spec: tuple[TensorSpec, ...]
    runtime: str
    parameters: int | None


def serve(load: Callable[[dict[str, Any]], Loaded]) -> None:
    """Answer messages until the pipe closes; the first one says what to load."""
    source = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    model: Loaded | None = None

    def read(count: int) -> bytes:
        piece = source.read(count)
        if len(piece) < count:
            sys.exit(0)  # the other side is gone
        return piece

    while True:
        message = unpack(read)
        try:
            if model is None:
                model = load(message.header)
                reply = pack(_describe(model))
            else:
                reply = pack({}, model.run(message.arrays))
        except Exception as error:  # whatever the framework raises is told, not swallowed
            reply = pack({"error": _short(error)})
        for piece in reply:
            answers.write(piece)
        answers.flush()


def _describe(model: Loaded) -> dict[str, Any]:
    return {
        "inputs": [[spec.name, spec.shape, spec.dtype] for spec in model.input_spec],
        "outputs": [[spec.name, spec.shape, spec.dtype] for spec in model.output_spec],
        "runtime": model.runtime,
        "parameters": model.parameters,
    }


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500]
