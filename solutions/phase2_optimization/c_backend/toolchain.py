"""The system's C compiler: finding it, asking what it builds for, building, keeping what was built.

A built library is kept in the cache under a key of everything that it came from: the C file, the
constants, the compiler's version and the processor that it builds for. It is built in a
folder of its own that gets its name only when whole, so that two builds at once, or one that is
interrupted, leave nothing half-done.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zoo.errors import InferenceError
from zoo.registry import cache_folder

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math",
         "-ffp-contract=fast", "-Wno-psabi")
NATIVE = ("-march=native", "-mcpu=native")  # for this processor; which one depends on its kind
OPTIMIZATION = "-O3"
MACROS = ("-dM", "-E", "-x", "c", os.devnull)  # print what is defined
SOURCE, LIBRARY, WEIGHTS = "model.c", "model.so", "weights.bin"


@dataclass(frozen=True)
class Compiler:
    """A C compiler and what it builds for."""

    path: str
    version: str
    native: str  # the option that builds for this processor
    target: str  # the processor's macros, hashed
    lanes: int  # floats of a vector register


def find_compiler(name: str | None = None) -> Compiler:
    """The compiler ``name``, that of ``CC``, or the first of cc, gcc and clang.

    Raises InferenceError where there is none, or it does not answer.
    """
    wanted = name or os.environ.get("CC")
    for candidate in (wanted,) if wanted else COMPILERS:
        path = shutil.which(candidate)
        if path:
            return _asked(path, Path(path).stat().st_mtime_ns)
    raise InferenceError(
        f"no C compiler: {wanted or ', '.join(COMPILERS)} not found on PATH; install gcc or "
        "clang, or name one in CC"
    )


@cache
def _asked(path: str, changed: int) -> Compiler:
    version = _answer([path, "--version"]).splitlines()[0]
    native = next((option for option in NATIVE if _knows(path, option)), NATIVE[0])
    macros = _answer([path, native, *MACROS])
    target = hashlib.sha256("\n".join(sorted(macros.splitlines())).encode()).hexdigest()
    lanes = 16 if "__AVX512F__" in macros else 8 if "__AVX__" in macros else 4
    return Compiler(path, version, native, target, lanes)


def _knows(path: str, option: str) -> bool:
    try:
        return bool(_answer([path, option, *MACROS]))
    except InferenceError:
        return False


def _answer(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InferenceError(f"the C compiler {command[0]} cannot be run: {error}") from error
    if done.returncode or not done.stdout.strip():
        raise InferenceError(f"the C compiler {command[0]} does not work: {_first(done)}")
    return done.stdout


def built(
    source: str, weights: bytes, compiler: Compiler, optimization: str = OPTIMIZATION
) -> Path:
    """The folder with the built library, its source and its constants; from the cache if there.

    Raises InferenceError with the compiler's first complaint where it does not build.
    """
    command = [compiler.path, optimization, compiler.native, *FLAGS]
    folder = cache_folder() / "c_backend"
    kept = folder / _key(source, weights, compiler, command)
    if kept.is_dir():
        return kept
    work: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
        (work / SOURCE).write_text(source)
        (work / WEIGHTS).write_bytes(weights)
        _compile(command, work)
        _give_name(work, kept)
    except OSError as error:
        raise InferenceError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
    return kept


def _key(source: str, weights: bytes, compiler: Compiler, command: list[str]) -> str:
    digest = hashlib.sha256()
    for part in (source.encode(), weights, compiler.version.encode(), compiler.target.encode(),
                 " ".join(command).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:32]


def _give_name(work: Path, kept: Path) -> None:
    """Rename a finished folder; where another build was faster, its library is the same."""
    try:
        work.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise


def _compile(command: list[str], folder: Path) -> None:
    call = [*command, "-o", LIBRARY, SOURCE, "-lm"]
    process = subprocess.Popen(call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    try:
        output, _ = process.communicate()
    except BaseException:  # interrupted: the compiler must not write on
        process.kill()
        process.wait()
        raise
    if process.returncode or not (folder / LIBRARY).is_file():
        done = subprocess.CompletedProcess(call, process.returncode, output, "")
        raise InferenceError(f"{command[0]} does not build the model: {_first(done)}")


def _first(done: "subprocess.CompletedProcess[str]") -> str:
    """The most telling line of a compiler's output."""
    lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()]
    return (telling or lines or [f"exit code {done.returncode}"])[0].strip()
