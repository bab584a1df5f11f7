"""The judge's side of a run: starts the child, reads its frames, and believes nothing.

The child gets a wall clock, a bound on what it prints and on what it sends; when one is passed,
its whole process group is killed. ``launch`` starts it: plainly on a learner's own machine, in a
sandbox where the answer is not trusted.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course.plain_data import MAX_BYTES, NotPlainError, decode

Child = subprocess.Popen[bytes]
Launch = Callable[[Sequence[str], Path, Mapping[str, str], Sequence[int]], Child]
START_LIMIT = 30.0  # seconds for the import of the answer
MOST_PRINTED = 1 << 20  # bytes
KEPT = 4096  # bytes of it for the message
MOST_TEXT, MOST_LINES = 2000, 8  # of what a fault says
KINDS = frozenset(["ready", "bounds", "result", "exception", "import", "mutation", "not plain"])


@dataclass(frozen=True)
class Job:
    """What a child is asked to run."""

    exercise: str
    module: str  # phase1_basics.template_preprocessing
    template: Path
    scenarios: Path
    checks: tuple[tuple[str, int], ...]  # name of a check and seed
    paths: tuple[Path, ...]  # for imports, in order
    scratch: Path  # working folder
    limits: Mapping[str, float] = field(default_factory=dict)  # seconds per seed of a check
    paced: bool = False  # for timing: a check begins when its outcome is asked for, and in between
    # the child stands still


@dataclass(frozen=True)
class Outcome:
    """What came of one check and seed; ``kind`` is result, exception, import, mutation, not plain,
    hang, died or output."""

    kind: str
    value: Any = None
    fault: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    printed: str = ""


def plain_launch(
    argv: Sequence[str], scratch: Path, env: Mapping[str, str], fds: Sequence[int]
) -> Child:
    """A process group of its own, nothing more: for the learner's own code."""
    return subprocess.Popen(
        argv, cwd=scratch, env=dict(env), pass_fds=tuple(fds), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )


class Runner:
    """Runs jobs, each in a child of its own."""

    expects_bounds = False

    def __init__(self, launch: Launch = plain_launch, python: str = sys.executable) -> None:
        self._launch, self._python = launch, python

    def run(self, job: Job) -> Iterator[Outcome]:
        """One outcome for each check, in order; ends early where the child does.

        Closing the iterator ends the child.
        """
        ours, theirs = os.pipe()
        go, start = os.pipe() if job.paced else (None, None)
        text = json.dumps({
            "exercise": job.exercise, "module": job.module, "template": str(job.template),
            "scenarios": str(job.scenarios),
            "checks": [[name, 0 if job.paced else seed] for name, seed in job.checks],
            "paths": [str(path) for path in job.paths], "channel": theirs, "go": go,
        })
        argv = [self._python, "-B", "-s", "-m", "course.runner_side", text]
        try:
            child = self._launch(argv, job.scratch, self._environment(job),
                                 [theirs] if go is None else [theirs, go])
        finally:
            os.close(theirs)
            if go is not None:
                os.close(go)
        talk = _Listener(child)
        channel = _Channel(ours, child, talk)
        try:
            yield from self._outcomes(job, channel, start)
        finally:
            kill_group(child)
            os.close(ours)
            if start is not None:
                os.close(start)
            talk.join()

    def note_bounds(self, held: list[str]) -> None:
        """Hear which bounds hold; a plain run has none to speak of."""

    def _outcomes(self, job: Job, channel: "_Channel", start: int | None) -> Iterator[Outcome]:
        ready = channel.receive(START_LIMIT)
        if self.expects_bounds:  # a sandbox says what holds, before foreign code runs
            if ready.kind != "bounds":
                raise RuntimeError(f"the sandbox did not start ({ready.kind}): {channel.talk.text}")
            self.note_bounds(ready.value)
            ready = channel.receive(START_LIMIT)
        if ready.kind != "ready":
            yield ready
            return
        for name, seed in job.checks:
            if start is not None:  # no seed is known before its turn
                signal_group(channel.child, signal.SIGCONT)
                with contextlib.suppress(BrokenPipeError):
                    os.write(start, seed.to_bytes(8, "little"))
            outcome = channel.receive(job.limits.get(name, 10.0))
            if start is not None:  # no thread of the answer slows the reference down
                signal_group(channel.child, signal.SIGSTOP)
            yield outcome
            if outcome.kind in ("hang", "died", "output", "garbage"):
                return

    def _environment(self, job: Job) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV",
                "LD_LIBRARY_PATH", "ZOO_CACHE", "ZOO_MIRROR")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        paths = os.pathsep.join(str(path) for path in job.paths)
        return env | threads | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1",
                                "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}


