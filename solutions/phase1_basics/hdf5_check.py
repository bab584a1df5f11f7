"""HDF5 files are read in a process of their own, since the library that reads them is large.

An HDF5 file may refer to other files (external links, external storage, virtual datasets) and
may claim datasets of any size. A child process (``hdf5_lister.py``) lists what a file holds under
a memory and a time limit; a crash in it is a refusal, not the end of the program.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from solutions.phase1_basics.unsafe_model import UnsafeModelError
from solutions.phase1_basics.zip_archive import ZipArchive
from zoo.errors import InferenceError, MissingExtraError

TIME_LIMIT = 60  # seconds
LISTER = Path(__file__).with_name("hdf5_lister.py")


def check_hdf5(path: Path, archive: ZipArchive | None = None, entry: str = "") -> bytes | None:
    """The Keras description in an HDF5 file (None without one), once every object is harmless.

    With ``archive``, the file is one of its entries.

    Raises UnsafeModelError for a reference to another file or a dataset that explodes,
    InferenceError for a damaged file, MissingExtraError without h5py.
    """
    where = f"model {path}" + (f": {entry!r}" if entry else "")
    if archive is None:
        return _ask_child(path, where)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "weights.h5"
        archive.extract(entry, copy)
        return _ask_child(copy, where)


def _ask_child(path: Path, where: str) -> bytes | None:
    command = [sys.executable, "-I", str(LISTER), str(path.resolve())]
    try:
        child = subprocess.run(command, capture_output=True, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise InferenceError(f"{where}: reading it took more than {TIME_LIMIT} s") from error
    if child.returncode != 0:
        raise InferenceError(f"{where} crashes the HDF5 library: it is damaged")
    answer: dict[str, str | None] = json.loads(child.stdout)
    if answer.get("missing"):
        raise MissingExtraError("h5py", "learn")
    if "unsafe" in answer:
        raise UnsafeModelError(f"{where}: {answer['unsafe']}")
    if "damaged" in answer:
        raise InferenceError(f"{where} is damaged: {answer['damaged']}")
    text = answer.get("config")
    return None if text is None else text.encode()
