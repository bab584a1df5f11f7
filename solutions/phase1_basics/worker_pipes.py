"""Bytes to and from a process that may never answer: everything has a deadline."""

import contextlib
import os
import select
import subprocess
import time

PIECE = 1 << 20  # bytes moved at a time
LOG = 4096  # last bytes kept of what the process says on standard error


class WorkerPipes:
    """The three pipes of a process; what it says on standard error is drained on the way."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin and process.stdout and process.stderr
        self._target, self._source = process.stdin.fileno(), process.stdout.fileno()
        self._log = process.stderr.fileno()
        self._open_log = True
        self._said = b""
        for end in (self._target, self._source, self._log):
            os.set_blocking(end, False)

    def read(self, count: int, deadline: float) -> bytearray:
        """Exactly ``count`` bytes. Raises TimeoutError, or EOFError where the process is gone."""
        found = bytearray()
        while len(found) < count:
            self._wait([self._source], [], deadline)
            piece = os.read(self._source, min(count - len(found), PIECE))
            if not piece:
                raise EOFError
            found += piece
        return found

    def write(self, data: bytes | memoryview, deadline: float) -> None:
        """All of the bytes. Raises TimeoutError, or EOFError where the process is gone."""
        rest = memoryview(data)
        while rest:
            self._wait([], [self._target], deadline)
            try:
                rest = rest[os.write(self._target, rest[:PIECE]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise EOFError from error

    def last_words(self) -> str:
        """The last line that the process said on standard error, "" for none."""
        with contextlib.suppress(BlockingIOError, OSError):
            while self._drain():
                pass
        lines = self._said.decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def _wait(self, readable: list[int], writable: list[int], deadline: float) -> None:
        """Until one of the pipes is ready."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            log = [self._log] if self._open_log else []
            ready, free, _ = select.select(readable + log, writable, [], left)
            if self._log in ready:
                self._drain()
            if free or any(pipe in ready for pipe in readable):
                return

    def _drain(self) -> bool:
        piece = os.read(self._log, PIECE)
        self._open_log = bool(piece)
        self._said = (self._said + piece)[-LOG:]
        return self._open_log
