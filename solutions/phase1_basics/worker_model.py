"""A model that runs in a process of its own; the user sees one ``predict``."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.model import ModelAbout
from solutions.phase1_basics.tensor_spec import TensorSpec, check_batch, printable
from solutions.phase1_basics.worker_pipes import WorkerPipes
from solutions.phase1_basics.worker_protocol import Message, pack, unpack
from solutions.phase1_basics.worker_sandbox import WorkerBounds, network_namespace, sandboxed
from zoo.errors import InferenceError, MissingExtraError

ROOM = Path(__file__).resolve().parent
TENSORFLOW_PYTHON = "INFERENCE_TENSORFLOW_PYTHON"  # the interpreter that has TensorFlow
TENSORFLOW = ("saved_model", "frozen_graph", "keras", "keras_h5")
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")  # of the environment
DATA = 6 << 30  # bytes of memory beside the model's own
LOAD_TIMEOUT, RUN_TIMEOUT = 180.0, 120.0  # seconds
ASK = """
import importlib.util, json, os, sys
found = importlib.util.find_spec(sys.argv[1]) is not None
paths = [sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable)), *sys.path]
print(json.dumps([found, paths]))
"""


class WorkerModel:
    """A model in a worker process without network or write access.

    ``about.bounds`` tells which bounds really hold on this machine. Raises InferenceError where
    the model cannot be loaded, a worker dies or takes too long; MissingExtraError where the
    interpreter lacks the framework.
    """

    def __init__(
        self, path: Path, model_format: str, threads: int = 1, trust: bool = False,
        run_timeout: float = RUN_TIMEOUT,
    ) -> None:
        script, python = _script(model_format)
        path = path.resolve()
        root = ROOM.parents[1]
        code = (str(root / "solutions"), str(root / "zoo"), *_libraries(*python))
        bounds = WorkerBounds((str(path), *code), (str(root),), DATA + 6 * _size(path),
                              network_namespace())
        self._path, self._timeout, self._turn = path, run_timeout, threading.Lock()
        self._worker = subprocess.Popen(
            sandboxed([python[0], "-s", str(ROOM / script)], bounds),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            env=_environment(), cwd="/", start_new_session=True,
        )
        self._pipes = WorkerPipes(self._worker)
        self._finalizer = weakref.finalize(self, _end, self._worker)
        deadline = time.monotonic() + LOAD_TIMEOUT
        held = self._exchange(None, deadline).header["bounds"]
        request = {"path": str(path), "format": model_format, "threads": threads, "trust": trust}
        try:
            found = self._exchange(pack(request), deadline).header
            self.input_spec = _specs(found["inputs"])
            self.output_spec = _specs(found["outputs"])
            runtime, count = printable(str(found["runtime"]), 100), found["parameters"]
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise InferenceError(f"model {path}: its worker describes no model") from error
        except InferenceError:
            self.close()
            raise
        self.about = ModelAbout(f"{runtime}, in a worker process", "cpu",
                                int(count) if count else None, bounds=tuple(held))

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs."""
        if len(inputs) != len(self.input_spec):
            raise InferenceError(f"{len(inputs)} inputs given, not {len(self.input_spec)}")
        fitting = [check_batch(*pair) for pair in zip(inputs, self.input_spec, strict=True)]
        found = self._exchange(pack({}, fitting), time.monotonic() + self._timeout).arrays
        if not found:
            raise InferenceError(f"model {self._path}: its worker gives no output")
        return found

    def predict(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The first output for one batch of the only input."""
        return self.run(batch)[0]

    def close(self) -> None:
        """End the worker process."""
        self._finalizer()

    def _exchange(self, request: Any, deadline: float) -> Message:
        """Send a request, wait for the answer; ends the worker where something goes wrong."""
        try:
            with self._turn:
                for piece in request or ():
                    self._pipes.write(piece, deadline)
                message = unpack(lambda count: self._pipes.read(count, deadline))
        except TimeoutError as error:
            self.close()
            raise InferenceError(f"model {self._path}: no answer in time: its worker was "
                                 "ended") from error
        except (EOFError, OSError, ValueError) as error:
            reason = self._last_words()
            self.close()
            raise InferenceError(f"model {self._path}: its worker ended: {reason}") from error
        except InferenceError as error:
            self.close()
            raise InferenceError(f"model {self._path}: its worker sent {error}") from error
        except BaseException:  # an interrupt in the middle of a message leaves the pipe unusable
            self.close()
            raise
        if "error" in message.header:
            raise InferenceError(f"model {self._path}: {printable(str(message.header['error']))}")
        return message

    def _last_words(self) -> str:
        """What the worker said last, and how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._worker.wait(1.0)
        code = self._worker.poll()
        return f"{printable(self._pipes.last_words()) or 'nothing said'} (exit code {code})"


def tensorflow_python() -> str:
    """The interpreter that TensorFlow's workers run in: the setting's, else this one."""
    named = os.environ.get(TENSORFLOW_PYTHON) or sys.executable
    found = shutil.which(named) or named
    return str(Path(found).absolute())  # not resolved: a venv is known by its own path


def _script(model_format: str) -> tuple[str, tuple[str, str]]:
    """The worker's file, the interpreter, and what it must have installed."""
    if model_format in TENSORFLOW:
        return "tensorflow_worker.py", (tensorflow_python(), "tensorflow")
    return "torch_worker.py", (sys.executable, "torch")


@cache
def _libraries(python: str, package: str) -> tuple[str, ...]:
    """Where that interpreter's code lies. Raises MissingExtraError where it lacks the package."""
    try:
        done = subprocess.run([python, "-s", "-c", ASK, package], capture_output=True, text=True,
                              timeout=60, cwd="/", env=_environment())
        found, paths = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise InferenceError(f"{python} is no Python interpreter that runs ({error})") from error
    if not found:
        if package == "tensorflow":
            raise InferenceError(
                f"{python} has no TensorFlow: make one with 'make tensorflow' and name its "
                f"interpreter in {TENSORFLOW_PYTHON}"
            )
        raise MissingExtraError(package, "learn")
    kept = {os.path.realpath(path) for path in paths if path and Path(path).exists()}
    return tuple(sorted(kept - {"/"}))


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"HOME": "/", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _specs(raw: Any) -> tuple[TensorSpec, ...]:
    """Inputs or outputs as a worker tells them. Raises ValueError or TypeError for nonsense."""
    return tuple(
        TensorSpec(str(name), tuple(None if size is None else int(size) for size in shape),
                   np.dtype(str(dtype)).name)
        for name, shape, dtype in raw
    )


def _end(worker: "subprocess.Popen[bytes]") -> None:
    """End a worker and everything that it started."""
    if worker.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    for end in (worker.stdin, worker.stdout, worker.stderr):
        if end is not None:
            end.close()
