"""Things that are often mistaken for a model, and what to do about each."""

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")  # torch.serialization.MAGIC_NUMBER
MAGIC_TEXT = str(0x1950A86A20F9469CFC6C).encode()  # how pickle protocols 0 and 1 write it

SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (0, b"\x89PNG", "a PNG picture, not a model"),
    (0, b"\xff\xd8\xff", "a JPEG picture, not a model"),
    (0, b"GIF8", "a GIF picture, not a model"),
    (8, b"WEBP", "a WebP picture, not a model"),
    (8, b"AVI ", "an AVI video, not a model"),
    (4, b"ftyp", "an MP4 video, not a model"),
    (0, b"\x1aE\xdf\xa3", "a Matroska video, not a model"),
    (0, b"%PDF", "a PDF document, not a model"),
    (0, b"\x1f\x8b", "a gzip file: unpack it first (gunzip)"),
    (0, b"BZh", "a bzip2 file: unpack it first (bunzip2)"),
    (0, b"\xfd7zXZ", "an xz file: unpack it first (unxz)"),
    (0, b"\x28\xb5\x2f\xfd", "a zstandard file: unpack it first (unzstd)"),
    (0, b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (257, b"ustar", "a tar archive (or PyTorch from before 2017): unpack it first"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"\x93NUMPY", "a NumPy array, not a model"),
    (0, b"\x7fELF", "a program or a native library, not a model"),
    (0, b"MZ", "a Windows program, not a model"),
    (4, b"ORTM", "an ONNX Runtime .ort model: load the .onnx that it was made from"),
    (4, b"ET12", "an ExecuTorch program: load the .pt2 that it was made from"),
    (0, b"ggjt", "a GGML file from before GGUF: convert it with llama.cpp"),
    (0, b"lmgg", "a GGML file from before GGUF: convert it with llama.cpp"),
    (0, b"tjgg", "a GGML file from before GGUF: convert it with llama.cpp"),
)
TEXTS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "a web page (an error page saved as a model?): download the file again"),
    (b"<html", "a web page (an error page saved as a model?): download the file again"),
    (b"<?xml", "an XML text, not a model (OpenVINO's .xml is not read here)"),
    (b"<", "a text in a markup language, not a model"),
    (b"{", "a JSON text, not a model"),
    (b"[", "a JSON text, not a model"),
)


def starts_with_magic(start: bytes) -> bool:
    """Whether the first pickle in a file is the number that legacy PyTorch files open with."""
    if start[:1] == b"\x80":
        return MAGIC_NUMBER in start[:32]
    return start[:1] == b"L" and start[1 : 1 + len(MAGIC_TEXT)] == MAGIC_TEXT


def known_file(start: bytes) -> str | None:
    """What a file that is no model is, from its first bytes; None where they say nothing."""
    for offset, signature, what in SIGNATURES:
        if start[offset : offset + len(signature)] == signature:
            return what
    if start[:1] == b"\x80" and 2 <= (start + b"\0")[1] <= 5:
        if len(start) < 32 and MAGIC_NUMBER.startswith(start[4:14]):
            return "a PyTorch file that is cut off within its first bytes"
        return ("a Python pickle that PyTorch did not write, which is a program: "
                "save the weights as safetensors")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for opening, what in TEXTS:
        if text.startswith(opening):
            return what
    if len(start) >= 8 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return f"a text ({start[:40].decode()!r} ...), not a model"
    return None
