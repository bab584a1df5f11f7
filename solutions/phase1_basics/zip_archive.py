"""A zip archive that is believed only where its two descriptions of an entry agree.

The problem: a zip file names each entry twice, before its data (local header) and in a directory
at the end (central directory), and a reader is free to believe either. Files that lie do so
there: an entry that one reader sees and a scanner does not, two entries on the same bytes, sizes
that explode. The idea: accept only what every reader reads alike::

    | local | data 1 | local | data 2 | ... | central directory | [zip64] | end record |
    ^ 0                                     ^ offset, size from the end record       ^ file end

Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.6 to 4.5.3.
"""

import zlib
from pathlib import Path

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from solutions.phase1_basics.zip_directory import (
    UNKNOWN32,
    ZipEntry,
    decode_name,
    find_directory,
    integers,
    read_directory,
    zip64_values,
)
from zoo.errors import InferenceError

LOCAL = b"PK\x03\x04"
STORED, DEFLATED = 0, 8
RATIO_LIMIT, EXPANDED_LIMIT = 100, 64 << 20  # an archive that grows past both is a bomb
READ_LIMIT = 256 << 20  # bytes of one entry taken into memory
PIECE = 1 << 20  # bytes at a time


class ZipArchive:
    """The entries of a zip archive, after every check that needs no decompression.

    Raises InferenceError for a damaged archive, UnsafeModelError for entries that overlap, are
    encrypted, appear twice, leave the archive's folder, are links, explode or differ between
    their two headers.
    """

    def __init__(self, file: FileBytes) -> None:
        self.file = file
        directory = find_directory(file)
        self.entries: dict[str, ZipEntry] = {}
        folded: dict[str, str] = {}
        for entry in read_directory(file, directory):
            check_name(entry, file.path)
            check_kind(entry, file.path)
            twin = folded.setdefault(entry.name.casefold(), entry.name)
            if entry.name in self.entries or twin != entry.name:
                raise UnsafeModelError(f"model {file.path}: the entry {entry.name!r} appears twice")
            self.entries[entry.name] = entry
        self._data = check_layout(file, list(self.entries.values()), directory.start)
        check_growth(list(self.entries.values()), file)

    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        """One entry's bytes, decompressed within ``limit``, its CRC-32 checked.

        Raises InferenceError where the entry is missing, damaged or larger than ``limit``.
        """
        entry, where = self.entries.get(name), f"model {self.file.path}: the entry {name!r}"
        if entry is None:
            raise InferenceError(f"{where} is missing")
        if max(entry.size, entry.compressed) > limit:
            raise InferenceError(f"{where} has {entry.size} bytes, more than the {limit} allowed")
        raw = self.file.read(self._data[name], entry.compressed, f"entry {name!r}")
        content = raw if entry.method == STORED else _inflate(raw, entry.size, where)
        if len(content) != entry.size or zlib.crc32(content) != entry.crc:
            raise InferenceError(f"{where} is damaged: its checksum does not match")
        return content


    def read_start(self, name: str, length: int) -> bytes:
        """The first ``length`` bytes of a stored entry, or fewer; all of a small deflated one."""
        entry = self.entries[name]
        if entry.method != STORED:
            return self.read(name)[:length]
        return self.file.read(self._data[name], min(length, entry.size), f"entry {name!r}")

    def extract(self, name: str, target: Path) -> None:
        """One entry's bytes into a new file, in pieces, so that its size does not matter.

        Raises InferenceError where the entry is damaged; the archive's growth was checked.
        """
        entry, where = self.entries[name], f"model {self.file.path}: the entry {name!r}"
        decoder = zlib.decompressobj(-15) if entry.method == DEFLATED else None
        checksum = written = 0
        with target.open("xb") as output:
            for offset in range(0, entry.compressed, PIECE):
                length = min(PIECE, entry.compressed - offset)
                raw = self.file.read(self._data[name] + offset, length, f"entry {name!r}")
                piece = raw if decoder is None else _inflate_piece(decoder, raw, entry.size, where)
                checksum, written = zlib.crc32(piece, checksum), written + len(piece)
                if written > entry.size:
                    break
                output.write(piece)
        if (written, checksum) != (entry.size, entry.crc):
            raise InferenceError(f"{where} is damaged: its checksum does not match")