def checked_frame(frame: Any) -> tuple[str, Any, dict[str, Any]]:
    """Kind, value and fault of a frame that anybody may have written.

    Raises NotPlainError unless each part is of the type that the judge will take it for.
    """
    kind = frame.get("kind") if type(frame) is dict else None
    if type(kind) is not str or kind not in KINDS:
        raise NotPlainError("a frame of no known kind")
    fault: dict[str, Any] = {}
    for name in ("message", "error", "call", "returned", "returned_type"):
        if name in frame:
            if type(frame[name]) is not str:
                raise NotPlainError(f"a frame whose {name} is no text")
            fault[name] = clean(frame[name])[:MOST_TEXT]
    if "lines" in frame:
        lines = frame["lines"]
        if type(lines) is not list or not all(type(line) is str for line in lines):
            raise NotPlainError("a frame whose lines are no texts")
        fault["lines"] = [clean(line)[:MOST_TEXT] for line in lines[:MOST_LINES]]
    if "own" in frame:
        fault["own"] = frame["own"] is True
    if kind in ("exception", "import") and not {"error", "message"} <= fault.keys():
        raise NotPlainError("a frame that does not say what was raised")
    if ("call" in fault) != ("returned" in fault):
        raise NotPlainError("a frame of a call without what it returned")
    value = frame.get("value")
    if kind == "bounds" and not (
            type(value) is list and all(type(line) is str for line in value)):
        raise NotPlainError("a frame whose bounds are no texts")
    return kind, value, fault


def clean(text: str) -> str:
    """Text that can be written as UTF-8: half a surrogate pair cannot."""
    return text.encode("utf-8", "replace").decode()


class _Listener(threading.Thread):
    """Reads what the child prints, keeps the end of it, and kills a child that prints too much."""

    def __init__(self, child: Child) -> None:
        super().__init__(daemon=True)
        self.child, self.kept, self.count = child, b"", 0
        self.start()

    def run(self) -> None:
        assert self.child.stdout is not None
        fd = self.child.stdout.fileno()
        while data := _read(fd, 1 << 16):
            self.count += len(data)
            self.kept = (self.kept + data)[-KEPT:]
            if self.too_much:
                kill_group(self.child)
                return

    @property
    def too_much(self) -> bool:
        return self.count > MOST_PRINTED

    @property
    def text(self) -> str:
        return self.kept.decode("utf-8", "replace")

    def join(self, timeout: float | None = 1.0) -> None:
        super().join(timeout)
        if self.child.stdout is not None and not self.is_alive():
            self.child.stdout.close()


class _Channel:
    """Frames from the child."""

    def __init__(self, fd: int, child: Child, talk: _Listener) -> None:
        self.fd, self.child, self.talk = fd, child, talk

    def receive(self, limit: float) -> Outcome:
        start = time.perf_counter()
        deadline = start + limit
        head = self._exactly(4, deadline)
        length = int.from_bytes(head, "little") if isinstance(head, bytes) else 0
        body = self._exactly(length, deadline) if length <= MAX_BYTES + 4 else "garbage"
        spent = time.perf_counter() - start
        problem = head if isinstance(head, str) else body if isinstance(body, str) else ""
        if problem:
            if problem == "died" and self.talk.too_much:
                problem = "output"
            return Outcome(problem, fault=self._end(problem), seconds=spent, printed=self.talk.text)
        assert isinstance(body, bytes)
        try:
            frame = decode(body)
            kind, value, fault = checked_frame(frame)
        except (NotPlainError, AttributeError, KeyError, TypeError) as error:
            return Outcome("garbage", fault={"message": clean(str(error))}, seconds=spent)
        return Outcome(kind, value, fault, spent, self.talk.text)

    def _exactly(self, count: int, deadline: float) -> bytes | str:
        data = bytearray()
        while len(data) < count:
            left = deadline - time.perf_counter()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                return "hang"
            part = _read(self.fd, min(count - len(data), 1 << 20))
            if not part:
                return "died"
            data += part
        return bytes(data)

    def _end(self, problem: str) -> dict[str, Any]:
        """How a child ended that ended too soon."""
        if problem != "died":
            return {}
        try:
            code = self.child.wait(2.0)
        except subprocess.TimeoutExpired:
            return {"message": "it closed its pipe"}
        if code < 0:
            return {"message": f"it was ended by {signal.Signals(-code).name}", "signal": -code}
        return {"message": f"it ended the process with status {code}"}


def _read(fd: int, count: int) -> bytes:
    try:
        return os.read(fd, count)
    except OSError:
        return b""


def signal_group(child: Child, number: signal.Signals) -> bool:
    """Signal a child and everything in its group; False where there is no such group."""
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_group(child: Child) -> None:
    """End a child and everything that it started in its group."""
    if not signal_group(child, signal.SIGKILL):
        child.kill()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:  # not to be waited for in its last sleep
        return
