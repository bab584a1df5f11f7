"""safetensors, GGUF and TFLite: formats that carry only data, whose arithmetic must hold."""

import json
import struct
from pathlib import Path
from typing import Any

import hostile_models as hostile
import numpy as np
import pytest

from solutions.phase1_basics.model_safety import UnsafeModelError, check_model
from solutions.phase1_basics.safetensors_file import float8_table, read_safetensors
from zoo.errors import InferenceError


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


class TestSafetensors:
    """Against the safetensors library, and against files that lie."""

    @pytest.mark.parametrize("dtype", [
        "bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
        "float16", "bfloat16", "float32", "float64", "complex64", "float8_e4m3fn", "float8_e5m2",
    ])
    @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (4, 0, 2)])
    def test_reads_what_the_library_writes(
        self, dtype: str, shape: tuple[int, ...], tmp_path: Path
    ) -> None:
        torch = pytest.importorskip("torch")
        library = pytest.importorskip("safetensors.torch")
        values = torch.arange(int(np.prod(shape))).reshape(shape).sub(2).to(getattr(torch, dtype))
        path = tmp_path / "m.safetensors"
        library.save_file({"a": values, "é b": values.clone()}, path, metadata={"format": "pt"})
        assert check_model(path) == "safetensors"
        ours = read_safetensors(path)
        assert set(ours) == {"a", "é b"}
        wide = dtype in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
        expected = (values.float() if wide else values).numpy()
        assert ours["a"].dtype == expected.dtype
        assert ours["a"].shape == shape
        np.testing.assert_array_equal(ours["a"], expected)

    @pytest.mark.parametrize(("name", "stored"), [
        ("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2"), ("F8_E8M0", "float8_e8m0fnu"),
    ])
    def test_all_256_bytes_of_float8(self, name: str, stored: str) -> None:
        ml_dtypes = pytest.importorskip("ml_dtypes")
        oracle = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, stored)).astype(np.float32)
        np.testing.assert_array_equal(float8_table(name), oracle)

    @pytest.mark.parametrize(("header", "data", "message"), [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4), "needs 8"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(3), "cut off"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(5), "follow"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8), "hole"),
        ({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
          "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}, bytes(6), "overlaps"),
        ({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4), "dtype"),
        ({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, bytes(4), "dtype"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4), "shape"),
        ({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, bytes(4), "shape"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, bytes(4), "shape"),
        ({"a": {"dtype": "F32", "shape": [1 << 40] * 8, "data_offsets": [0, 0]}}, b"", "needs"),
        ({"a": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 0]}}, b"", "shape"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}, bytes(8), "needs"),
        ({"a": {"dtype": "F32", "shape": [1]}}, bytes(4), "lacks"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}}, bytes(4), "lacks"),
        ({"a": [1]}, b"", "lacks"), (b"{]", b"", "header"), (b"{\xff}", b"", "header"),
        (b'{"a":' + b"[" * 100_000, b"", "header"), (b'{"a":1,"a":2}', b"", "twice"),
        (b'{"a":' + b"9" * 9_999 + b"}", b"", "header"),
    ])
    def test_lies_are_named(self, header: Any, data: bytes, message: str, tmp_path: Path) -> None:
        path = _write(tmp_path / "m.safetensors", hostile.safetensors_bytes(header, data))
        with pytest.raises(InferenceError, match=message):
            read_safetensors(path)
        with pytest.raises(InferenceError, match=message):
            check_model(path)

    def test_a_great_header_is_refused_unread(self, tmp_path: Path) -> None:
        path = tmp_path / "m.safetensors"
        with path.open("wb") as file:
            file.write(struct.pack("<Q", 1 << 31) + b"{")
            file.truncate(1 << 32)  # sparse: takes no room
        with pytest.raises(InferenceError, match="header of"):
            check_model(path)

    def test_cut_off_anywhere(self, tmp_path: Path) -> None:
        header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
        whole = hostile.safetensors_bytes(header, bytes(8))
        for length in range(len(whole)):
            with pytest.raises(InferenceError):
                check_model(_write(tmp_path / "m.safetensors", whole[:length]))