def check_name(entry: ZipEntry, path: Path) -> None:
    """Raise UnsafeModelError where an entry's name leaves the folder it is unpacked into."""
    name = entry.name
    parts = name.rstrip("/").split("/")
    bad = any(ord(letter) < 32 for letter in name) or "\\" in name or ":" in parts[0]
    if bad or not name or name.startswith("/") or ".." in parts:
        raise UnsafeModelError(f"model {path}: the entry {name!r} leaves the archive's folder")


def check_kind(entry: ZipEntry, path: Path) -> None:
    """Raise UnsafeModelError for an encrypted entry, a link or a device, an unknown method."""
    where = f"model {path}: the entry {entry.name!r}"
    if entry.flags & (1 | 1 << 6 | 1 << 13):
        raise UnsafeModelError(f"{where} is encrypted")
    kind = entry.mode & 0o170000
    if kind not in (0, 0o100000, 0o040000):
        raise UnsafeModelError(f"{where} is a link or a device (mode {entry.mode:o})")
    if entry.method not in (STORED, DEFLATED):
        raise InferenceError(f"{where} is compressed by method {entry.method}, not by deflate")
    if entry.method == STORED and entry.size != entry.compressed:
        raise UnsafeModelError(f"{where} is stored with {entry.compressed} for {entry.size} bytes")


def check_layout(file: FileBytes, entries: list[ZipEntry], end: int) -> dict[str, int]:
    """Where each entry's data starts, once no two entries share a byte.

    Raises UnsafeModelError for an overlap and for a local header that tells another story than
    the directory.
    """
    starts: dict[str, int] = {}
    reached, before = 0, "the start"
    for entry in sorted(entries, key=lambda each: each.header):
        if entry.header < reached:
            raise UnsafeModelError(
                f"model {file.path}: the entries {before!r} and {entry.name!r} overlap"
            )
        starts[entry.name] = _data_start(file, entry)
        reached, before = starts[entry.name] + entry.compressed, entry.name
        if reached > end:
            raise UnsafeModelError(
                f"model {file.path}: the entry {entry.name!r} reaches into the directory"
            )
    return starts


def check_growth(entries: list[ZipEntry], file: FileBytes) -> None:
    """Raise UnsafeModelError where the archive expands far beyond its own size (a zip bomb)."""
    total = sum(entry.size for entry in entries)
    if total > max(EXPANDED_LIMIT, RATIO_LIMIT * file.size):
        raise UnsafeModelError(
            f"model {file.path} is a zip bomb: {file.size} bytes would become {total}"
        )


def _data_start(file: FileBytes, entry: ZipEntry) -> int:
    what = f"local header of {entry.name!r}"
    header = file.read(entry.header, 30, what)
    _, flags, method, _, _, crc, compressed, size, name, extra = integers(
        header[4:], 2, 2, 2, 2, 2, 4, 4, 4, 2, 2
    )
    raw = file.read(entry.header + 30, name + extra, what)
    deferred = bool(flags & 8)  # sizes follow the data: the header may hold zeros
    if UNKNOWN32 in (size, compressed):
        size, compressed, _ = zip64_values(raw[name:], size, compressed, 0, what)
    same = (
        header[:4] == LOCAL and decode_name(raw[:name], flags) == entry.name
        and flags == entry.flags
        and method == entry.method and (
            (crc, compressed, size) == (entry.crc, entry.compressed, entry.size)
            or (deferred and crc in (0, entry.crc) and size in (0, entry.size)
                and compressed in (0, entry.compressed))
        )
    )
    if not same:
        raise UnsafeModelError(
            f"model {file.path}: the entry {entry.name!r} is described differently in its local "
            f"header at byte {entry.header} and in the directory"
        )
    return entry.header + 30 + name + extra


def _inflate(raw: bytes, size: int, where: str) -> bytes:
    content = _inflate_piece(zlib.decompressobj(-15), raw, size, where)
    if len(content) > size:
        raise UnsafeModelError(f"{where} holds more than the {size} bytes that it claims")
    return content


def _inflate_piece(decoder: "zlib._Decompress", raw: bytes, size: int, where: str) -> bytes:
    try:
        return decoder.decompress(raw, size + 1)
    except zlib.error as error:
        raise InferenceError(f"{where} is damaged: {error}") from error
