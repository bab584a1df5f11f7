"""Reading a file that may lie about itself.

The problem: a header says "the next 2^60 bytes are a name". The idea: every read states what it
wants and is held against the size of the file before a byte is fetched. The file is never read
whole, so that a model of 20 GB costs a check no more memory than one of 20 KB.
"""

import os
import stat
from pathlib import Path
from types import TracebackType

from zoo.errors import InferenceError

WINDOW = 1 << 16  # bytes fetched at a time


class FileBytes:
    """Random access to a regular file, or to bytes in memory, that never leaves its bounds.

    Raises InferenceError where the file is missing, not a regular file (a pipe or a device could
    block or never end), unreadable or empty.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.path = path
        self._descriptor = -1
        self._window, self._start = content or b"", 0
        self.size = len(self._window)
        if content is None:
            self._descriptor, self.size = _open_regular(path)
        if self.size == 0:
            self.close()
            raise InferenceError(f"model {path} is empty (0 bytes): make or download it again")

    def read(self, offset: int, length: int, what: str) -> bytes:
        """``length`` bytes from ``offset``; ``what`` names them where they are not there.

        Raises InferenceError for any byte outside the file.
        """
        self.require(offset, length, what)
        begin = offset - self._start
        if begin < 0 or begin + length > len(self._window):
            if length > WINDOW:
                return self._fetch(offset, length)
            self._window, self._start = self._fetch(offset, WINDOW), offset
            begin = 0
        piece = self._window[begin : begin + length]
        if len(piece) != length:
            raise InferenceError(f"model {self.path}: {what} vanished while it was read")
        return piece

    def require(self, offset: int, length: int, what: str) -> None:
        """Raise InferenceError unless ``length`` bytes from ``offset`` lie in the file."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise InferenceError(
                f"model {self.path} is damaged or cut off: {what} would need bytes {offset} to "
                f"{offset + length}, and the file has {self.size}"
            )

    def read_into(self, offset: int, target: memoryview, what: str) -> None:
        """Fill ``target`` (bytes, writable) from ``offset``: for tensors, without a copy.

        Raises InferenceError for any byte outside the file.
        """
        self.require(offset, len(target), what)
        done = 0
        while done < len(target):  # one call reads 2 GiB at most
            if self._descriptor < 0:
                target[:] = self._window[offset : offset + len(target)]
                return
            count = os.preadv(self._descriptor, [target[done:]], offset + done)
            if count == 0:
                raise InferenceError(f"model {self.path}: {what} vanished while it was read")
            done += count

    def integer(self, offset: int, length: int, what: str, signed: bool = False) -> int:
        """A little-endian integer of ``length`` bytes."""
        return int.from_bytes(self.read(offset, length, what), "little", signed=signed)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "FileBytes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fetch(self, offset: int, length: int) -> bytes:
        if self._descriptor < 0:
            return self._window[offset : offset + length]
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise InferenceError(f"model {self.path}: {error.strerror}") from error


def _open_regular(path: Path) -> tuple[int, int]:
    """Descriptor and size of a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InferenceError(f"model {path}: no such file") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InferenceError(f"model {path} cannot be opened: {reason}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InferenceError(f"model {path} is not a regular file")
    return descriptor, status.st_size
