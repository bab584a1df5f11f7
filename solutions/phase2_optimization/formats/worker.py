"""One format in a process of its own: it compiles, answers with outputs, and times itself.

Messages are plain data over the pipes (``worker_protocol``). A ``do`` says what:

| do | what comes back |
|---|---|
| ``prepare`` | the inputs of the model, and its ONNX file, exported where it is a module |
| ``compile`` | seconds, bytes, detail |
| ``run`` | outputs for a batch, which is kept |
| ``time`` | seconds of each of some calls with a batch that was kept |

Faults go back as messages, and whatever a library prints goes to standard error.
"""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import numpy as np

from solutions.phase1_basics.worker_protocol import Message, pack, unpack
from solutions.phase2_optimization.formats.catalogue import Format
from solutions.phase2_optimization.formats.compiled import (
    Batch,
    Compiled,
    FormatOptions,
    Outputs,
    Source,
)
from solutions.phase2_optimization.formats.named_models import (
    file_specs,
    make_inputs,
    module_specs,
    seeded_module,
)
from solutions.phase2_optimization.formats.onnx_export import export_dynamo
from zoo.errors import InferenceError

WARM_UP = 2


class Worker:
    """The answers to the messages."""

    def __init__(self) -> None:
        self._compiled: Compiled | None = None
        self._batches: dict[int, Batch] = {}

    def answer(self, message: Message) -> tuple[dict[str, Any], Outputs]:
        """Header and arrays of the reply. Raises whatever goes wrong."""
        does = {"prepare": self.prepare, "compile": self.compile, "run": self.run,
                "time": self.time}
        return does[message.header["do"]](message)

    def prepare(self, message: Message) -> tuple[dict[str, Any], Outputs]:
        """The inputs of the model; a module is exported where ONNX is wanted."""
        asked = message.header
        if asked["onnx"] is not None:
            specs = file_specs(Path(asked["onnx"]))
            return {"inputs": [[s.name, s.shape, s.dtype] for s in specs]}, []
        module = seeded_module(asked["name"])  # an unknown name ends here, with the nearest ones
        specs = module_specs(asked["name"])
        about: dict[str, Any] = {"inputs": [[s.name, s.shape, s.dtype] for s in specs]}
        if asked["export"]:
            options = _options(asked)
            source = Source(asked["name"], make_inputs(specs, 1, 0), module)
            try:
                found = export_dynamo(source, options, options.folder / "exported.onnx")
            except InferenceError as error:
                return about | {"export_error": str(error)}, []
            about |= {"onnx": str(found.path), "seconds": found.seconds, "opset": found.opset}
        return about, []

    def compile(self, message: Message) -> tuple[dict[str, Any], Outputs]:
        """Compile a format for a model."""
        asked = message.header
        wanted = Format(**asked["format"] | {"arguments": tuple(asked["format"]["arguments"])})
        module = None
        if wanted.starts_from == "module":
            if not asked["is_module"]:
                raise InferenceError("an ONNX file has no PyTorch program")
            module = seeded_module(asked["name"])
        onnx = None if asked["onnx"] is None else Path(asked["onnx"])
        source = Source(asked["name"], tuple(message.arrays), module, onnx)
        made = wanted.load()(source, _options(asked))
        self._compiled = made
        return {"seconds": made.compile_seconds, "bytes": made.size_bytes,
                "detail": made.detail}, []

    def run(self, message: Message) -> tuple[dict[str, Any], Outputs]:
        """Outputs, and the seconds that a call takes once it is warm."""
        assert self._compiled is not None
        batch = tuple(np.array(array) for array in message.arrays)
        self._batches[len(batch[0])] = batch
        outputs = self._compiled.run(batch)
        for _ in range(WARM_UP):
            start = time.perf_counter()
            self._compiled.run(batch)
        return {"seconds": time.perf_counter() - start}, [np.asarray(each) for each in outputs]

    def time(self, message: Message) -> tuple[dict[str, Any], Outputs]:
        """Seconds of each of some calls."""
        assert self._compiled is not None
        run, batch = self._compiled.run, self._batches[message.header["batch"]]
        seconds = []
        for _ in range(message.header["calls"]):
            start = time.perf_counter()
            run(batch)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}, []


def _options(asked: dict[str, Any]) -> FormatOptions:
    calibration: list[Batch] = []
    if asked.get("calibration"):
        with np.load(asked["calibration"]) as arrays:
            columns = [arrays[name] for name in sorted(arrays.files)]
        chunk = asked["chunk"]
        calibration = [tuple(column[i : i + chunk] for column in columns)
                       for i in range(0, len(columns[0]), chunk)]
    return FormatOptions(Path(asked["folder"]), tuple(asked["sizes"]), asked["threads"],
                         asked["opset"], calibration)


def bound_memory(limit: int) -> None:
    """At most so many bytes to write to, where the system can bound it; 0: no bound."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def short(error: BaseException) -> str:
    """An exception as one line; our own speak for themselves."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "bad_alloc" in text or "can't allocate memory" in text:
        return f"out of memory ({text or 'MemoryError'})"[:300]
    name = "" if isinstance(error, InferenceError) else f"{type(error).__name__}: "
    return f"{name}{text}"[:500]


def main() -> None:
    """Answer until the pipe closes. Argument: the bound of memory in bytes."""
    bound_memory(int(sys.argv[-1]))
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no message
    worker = Worker()

    def read(count: int) -> bytes:
        piece = source.read(count)
        if len(piece) < count:
            sys.exit(0)  # the other side is gone
        return piece

    while True:
        message = unpack(read)
        try:
            reply = pack(*worker.answer(message))
        except Exception as error:  # whatever a library raises costs this format alone
            reply = pack({"error": short(error)})
        for piece in reply:
            answers.write(piece)
        answers.flush()


if __name__ == "__main__":
    main()