class TestGguf:
    """Against the gguf library, and against files that lie."""

    def test_reads_what_the_library_writes(self, tmp_path: Path) -> None:
        gguf = pytest.importorskip("gguf")
        path = tmp_path / "m.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_uint32("a.b", 3)
        writer.add_array("tokens", ["a", "bc", "é"])
        writer.add_array("scores", [0.5, 1.5])
        writer.add_bool("flag", True)
        writer.add_tensor("w", np.arange(64, dtype=np.float32).reshape(2, 32))
        writer.add_tensor("h", np.ones((3, 32), np.float16))
        kind = gguf.GGMLQuantizationType.Q4_0
        quantized = gguf.quants.quantize(np.ones((4, 64), np.float32), kind)
        writer.add_tensor("q", quantized, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        assert check_model(path) == "gguf"
        whole = path.read_bytes()
        for length in [*range(4, 400, 7), len(whole) - 64]:
            with pytest.raises(InferenceError):
                check_model(_write(tmp_path / "cut.gguf", whole[:length]))

    def test_the_block_sizes_are_the_librarys(self) -> None:
        gguf = pytest.importorskip("gguf")
        from solutions.phase1_basics.gguf_check import BLOCKS

        for kind, sizes in gguf.GGML_QUANT_SIZES.items():
            assert BLOCKS.get(int(kind), sizes) == sizes

    @pytest.mark.parametrize(("content", "message"), [
        (hostile.gguf_bytes(version=9), "version 9"),
        (hostile.gguf_bytes(counts=(1 << 60, 0)), "tensors"),
        (hostile.gguf_bytes(counts=(0, 1 << 60)), "pairs"),
        (hostile.gguf_bytes(counts=(1, 0)), "cut off"),
        (hostile.gguf_bytes([("w", [4], 0, 0)]), "cut off"),
        (hostile.gguf_bytes([("w", [4], 0, 1 << 62)], data=bytes(32)), "cut off"),
        (hostile.gguf_bytes([("w", [1 << 62, 1 << 62], 0, 0)], data=bytes(32)), "cut off"),
        (hostile.gguf_bytes([("w", [4], 99, 0)], data=bytes(32)), "unknown type 99"),
        (hostile.gguf_bytes([("w", [4], 0, 8)], data=bytes(64)), "blocks"),
        (hostile.gguf_bytes([("w", [33], 2, 0)], data=bytes(64)), "blocks"),
        (hostile.gguf_bytes([("w", [1] * 5, 0, 0)], data=bytes(64)), "5 dimensions"),
        (hostile.gguf_bytes([("w", [16], 0, 0), ("v", [16], 0, 32)], data=bytes(96)), "overlaps"),
        (hostile.gguf_bytes([("w", [8], 0, 0), ("w", [8], 0, 32)], data=bytes(96)), "same name"),
        (hostile.gguf_bytes(pairs=hostile.gguf_pair("k", 77, b""), counts=(0, 1)), "unknown type"),
        (hostile.gguf_bytes(pairs=hostile.gguf_pair("k", 8, struct.pack("<Q", 1 << 63)),
                            counts=(0, 1)), "cut off"),
        (hostile.gguf_bytes(pairs=hostile.gguf_pair("k", 9, struct.pack("<IQ", 0, 1 << 62)),
                            counts=(0, 1)), "cut off"),
        (hostile.gguf_bytes(pairs=hostile.gguf_pair("k", 9, struct.pack("<IQ", 8, 1 << 62)),
                            counts=(0, 1)), "elements"),
        (hostile.gguf_bytes(pairs=hostile.gguf_pair(
            "k", 9, struct.pack("<IQ", 9, 1) * 9 + struct.pack("<IQ", 0, 0)), counts=(0, 1)),
         "type 9"),
        (hostile.gguf_bytes(pairs=hostile.gguf_pair("k", 7, b"\1") * 2, counts=(0, 2)), "twice"),
        (hostile.gguf_bytes(pairs=hostile.gguf_pair("general.alignment", 4, bytes(4)),
                            counts=(0, 1)), "alignment"),
    ])
    def test_lies_are_named(self, content: bytes, message: str, tmp_path: Path) -> None:
        with pytest.raises(InferenceError, match=message):
            check_model(_write(tmp_path / "m.gguf", content))


class TestTflite:
    """Against a real file (see the false alarms), and against files that lie."""

    def test_harmless(self, tmp_path: Path) -> None:
        assert check_model(_write(tmp_path / "m.tflite", hostile.tflite_bytes())) == "tflite"

    @pytest.mark.parametrize(("lie", "message"), [
        ({"operand": 7}, "index 7 of a tensor"), ({"operand": -2}, "index -2"),
        ({"output": 9}, "index 9"), ({"buffer": 5}, "index 5 of a buffer"),
        ({"code": 3}, "index 3 of an operator code"), ({"shape": (5,)}, "needs 20 bytes"),
        ({"shape": (-4,)}, "shape"), ({"shape": (1 << 30, 1 << 30)}, "shape"),
        ({"while_body": 0}, "circle"), ({"while_body": 4}, "index 4 of a subgraph"),
    ])
    def test_lies_are_named(self, lie: dict[str, Any], message: str, tmp_path: Path) -> None:
        with pytest.raises(InferenceError, match=message):
            check_model(_write(tmp_path / "m.tflite", hostile.tflite_bytes(**lie)))

    @pytest.mark.parametrize("name", ["FlexPyFunc", "MyOperator", ""])
    def test_custom_operators(self, name: str, tmp_path: Path) -> None:
        path = _write(tmp_path / "m.tflite", hostile.tflite_bytes(custom=name))
        with pytest.raises(UnsafeModelError, match="custom operator"):
            check_model(path)
        assert check_model(path, trust=True) == "tflite"

    def test_the_runtimes_own_custom_operator(self, tmp_path: Path) -> None:
        content = hostile.tflite_bytes(custom="TFLite_Detection_PostProcess")
        assert check_model(_write(tmp_path / "m.tflite", content)) == "tflite"

    def test_cut_off_anywhere(self, tmp_path: Path) -> None:
        whole = hostile.tflite_bytes()
        for length in range(8, len(whole)):
            try:
                check_model(_write(tmp_path / "m.tflite", whole[:length]))
            except InferenceError:
                continue
            assert json.dumps(list(whole[length:])).strip("[]0, ") == ""  # only padding was lost
