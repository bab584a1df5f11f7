"""Run inside the new process: gives up what an answer does not need, then runs its checks.

    python inside.py BOUNDS

First a frame with what holds goes into the channel, before any foreign code runs; the answer could
only say it again. Nothing that is given up here can be taken back by this process.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom",
          "/dev/zero", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat",
          "/sys/devices/system/cpu")
FORBIDDEN = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime",
    "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat",
    "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "capset",
    "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd",
    "socket", "bind", "connect", "unshare", "setns", "mount", "umount2", "chroot",
    "pivot_root", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key",
    "io_uring_setup", "kexec_load", "init_module", "finit_module", "reboot", "swapon", "setuid",
    "setgid", "setreuid", "setresuid", "open_by_handle_at", "name_to_handle_at", "shmget", "shmat",
    "msgget", "semget", "inotify_init", "inotify_init1", "fanotify_init", "execve", "execveat",
)
CLONE_THREAD = 0x00010000
ENOSYS, EPERM = 38, 1


def limit_resources(bounds: dict[str, Any]) -> list[str]:
    """rlimits: they hold everywhere, root included."""
    memory, cpu = int(bounds["memory"]), int(bounds["cpu"])
    for kind, limit in (
        (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 256), (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 2))  # a word of warning, then the end

    def tell(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {cpu} s of processor time")

    signal.signal(signal.SIGXCPU, tell)
    return [f"memory: {memory >> 20} MiB (RLIMIT_AS)", f"processor: {cpu} s (RLIMIT_CPU)",
            "disk: not a byte is written (RLIMIT_FSIZE)"]


def limit_files(read: list[str], secret: str) -> str:
    """Landlock: only the scratch tree, the given packages and Python can be read."""
    above = [path for path in (*read, *SYSTEM) if f"{secret}/".startswith(f"{path}/")]
    try:
        from landlock import FSAccess, Ruleset
    except ImportError:
        return "files: NOT bounded, the package landlock is missing"
    look = FSAccess.READ_FILE | FSAccess.EXECUTE
    try:
        rules = Ruleset()
        for path in filter(os.path.exists, (*read, *SYSTEM)):
            folder = os.path.isdir(path)  # noqa: PTH112
            rules.allow(path, rules=look | FSAccess.READ_DIR if folder else look)
        rules.allow("/dev/null", rules=look | FSAccess.WRITE_FILE)
        rules.apply()
    except OSError as error:
        return f"files: NOT bounded, Landlock: {error.strerror}"
    if above:
        return f"files: the course lies below {above[0]}, which must be read: NOT hidden"
    return "files: reads its own tree and Python, writes nothing (Landlock)"


def limit_calls() -> str:
    """seccomp: no further process, no socket, no look into another process."""
    try:
        import pyseccomp as seccomp
    except (ImportError, RuntimeError):
        return "processes: NOT bounded, pyseccomp or libseccomp is missing"
    try:
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        for name in FORBIDDEN:
            try:
                rules.add_rule(seccomp.ERRNO(EPERM), name)
            except (ValueError, RuntimeError, OSError):  # a call that this processor does not have
                continue
        rules.add_rule(seccomp.ERRNO(EPERM), "clone",
                       seccomp.Arg(0, seccomp.MASKED_EQ, CLONE_THREAD, 0))
        rules.add_rule(seccomp.ERRNO(ENOSYS), "clone3")  # libraries then use clone
        rules.load()
    except (OSError, RuntimeError, ValueError) as error:
        return f"processes: NOT bounded, seccomp: {error}"
    return "processes: none but itself; no sockets (seccomp)"


def limit_network(outside: str) -> str:
    """The namespaces that the launcher asked for, seen from inside."""
    try:
        here = os.readlink("/proc/self/ns/net")  # noqa: PTH115
    except OSError:
        here = outside
    if here == outside:
        return "network: NOT bounded by a namespace"
    return "network: none; no view of other processes (namespaces)"


def main() -> None:
    """Bound this process, say so, run the job."""
    bounds = json.loads(sys.argv[1])
    held = [limit_network(bounds["outside"]), *limit_resources(bounds)]
    held += [limit_files(bounds["read"], bounds["secret"]), limit_calls()]
    sys.path.insert(0, bounds["tree"])
    from course.plain_data import encode

    data = encode({"kind": "bounds", "value": held})
    os.write(bounds["channel"], len(data).to_bytes(4, "little") + data)
    os.chdir(bounds["tree"])
    sys.argv = [str(Path(bounds["tree"]) / "course/runner_side.py"), bounds["job"]]
    from course.runner_side import main as run

    run(bounds["job"])


if __name__ == "__main__":
    main()
