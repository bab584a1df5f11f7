"""Builders of model files that lie, or that do more than carry a model. Nothing here is stored."""

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# --- pickles -------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    """A unicode string, as an opcode."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(module: str, name: str) -> bytes:
    """GLOBAL."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def hostile_pickles(canary: Path) -> dict[str, bytes]:
    """Pickles that would create the file ``canary`` when loaded by an unrestricted reader."""
    command = f"touch {canary}"
    argument = text(command) + b"\x85"
    system = named("posix", "system")
    stack_system = text("posix") + text("system") + b"\x93"
    nested = pickle.dumps(_Runs(command), 2)
    inner = b"B" + struct.pack("<I", len(nested)) + nested
    return {
        "global": b"\x80\x02" + system + argument + b"R.",
        "os alias": b"\x80\x02" + named("os", "system") + argument + b"R.",
        "protocol 0": pickle.dumps(_Runs(command), 0),
        "protocol 1": pickle.dumps(_Runs(command), 1),
        "protocol 4": pickle.dumps(_Runs(command), 4),
        "protocol 5": pickle.dumps(_Runs(command), 5),
        "stack global": b"\x80\x04" + stack_system + argument + b"R.",
        "memo": b"\x80\x04" + text("posix") + b"q\x000" + text("system") + b"q\x010"
        + b"h\x00h\x01\x93" + argument + b"R.",
        "memo overwritten": b"\x80\x04" + text("collections") + b"q\x000" + text("posix")
        + b"q\x000" + b"h\x00" + text("system") + b"\x93" + argument + b"R.",
        "memoize": b"\x80\x04" + text("posix") + b"\x940" + b"h\x00" + text("system") + b"\x93"
        + argument + b"R.",
        "dotted name": b"\x80\x04" + text("collections") + text("abc.sys.modules") + b"\x93.",
        "module in a tuple": b"\x80\x04" + text("posix") + b"\x85" + text("system") + b"\x93.",
        "byte string names": b"\x80\x04U\x05posixU\x06system\x93" + argument + b"R.",
        "popped": b"\x80\x02" + system + argument + b"R0N.",
        "inside a mark": b"\x80\x02(" + system + argument + b"R1N.",
        "inst": b"(" + text(command) + b"iposix\nsystem\n.",
        "obj": b"(" + system + text(command) + b"o.",
        "newobj": b"\x80\x02" + named("subprocess", "Popen") + text(command) + b"\x85\x81.",
        "newobj ex": b"\x80\x04" + named("subprocess", "Popen") + text(command) + b"\x85}\x92.",
        "build": b"\x80\x02" + named("collections", "OrderedDict") + b")R" + system + b"b.",
        "setitem on a global": b"\x80\x02" + named("torch._utils", "_rebuild_tensor_v2")
        + text("a") + text("b") + b"s.",
        "extension": b"\x80\x02\x82\x01.",
        "extension 4": b"\x80\x02\x84\x01\x00\x00\x00.",
        "persistent text": b"P" + command.encode() + b"\n.",
        "persistent tuple": b"\x80\x02" + text("module") + text("a") + b"\x86Q.",
        "eval": b"\x80\x02" + named("builtins", "eval") + argument + b"R.",
        "old builtins": b"\x80\x02" + named("__builtin__", "eval") + argument + b"R.",
        "getattr": b"\x80\x02" + named("builtins", "getattr") + text("a") + text("b") + b"\x86R.",
        "nested": b"\x80\x02" + named("pickle", "loads") + inner + b"\x85R.",
        "load from bytes": b"\x80\x02" + named("torch.storage", "_load_from_bytes") + inner
        + b"\x85R.",
        "torch hub": b"\x80\x02" + named("torch.hub", "load") + argument + b"R.",
        "carriage return": b"cposix\r\nsystem\r\n" + argument + b"R.",
        "escaped name": b"cpo\\x73ix\nsystem\n" + argument + b"R.",
        "name with a space": b"cposix system\nsystem\n" + argument + b"R.",
        "split otherwise": b"\x80\x04" + text("torch") + text("_utils._rebuild_tensor_v2")
        + b"\x93.",
        "typed call": b"\x80\x02" + named("torch._tensor", "_rebuild_from_type_v2") + b"(" + system
        + named("torch", "Tensor") + argument + b"NtR.",
        "called dtype": b"\x80\x02" + named("torch", "float32") + b")R.",
        "great bytearray": b"\x80\x02" + named("builtins", "bytearray")
        + b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.",
        "great tensor": b"\x80\x02" + named("torch", "Tensor") + b"J\xff\xff\xff\x7f\x85R.",
        "hidden after": b"\x80\x02}." + b"\x80\x02" + system + argument + b"R.",
    }


def damaged_pickles() -> dict[str, bytes]:
    """Pickles that no reader can follow."""
    return {
        "nothing": b"",
        "no stop": b"\x80\x02}",
        "empty stack": b"\x80\x02R.",
        "no memo": b"\x80\x02h\x07.",
        "great memo": b"\x80\x02}r\xff\xff\xff\xff.",
        "mark below": b"\x80\x02}(\x85.",
        "no mark": b"\x80\x02}t.",
        "left over": b"\x80\x02}}.",
        "great length": b"\x80\x02X\xff\xff\xff\x7fabc.",
        "greater length": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        "protocol 9": b"\x80\x09}.",
        "unknown opcode": b"\x80\x02\xff.",
        "long number": b"L" + b"9" * 100_000 + b"L\n.",
        "buffer": b"\x80\x05\x97.",
        "no text": b"cposix\n\xff\xfe\n.",
    }


class _Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


# --- zip archives --------------------------------------------------------------------------------


@dataclass
class Entry:
    """One entry of a zip archive, with every header field open to lies."""

    name: str
    content: bytes = b""
    method: int = 0
    flags: int = 0
    mode: int = 0
    local: dict[str, Any] = field(default_factory=dict)  # what the local header says instead
    central: dict[str, Any] = field(default_factory=dict)


def zip_bytes(entries: Iterable[Entry], comment: bytes = b"", tail: bytes = b"",
              end: dict[str, int] | None = None) -> bytes:
    """A zip archive written header by header."""
    body, directory, count = b"", b"", 0
    for each in entries:
        raw = each.content
        if each.method == 8:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            raw = packer.compress(each.content) + packer.flush()
        truth = {
            "name": each.name.encode(), "flags": each.flags | 0x800, "method": each.method,
            "crc": zlib.crc32(each.content), "compressed": len(raw), "size": len(each.content),
            "header": len(body),
        }
        local, central = {**truth, **each.local}, {**truth, **each.central}
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 0x314, 20, central["flags"], central["method"],
            0, 0, central["crc"], central["compressed"], central["size"], len(central["name"]),
            0, 0, 0, 0, each.mode << 16, central["header"],
        ) + central["name"]
        body += struct.pack(
            "<4sHHHHHIIIHH", b"PK\x03\x04", 20, local["flags"], local["method"], 0, 0,
            local["crc"], local["compressed"], local["size"], len(local["name"]), 0,
        ) + local["name"] + raw
        count += 1
    last = {"count": count, "size": len(directory), "start": len(body), **(end or {})}
    return body + directory + struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, last["count"], last["count"], last["size"],
        last["start"], len(comment),
    ) + comment + tail


def torch_zip(data: bytes, *more: Entry) -> bytes:
    """A zip file of PyTorch's around a pickle."""
    return zip_bytes([Entry("archive/data.pkl", data), Entry("archive/version", b"3\n"), *more])


