"""The other end of a worker's pipes: asks, waits no longer than it was told, says how it ended."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solutions.phase1_basics.worker_pipes import WorkerPipes
from solutions.phase1_basics.worker_protocol import Message, pack, unpack
from solutions.phase2_optimization.formats.compiled import Array
from zoo.errors import InferenceError

COMMAND = (sys.executable, str(Path(__file__).with_name("worker.py")))


class WorkerHandle:
    """A process with one format in it.

    ``memory``: bytes that it may write to, 0 for no bound. Ends with ``close``, or with this
    process.
    """

    def __init__(
        self, folder: Path, threads: int, memory: int = 0, command: Sequence[str] = COMMAND
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [*command, str(memory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, bufsize=0, start_new_session=True,
            env=_environment(folder, threads),
        )
        self._pipes, self._memory = WorkerPipes(self._process), memory
        self._finalizer = weakref.finalize(self, _end, self._process)

    def ask(
        self, header: dict[str, Any], arrays: Sequence[Array] = (), timeout: float = 60.0
    ) -> Message:
        """Send a request, wait for the reply.

        Raises InferenceError where the worker reports a fault, ends or takes too long; it is
        closed then.
        """
        deadline = time.monotonic() + timeout
        try:
            for piece in pack(header, arrays):
                self._pipes.write(piece, deadline)
            message = unpack(lambda count: self._pipes.read(count, deadline))
        except TimeoutError as error:
            self.close()
            raise InferenceError(f"no answer to {header['do']!r} within {timeout:g} s: "
                                 "ended") from error
        except (EOFError, OSError) as error:
            reason = self._last_words()
            self.close()
            raise InferenceError(f"its process died at {header['do']!r}: {reason}") from error
        except BaseException:
            self.close()
            raise
        if "error" in message.header:
            self.close()
            raise InferenceError(str(message.header["error"]))
        return message

    def close(self) -> None:
        """End the process and everything that it started."""
        self._finalizer()

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code, said = self._process.poll(), self._pipes.last_words()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                hint = " (out of memory?)" if name in ("SIGKILL", "SIGABRT") else ""
                return f"{name}{hint}" + (f", last said: {said}" if said else "")
        return f"exit code {code}" + (f", last said: {said}" if said else "")


def _environment(folder: Path, threads: int) -> dict[str, str]:
    """This process's, with thread counts, and a cache of its own: compiling is to be seen."""
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return dict(os.environ) | counts | {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore",
    }


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
