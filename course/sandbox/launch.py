"""Starts a child in namespaces of its own, as far as this machine has them."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

INSIDE = Path(__file__).with_name("inside.py")
UNSHARE = ("--user", "--map-current-user", "--net", "--ipc", "--uts", "--pid", "--fork",
           "--kill-child", "--mount", "--mount-proc")


@dataclass(frozen=True)
class Bounds:
    """What one exercise of a submission may use."""

    memory: int = 2 << 30  # bytes of address space
    cpu: int = 60  # seconds


@cache
def namespaces() -> tuple[str, ...]:
    """The prefix that gives a command namespaces of its own; nothing where that is refused."""
    program = shutil.which("unshare")
    if program is None:
        return ()
    for options in (UNSHARE, UNSHARE[:-1]):  # a private /proc is refused in some containers
        try:
            done = subprocess.run([program, *options, "true"], capture_output=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return ()
        if done.returncode == 0:
            return (program, *options)
    return ()


def python_folders() -> list[str]:
    """What Python itself must read: its standard library and the installed packages."""
    paths = sysconfig.get_paths()
    found = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [sys.executable, os.path.realpath(sys.executable), sys.base_prefix + "/lib",
              sys.prefix + "/pyvenv.cfg"]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Sandbox:
    """Launches children within bounds; ``tree`` is all of the course that they see."""

    tree: Path
    read: tuple[Path, ...] = ()  # beside it
    bounds: Bounds = Bounds()
    secret: Path = Path("/")  # what must not be readable: where the reference lies

    def launch(self, argv: Sequence[str], scratch: Path, env: Mapping[str, str],
               fds: Sequence[int]) -> subprocess.Popen[bytes]:
        """As :func:`course.runner.plain_launch`, but bounded; ``argv`` ends with the job."""
        job = argv[-1]
        bounds = {
            "memory": self.bounds.memory, "cpu": self.bounds.cpu, "tree": str(self.tree),
            "read": [str(self.tree), *map(str, self.read), *python_folders()],
            "channel": fds[0], "job": job, "outside": _network(), "secret": str(self.secret),
        }
        kept = {name: env[name] for name in ("PATH", "LANG", "LC_ALL") if name in env}
        clean = kept | {
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent",
        }
        command = [*namespaces(), argv[0], "-B", "-s", str(INSIDE), json.dumps(bounds)]
        return subprocess.Popen(
            command, cwd=scratch, env=clean, pass_fds=tuple(fds), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )


def _network() -> str:
    try:
        return os.readlink("/proc/self/ns/net")  # noqa: PTH115
    except OSError:
        return ""
