"""Bounds for a process that runs a model which is a program.

The problem: TorchScript, SavedModel and Keras files compute what their author wrote. The idea:
before the program starts, its process gives up what computing does not need, and cannot take it
back. Run as ``python worker_sandbox.py BOUNDS COMMAND...``, this file bounds itself, tells in one
message which bounds hold, and becomes COMMAND.

| bound | by | holds where |
|---|---|---|
| no file written | RLIMIT_FSIZE 0, Landlock | POSIX; Linux 5.13 |
| files read: the model and what Python consists of | Landlock | Linux 5.13 |
| no network, no signals to others, 512 threads | ``unshare`` | Linux with user namespaces |
| memory | RLIMIT_DATA | Linux |
| no environment, own session | the parent | everywhere |

Not bounded: processor time (the parent's timeouts are), sockets that lie in the file system.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

if __package__ in (None, ""):  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from solutions.phase1_basics.worker_protocol import pack

SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/proc", "/sys",
          "/dev/urandom", "/dev/zero")
UNSHARE = ("--user", "--map-current-user", "--net", "--ipc", "--pid", "--fork", "--kill-child")
PROCESSES = 512  # and threads, of one worker


@dataclass(frozen=True)
class WorkerBounds:
    """What a worker may use."""

    read: tuple[str, ...]  # files, and folders with all below
    listed: tuple[str, ...]  # folders of which names may be seen: Python looks for modules there
    data: int  # bytes of memory that it may write to
    outside: str  # the parent's network, see ``network_namespace``


def sandboxed(command: list[str], bounds: WorkerBounds) -> list[str]:
    """The command that runs ``command`` within the bounds, as far as this machine enforces them."""
    here = str(Path(__file__).resolve())
    inner = [sys.executable, "-s", here, json.dumps(asdict(bounds)), *command]
    return [*namespaces(), *inner]


@cache
def namespaces() -> tuple[str, ...]:
    """The prefix that takes a command off the network, or nothing where that is not possible."""
    program = shutil.which("unshare")
    if program is None:
        return ()
    prefix = (program, *UNSHARE)
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return prefix if done.returncode == 0 else ()


def limit_files(read: tuple[str, ...], listed: tuple[str, ...]) -> str:
    """Let this process read below some paths alone and write nowhere; says what holds."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        from landlock import FSAccess, Ruleset
    except ImportError:
        return "files: no bytes written (landlock is not installed: reading is not bounded)"
    file_access = FSAccess.READ_FILE | FSAccess.EXECUTE
    try:
        rules = Ruleset()
        for path in filter(os.path.exists, (*read, *SYSTEM)):
            folder = os.path.isdir(path)  # noqa: PTH112
            rules.allow(path, rules=file_access | FSAccess.READ_DIR if folder else file_access)
        rules.allow(*listed, rules=FSAccess.READ_DIR)
        rules.allow("/dev/null", rules=file_access | FSAccess.WRITE_FILE)
        rules.apply()
    except OSError as error:
        return f"files: no bytes written (Landlock: {error.strerror}: reading is not bounded)"
    return "files: reads the model and Python alone, writes nothing (Landlock)"


def limit_memory(data: int) -> str:
    """Bound the memory that this process may write to; says what holds."""
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    except (OSError, ValueError) as error:
        return f"memory: not bounded ({error})"
    return f"memory: {data / (1 << 30):.1f} GiB"


def network_namespace() -> str:
    """The identity of the network that this process sees, "" where it is not known."""
    try:
        return os.readlink("/proc/self/ns/net")  # noqa: PTH115
    except OSError:
        return ""


def limit_processes(outside: str) -> list[str]:
    """What the namespaces hold, asked from inside; and so many processes, counted in there alone.

    A network namespace that nobody set up has nothing but a loopback that is down.
    """
    if network_namespace() in ("", outside):
        return ["network: not bounded (no user namespaces here)"]
    resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    return [f"network: none; no view of other processes; at most {PROCESSES} threads (namespaces)"]


def main() -> None:
    """Bound this process, say so, become the command."""
    bounds = WorkerBounds(**json.loads(sys.argv[1]))
    held = limit_processes(bounds.outside)
    held += [limit_memory(bounds.data), limit_files(bounds.read, bounds.listed)]
    for piece in pack({"bounds": held}):
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
