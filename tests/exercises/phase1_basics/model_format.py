"""Checks of 1.1: formats by content."""

from course.scenario import scenario

MAGIC = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
STARTS = {
    "tflite": b"\x1c\0\0\0TFL3", "zip inside tflite": b"PK\x03\x04TFL3", "gguf": b"GGUF\x03\0\0\0",
    "tensorrt": b"ftrt\0\0\0\0", "old tensorrt": b"ptrt\0\0\0\0",
    "hdf5": b"\x89HDF\r\n\x1a\n\0\0", "legacy pickle": b"\x80\x02\x8a\n" + MAGIC + b".",
    "legacy pickle, text": b"L119547037146038801333356L\n.",
    "zip": b"PK\x03\x04\x14\0\0\0", "nothing": b"", "one byte": b"G", "text": b"GGU",
    "HDF": b"\x89HDF",
    "onnx": b"\x08\x08\x12\x07pytorch", "other pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0",
}
ARCHIVES = {
    "pytorch": ["archive/data.pkl", "archive/data/0", "archive/version"],
    "pytorch of any name": ["resnet/data.pkl", "resnet/data/0"],
    "torchscript": ["m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"],
    "torchscript without constants": ["m/data.pkl", "code/x.py"],
    "code in the folder alone": ["m/data.pkl", "m/code/__torch__.py"],
    "export": ["net/archive_format", "net/models/model.json", "net/data/weights/w0"],
    "export with pickles": ["net/models/model.json", "net/data.pkl", "net/constants.pkl"],
    "old export": ["serialized_exported_program.json", "version"],
    "old export in a folder": ["p/serialized_exported_program.json"],
    "keras": ["metadata.json", "config.json", "model.weights.h5"],
    "keras without weights": ["metadata.json", "config.json"],
    "keras without metadata": ["config.json", "model.weights.h5"],
    "config alone": ["config.json"], "weights alone": ["model.weights.h5"],
    "arrays": ["a.npy", "b.npy"], "nothing": [], "data.pkl at the top": ["data.pkl"],
}


@scenario("1.1", seeds=2)
def first_bytes(impl, rng):
    """The first bytes of files of every format, of none, and of files that are too short."""
    tail = rng.integers(0, 256, int(rng.integers(0, 40)), dtype="uint8").tobytes()
    return {name: impl.signature_format(start + (tail if start else b""))
            for name, start in STARTS.items() if name not in ("text", "HDF", "one byte")} | {
            name: impl.signature_format(STARTS[name]) for name in ("text", "HDF", "one byte")}


@scenario("1.1", seeds=2)
def safetensors_headers(impl, rng):
    """Headers of safetensors: of usual, impossible and absurd lengths, and without a brace."""
    usual = int(rng.integers(2, 100_000))
    lengths = [usual, 0, 1, 2, (1 << 32) - 1, 1 << 32, 1 << 60, usual + (1 << 56)]
    found = {f"length {n}": impl.signature_format(n.to_bytes(8, "little") + b'{"w":1}')
             for n in lengths}
    found["no brace"] = impl.signature_format(usual.to_bytes(8, "little") + b'["w"]')
    found["only a length"] = impl.signature_format(usual.to_bytes(8, "little"))
    return found


@scenario("1.1", seeds=2)
def names_in_archives(impl, rng):
    """The names in zip archives of PyTorch, TorchScript, torch.export, Keras, and of others."""
    return {kind: impl.archive_format([names[i] for i in rng.permutation(len(names))])
            for kind, names in ARCHIVES.items()}