def legacy_torch(data: bytes) -> bytes:
    """A legacy file of PyTorch's around a pickle, without storages."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b"".join(parts) + data + pickle.dumps([], 2)


# --- protocol buffers and TensorFlow -------------------------------------------------------------


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def proto(*fields: tuple[int, int | bytes | str]) -> bytes:
    """A message of varint and length-delimited fields."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def tf_node(name: str, operator: str, inputs: Iterable[str] = (), *attributes: bytes) -> bytes:
    """A NodeDef."""
    return proto((1, name), (2, operator), *((3, each) for each in inputs),
                 *((5, each) for each in attributes))


def tf_constant(name: str, value: str) -> bytes:
    """A NodeDef that holds a text."""
    tensor = proto((8, proto((1, 7), (8, value))))
    return tf_node(name, "Const", (), proto((1, "value"), (2, tensor)))


def tf_call(name: str, function: str, inputs: Iterable[str]) -> bytes:
    """A NodeDef that calls a function of the library."""
    target = proto((1, "f"), (2, proto((10, proto((1, function))))))
    return tf_node(name, "StatefulPartitionedCall", inputs, target)


def tf_graph(nodes: Iterable[bytes], functions: dict[str, Iterable[bytes]] | None = None) -> bytes:
    """A GraphDef."""
    library = proto(*(
        (1, proto((1, proto((1, name))), *((3, node) for node in inner)))
        for name, inner in (functions or {}).items()
    ))
    return proto(*((1, node) for node in nodes), (2, library))


