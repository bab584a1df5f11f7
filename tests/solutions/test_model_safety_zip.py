"""Zip archives that two readers read differently, that explode, or that reach out."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hostile_models import Entry, zip_bytes

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.model_safety import UnsafeModelError
from solutions.phase1_basics.zip_archive import ZipArchive
from zoo.errors import InferenceError

PLAIN = Entry("m/data.pkl", b"abc")


def _open(content: bytes) -> ZipArchive:
    return ZipArchive(FileBytes(Path("model.pt"), content))


@pytest.mark.parametrize(("entries", "message"), [
    ([Entry("m/a", b"1"), Entry("m/a", b"2")], "appears twice"),
    ([Entry("m/data.pkl", b"1"), Entry("m/DATA.PKL", b"2")], "appears twice"),
    ([Entry("../evil", b"1")], "leaves"), ([Entry("m/../../evil", b"1")], "leaves"),
    ([Entry("/etc/passwd", b"1")], "leaves"), ([Entry("C:/evil", b"1")], "leaves"),
    ([Entry("m\\..\\evil", b"1")], "leaves"), ([Entry("m/a\0b", b"1")], "leaves"),
    ([Entry("", b"1")], "leaves"),
    ([Entry("m/link", b"/etc/passwd", mode=0o120777)], "link"),
    ([Entry("m/device", b"", mode=0o020666)], "link or a device"),
    ([Entry("m/secret", b"1", flags=1)], "encrypted"),
    ([Entry("m/masked", b"1", flags=1 << 13)], "encrypted"),
    ([Entry("m/a", b"abc", local={"name": b"m/b"})], "described differently"),
    ([Entry("m/a", b"abc", local={"size": 2, "compressed": 2})], "described differently"),
    ([Entry("m/a", b"abc", local={"crc": 5})], "described differently"),
    ([Entry("m/a", b"abc", local={"method": 8})], "described differently"),
    ([Entry("m/a", b"abc", central={"size": 9})], "stored with"),
    ([Entry("m/a", b"abc", central={"size": 90, "compressed": 90},
            local={"size": 90, "compressed": 90})], "reaches into"),
    ([Entry("m/a", b"abc"), Entry("m/b", b"d", central={"header": 0})], "overlap"),
    ([Entry("m/a", bytes(99 << 20), method=8)], "zip bomb"),
    ([PLAIN, Entry("m/b", b"x", central={"size": 0xFFFFFFFF})], "zip64 promises"),
])
def test_lying_archives_are_refused(entries: Iterable[Entry], message: str) -> None:
    with pytest.raises(UnsafeModelError, match=message):
        _open(zip_bytes(entries))


@pytest.mark.parametrize("content", [
    zip_bytes([PLAIN], comment=b"hidden"), zip_bytes([PLAIN], tail=b"tail"),
    b"MZ" + zip_bytes([PLAIN]), zip_bytes([PLAIN], end={"count": 0}),
    zip_bytes([PLAIN], end={"size": 10}), zip_bytes([PLAIN]) + zip_bytes([PLAIN]),
    zip_bytes([PLAIN], end={"start": 0xFFFFFFFF}),
])
def test_archives_with_two_ends_are_refused(content: bytes) -> None:
    with pytest.raises(InferenceError):
        _open(content)


def test_a_bomb_behind_a_small_claim_stops_at_the_claim() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = packer.compress(bytes(50 << 20)) + packer.flush()
    truth = {"size": 10, "compressed": len(raw), "method": 8}
    archive = _open(zip_bytes([Entry("m/a", raw, central=truth, local=truth)]))
    with pytest.raises(UnsafeModelError, match="more than the 10 bytes"):
        archive.read("m/a")


def test_overlapping_bomb_in_the_manner_of_fifield() -> None:
    """One kernel of zeros, quoted by many entries: 2019, "A better zip bomb"."""
    entries = [Entry("m/0", bytes(1 << 20), method=8)]
    quotes = {"header": 0}
    entries += [Entry(f"m/{n}", bytes(1 << 20), method=8, central=quotes) for n in range(1, 9)]
    with pytest.raises(UnsafeModelError, match="overlap"):
        _open(zip_bytes(entries))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_contents_as_the_standard_library_reads_them(method: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    contents = {"m/a.txt": b"text" * 100, "m/b/é.bin": bytes(range(256)), "m/empty": b""}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        with archive.open("m/streamed", "w", force_zip64=True) as stream:
            stream.write(b"z" * 1000)
    with FileBytes(path) as file:
        ours = ZipArchive(file)
        with zipfile.ZipFile(path) as oracle:
            assert list(ours.entries) == oracle.namelist()
            for name in ours.entries:
                assert ours.read(name) == oracle.read(name)
                ours.extract(name, tmp_path / "copy")
                assert (tmp_path / "copy").read_bytes() == oracle.read(name)
                (tmp_path / "copy").unlink()


def test_a_flipped_byte_in_the_content_is_damage() -> None:
    content = zip_bytes([Entry("m/a", b"abcdef")]).replace(b"abcdef", b"abcdeF")
    with pytest.raises(InferenceError, match="checksum"):
        _open(content).read("m/a")


def test_cut_off_anywhere() -> None:
    whole = zip_bytes([Entry("m/a", b"abc"), Entry("m/b", b"d" * 30, method=8)])
    _open(whole)
    for length in range(1, len(whole)):
        with pytest.raises(InferenceError):
            _open(whole[:length])
