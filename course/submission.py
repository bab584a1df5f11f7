"""Taking in a submission: a checkout, a folder of templates, or a zip archive.

Nothing of it is kept but the text of the manifest's template files. They may lie where the course
has them, or anywhere in the submission under their own names.
"""

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from course.manifest import Manifest
from zoo.errors import InferenceError

MOST_FILES = 5000  # looked at
MOST_BYTES = 1 << 20  # of one template
MOST_UNPACKED = 64 << 20  # bytes that all entries of an archive claim
COOKIE = re.compile(rb"((?:[^\n]*\n)?[ \t\f]*#[^\n]*?coding[:=][ \t]*)([-\w.]+)")  # PEP 263
SKIPPED = frozenset([".git", ".venv", "node_modules", "__pycache__", ".course"])


@dataclass(frozen=True)
class Submission:
    """The templates of a submission, by their paths in the course."""

    name: str
    texts: dict[Path, str]
    notes: tuple[str, ...] = field(default=())  # what a grader should know


def read_submission(path: Path, manifest: Manifest) -> Submission:
    """The templates in a submission.

    Raises InferenceError where it is missing, empty, no archive, hostile, or holds no template.
    """
    if not path.exists():
        raise InferenceError(f"submission {path}: there is nothing")
    if path.is_dir():
        found = list(_of_folder(path))
    elif zipfile.is_zipfile(path):
        found = list(_of_archive(path))
    else:
        raise InferenceError(f"submission {path}: neither a folder nor a zip archive")
    texts, notes = _placed(found, manifest)
    if not texts:
        names = ", ".join(sorted(t.name for t in manifest.templates)[:3])
        raise InferenceError(f"submission {path}: there is no template in it ({names}, ...)")
    missing = [t.name for t in manifest.templates if t not in texts and manifest.of_template(t)]
    if missing:
        notes.append(f"not in the submission, graded as untouched: {', '.join(missing)}")
    return Submission(path.name, texts, tuple(notes))


Entry = tuple[PurePosixPath, bytes]


def _of_folder(root: Path) -> Iterator[Entry]:
    """Python files in a folder; links are not followed."""
    count = 0
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        for name in sorted(files):
            count += 1
            if count > MOST_FILES:
                raise InferenceError(f"submission {root}: more than {MOST_FILES} files")
            path = Path(folder) / name
            if not name.endswith(".py"):
                continue
            if not stat.S_ISREG(path.lstat().st_mode):
                raise InferenceError(f"submission {root}: {path.relative_to(root)} is a link")
            try:
                with path.open("rb") as file:
                    data = file.read(MOST_BYTES + 1)
            except OSError as error:
                raise InferenceError(f"submission {root}: {path.relative_to(root)} cannot be read "
                                     f"({error.strerror})") from error
            yield PurePosixPath(path.relative_to(root).as_posix()), data


def _of_archive(path: Path) -> Iterator[Entry]:
    try:
        archive = zipfile.ZipFile(path)
        entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InferenceError(f"submission {path}: a damaged zip archive ({error})") from error
    if len(entries) > MOST_FILES:
        raise InferenceError(f"submission {path}: more than {MOST_FILES} files")
    if sum(entry.file_size for entry in entries) > MOST_UNPACKED:
        raise InferenceError(f"submission {path}: unpacks to more than {MOST_UNPACKED >> 20} MB")
    with archive:
        for entry in entries:
            name = PurePosixPath(entry.filename.replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts:
                raise InferenceError(f"submission {path}: {entry.filename!r} leads out of it")
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise InferenceError(f"submission {path}: {entry.filename!r} is a link")
            if entry.flag_bits & 1:
                raise InferenceError(f"submission {path}: {entry.filename!r} is encrypted")
            if name.suffix != ".py" or entry.is_dir() or SKIPPED & set(name.parts):
                continue
            try:
                with archive.open(entry) as file:
                    yield name, file.read(MOST_BYTES + 1)  # whatever size it claims
            except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, EOFError,
                    RuntimeError, ValueError) as error:
                raise InferenceError(f"submission {path}: {entry.filename!r} cannot be unpacked "
                                     f"({error})") from error


def _placed(found: list[Entry], manifest: Manifest) -> tuple[dict[Path, str], list[str]]:
    """Each template's text: from its own place, else from the only file of its name."""
    texts: dict[Path, str] = {}
    notes: list[str] = []
    for template in manifest.templates:
        wanted = PurePosixPath(template.as_posix())
        here = [e for e in found if e[0].parts[-2:] == wanted.parts] or [
            e for e in found if e[0].name == wanted.name]
        if not here:
            continue
        here.sort(key=lambda entry: (len(entry[0].parts), str(entry[0])))
        name, data = here[0]
        if name != wanted:
            notes.append(f"{template.name} was found as {name}")
        if len(here) > 1:
            notes.append(f"{template.name} is there {len(here)} times: {name} was graded")
        texts[template] = _text(data, template.name, notes)
    return texts, notes


def _text(data: bytes, name: str, notes: list[str]) -> str:
    """The text of a template, whatever editor wrote it; one that is no text fails as a syntax
    error does."""
    if len(data) > MOST_BYTES:
        return f"# {name}: larger than {MOST_BYTES >> 20} MB\nthis file is too large"
    cookie = COOKIE.match(data[:400])
    named = cookie.group(2).decode("ascii") if cookie else "utf-8-sig"
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16" if wide else named, "utf-8-sig"):
        try:
            text = data.decode(encoding)
            break
        except (UnicodeDecodeError, LookupError):
            continue
    else:
        notes.append(f"{name} is not UTF-8: read as Latin-1")
        text = data.decode("latin-1")
    if cookie:  # it is written as UTF-8 from here on
        text = text.replace(cookie.group(2).decode("ascii"), "utf-8", 1)
    return text.replace("\r\n", "\n").replace("\r", "\n")
