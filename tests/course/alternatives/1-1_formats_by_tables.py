"""Formats from tables of signatures and of telling names."""

TABLE = [(4, b"TFL3", "tflite"), (0, b"GGUF", "gguf"), (0, b"ftrt", "tensorrt"),
         (0, b"ptrt", "tensorrt"), (0, b"\x89HDF\r\n\x1a\n", "keras_h5")]


def signature_format(start):
    for offset, signature, name in TABLE:
        if start[offset:].startswith(signature):
            return ModelFormat(name)
    if starts_with_magic(start):
        return ModelFormat.PYTORCH_LEGACY
    if len(start) > 8 and chr(start[8]) == "{":
        low, high = (int.from_bytes(start[i : i + 4], "little") for i in (0, 4))
        if high == 0 and low > 1:
            return ModelFormat.SAFETENSORS
    return None


def archive_format(names):
    names = list(names)
    inner = [n.split("/", 1)[1] for n in names if "/" in n]
    everywhere = names + inner
    if "archive_format" in inner or "models/model.json" in inner:
        return ModelFormat.TORCH_EXPORT
    if "serialized_exported_program.json" in everywhere:
        return ModelFormat.TORCH_EXPORT
    if "config.json" in names and ("metadata.json" in names or "model.weights.h5" in names):
        return ModelFormat.KERAS
    if "constants.pkl" in inner or any(n.startswith("code/") for n in inner):
        return ModelFormat.TORCHSCRIPT
    return ModelFormat.PYTORCH_ZIP if "data.pkl" in inner else None
