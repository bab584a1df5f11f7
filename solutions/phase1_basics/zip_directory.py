"""The directory at the end of a zip archive, and how to find it without being led astray.

A reader looks for the end record from the back of the file, so that a second one in a comment, or
bytes after it, would show another archive to another reader. Only the plain case is accepted: the
end record in the last 22 bytes, the directory right in front of it.

Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.12 to 4.3.16.
"""

from typing import NamedTuple

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from zoo.errors import InferenceError

CENTRAL, END = b"PK\x01\x02", b"PK\x05\x06"
END64, LOCATOR64 = b"PK\x06\x06", b"PK\x06\x07"
ENTRY_LIMIT = 200_000
DIRECTORY_LIMIT = 64 << 20  # bytes
UNKNOWN32, UNKNOWN16 = 0xFFFFFFFF, 0xFFFF


class ZipEntry(NamedTuple):
    """One entry as the central directory describes it."""

    name: str
    flags: int
    method: int
    crc: int
    compressed: int  # bytes
    size: int  # bytes after decompression
    header: int  # where the local header stands
    mode: int  # Unix file mode, 0 where unknown


class Directory(NamedTuple):
    """Where the central directory lies and how many entries it counts."""

    start: int
    size: int
    entries: int


def find_directory(file: FileBytes) -> Directory:
    """The central directory, found from the end record in the last 22 bytes of the file.

    Raises InferenceError where there is none (the archive is cut off) or where it does not end at
    the end record; UnsafeModelError for an archive comment, behind which a second end record
    could hide.
    """
    size = file.size
    if size < 22 or file.read(size - 22, 4, "end record") != END:
        tail = file.read(max(0, size - 65557), min(size, 65557), "end record")
        found = tail.rfind(END)
        if 0 <= found <= len(tail) - 22:
            raise UnsafeModelError(f"model {file.path}: bytes or a comment after the archive's end")
        raise InferenceError(f"model {file.path} is a zip archive that is cut off: no directory")
    end = size - 22
    record = file.read(end, 22, "end record")
    disks = record[4:8]
    *counts, span, start, comment = integers(record[8:], 2, 2, 4, 4, 2)
    count = counts[1]
    stop = end
    if UNKNOWN16 in counts or UNKNOWN32 in (span, start) or _has_locator(file, end):
        count, span, start, stop = _directory64(file, end)
    elif counts[0] != counts[1]:
        raise UnsafeModelError(f"model {file.path}: two counts of entries, {counts}")
    if disks != bytes(4) or comment:
        raise UnsafeModelError(f"model {file.path}: an archive in several parts or with a comment")
    if start + span != stop:
        raise UnsafeModelError(
            f"model {file.path}: the archive's directory should end at byte {stop} and claims "
            f"bytes {start} to {start + span}"
        )
    if count > ENTRY_LIMIT or span > DIRECTORY_LIMIT or count * 46 > span:
        raise InferenceError(f"model {file.path}: {count} entries in a directory of {span} bytes")
    return Directory(start, span, count)


def read_directory(file: FileBytes, directory: Directory) -> list[ZipEntry]:
    """The entries that the directory describes, in its order.

    Raises InferenceError where it is damaged, UnsafeModelError where it holds more than it counts.
    """
    raw = file.read(directory.start, directory.size, "zip directory")
    entries, position = [], 0
    for _ in range(directory.entries):
        fixed = raw[position : position + 46]
        if len(fixed) < 46 or fixed[:4] != CENTRAL:
            raise InferenceError(f"model {file.path}: the zip directory is damaged")
        flags, method, _, _, crc, compressed, size, name, extra, comment, disk = integers(
            fixed[8:], 2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 2
        )
        mode, header = integers(fixed[38:], 4, 4)
        stop = position + 46 + name + extra
        text = decode_name(raw[position + 46 : position + 46 + name], flags)
        more = raw[position + 46 + name : stop]
        if UNKNOWN32 in (size, compressed, header):
            size, compressed, header = zip64_values(more, size, compressed, header, text)
        if disk not in (0, UNKNOWN16):
            raise InferenceError(f"model {file.path}: the entry {text!r} lies on another disk")
        entries.append(ZipEntry(text, flags, method, crc, compressed, size, header, mode >> 16))
        position = stop + comment
    if position != directory.size:
        raise UnsafeModelError(f"model {file.path}: the zip directory holds more than it counts")
    return entries


def _directory64(file: FileBytes, end: int) -> tuple[int, int, int, int]:
    """Count, size, start and end of a directory that zip64 describes."""
    locator = file.read(end - 20, 20, "zip64 locator")
    position = int.from_bytes(locator[8:16], "little")
    record = file.read(position, 56, "zip64 end record")
    if locator[:4] != LOCATOR64 or record[:4] != END64 or position + 76 != end:
        raise UnsafeModelError(f"model {file.path}: the zip64 end record is not where it belongs")
    here, count, span, start = integers(record[24:], 8, 8, 8, 8)
    plain = integers(file.read(end + 8, 12, "end record"), 2, 2, 4, 4)
    for small, large, unknown in zip(
        plain, (here, count, span, start), (UNKNOWN16, UNKNOWN16, UNKNOWN32, UNKNOWN32), strict=True
    ):
        if small not in (large, unknown):
            raise UnsafeModelError(f"model {file.path}: zip64 says {large}, the end record {small}")
    return count, span, start, position


def _has_locator(file: FileBytes, end: int) -> bool:
    return end >= 20 and file.read(end - 20, 4, "zip64 locator") == LOCATOR64


def zip64_values(extra: bytes, size: int, compressed: int, header: int, what: str) -> list[int]:
    """Sizes and header position, the unknown ones taken from the zip64 extra field."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = integers(extra[position:], 2, 2)
        body = extra[position + 4 : position + 4 + length]
        position += 4 + length
        if kind != 1:
            continue
        values = [int.from_bytes(body[at : at + 8], "little") for at in range(0, len(body) - 7, 8)]
        known = [size, compressed, header]
        if known.count(UNKNOWN32) <= len(values):
            return [values.pop(0) if each == UNKNOWN32 else each for each in known]
    raise UnsafeModelError(f"zip archive: {what} lacks the sizes that zip64 promises")


def decode_name(name: bytes, flags: int) -> str:
    """A name in the character set that its flags say (bit 11: UTF-8)."""
    return name.decode("utf-8" if flags & 1 << 11 else "cp437", errors="replace")


def integers(raw: bytes, *lengths: int) -> list[int]:
    """Little-endian numbers of the given lengths, one after the other."""
    values, position = [], 0
    for length in lengths:
        values.append(int.from_bytes(raw[position : position + length], "little"))
        position += length
    return values