def saved_model(folder: Path, graph: bytes, *more: tuple[int, bytes]) -> Path:
    """A SavedModel's folder."""
    (folder / "variables").mkdir(parents=True)
    (folder / "variables/variables.index").write_bytes(b"index")
    meta = proto((2, graph), *more)
    (folder / "saved_model.pb").write_bytes(proto((1, 1), (2, meta)))
    return folder


# --- Keras, GGUF, safetensors, TFLite ------------------------------------------------------------


def keras_config(**layer: Any) -> dict[str, Any]:
    """The description of a model of one layer."""
    base = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1},
            "registered_name": None}
    return {"module": "keras", "class_name": "Sequential", "registered_name": None,
            "config": {"layers": [{**base, **layer}]}}


def keras_file(path: Path, config: Any, **entries: bytes) -> Path:
    """A ``.keras`` archive."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        for name, content in entries.items():
            archive.writestr(name.replace("__", "."), content)
    return path


def safetensors_bytes(header: Any, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def gguf_bytes(tensors: Iterable[tuple[str, list[int], int, int]] = (), pairs: bytes = b"",
               counts: tuple[int, int] | None = None, data: bytes = b"", version: int = 3) -> bytes:
    """A GGUF file; ``tensors`` are name, shape, type, offset."""
    infos = b"".join(
        struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(shape))
        + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)
        for name, shape, kind, offset in tensors
    )
    head = struct.pack("<4sIQQ", b"GGUF", version, *(counts or (len(list(tensors)), 0)))
    body = head + pairs + infos
    return body + bytes(-len(body) % 32) + data


def gguf_pair(key: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value


def tflite_bytes(custom: str | None = None, operand: int = 0, buffer: int = 1, code: int = 0,
                 shape: tuple[int, ...] = (4,), data: bytes = bytes(16), output: int = 0,
                 while_body: int | None = None) -> bytes:
    """A TFLite model of one tensor and one operator, each index open to lies."""
    import flatbuffers

    b = flatbuffers.Builder(1024)

    def vector(items: list[int], width: int = 4) -> int:
        b.StartVector(width, len(items), 4)
        for item in reversed(items):
            if width == 1:
                b.PrependByte(item)
            else:
                b.PrependInt32(item)
        return b.EndVector()

    def tables(items: list[int]) -> int:
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependUOffsetTRelative(item)
        return b.EndVector()

    def table(size: int, slots: dict[int, tuple[str, int]]) -> int:
        b.StartObject(size)
        for slot, (kind, value) in slots.items():
            if kind == "offset":
                b.PrependUOffsetTRelativeSlot(slot, value, 0)
            elif kind == "byte":
                b.PrependInt8Slot(slot, value, 0)
            else:
                b.PrependInt32Slot(slot, value, -99)
        return b.EndObject()

    kind = 119 if while_body is not None else 32 if custom is not None else 0
    code_slots = {0: ("byte", kind), 3: ("int", kind)}
    if custom is not None:
        code_slots[1] = ("offset", b.CreateString(custom))
    codes = tables([table(4, code_slots)])
    buffers = tables([table(1, {}), table(1, {0: ("offset", vector(list(data), 1))})])
    name = b.CreateString("weights")
    shape_vector = vector(list(shape))
    tensor = table(4, {0: ("offset", shape_vector), 2: ("int", buffer), 3: ("offset", name)})
    operator_slots = {0: ("int", code), 1: ("offset", vector([operand])),
                      2: ("offset", vector([output]))}
    if while_body is not None:
        operator_slots[3] = ("byte", 92)
        operator_slots[4] = ("offset", table(2, {0: ("int", 0), 1: ("int", while_body)}))
    operators = tables([table(5, operator_slots)])
    inputs, outputs, tensors = vector([0]), vector([output]), tables([tensor])
    graph = table(5, {0: ("offset", tensors), 1: ("offset", inputs), 2: ("offset", outputs),
                      3: ("offset", operators)})
    graphs = tables([graph])
    model = table(7, {0: ("int", 3), 1: ("offset", codes), 2: ("offset", graphs),
                      4: ("offset", buffers)})
    b.Finish(model, b"TFL3")
    return bytes(b.Output())


def torch_bytes(value: Any, **options: Any) -> bytes:
    """What ``torch.save`` writes."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()
