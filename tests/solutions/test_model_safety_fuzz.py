"""Small valid files with bytes flipped: accepted or refused, never anything else."""

import json
import tracemalloc
from pathlib import Path

import hostile_models as hostile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.model_format import ModelFormat
from solutions.phase1_basics.model_safety import check_model
from solutions.phase1_basics.pickle_scan import check_pickle
from solutions.phase1_basics.torchscript_check import first_unsafe_name
from zoo.errors import InferenceError

WEIGHT = hostile.proto((1, 4), (2, 1), (8, "w"), (9, bytes(16)), (13, hostile.proto(
    (1, "location"), (2, "w.bin"))))
ONNX = hostile.proto((1, 8), (2, "maker"), (7, hostile.proto(
    (1, hostile.proto((1, "x"), (2, "y"), (4, "Add"), (5, hostile.proto((1, "v"), (5, WEIGHT))))),
    (2, "g"), (5, WEIGHT))), (8, hostile.proto((2, 17))))
HEADER = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
          "b": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [8, 12]}}
GRAPH = hostile.tf_graph(
    [hostile.tf_constant("c", "model"), hostile.tf_node("r", "RestoreV2", ["c"]),
     hostile.tf_call("f", "inner", ["c"])], {"inner": [hostile.tf_node("m", "MatMul")]})
PICKLE = (b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00bccollections\nOrderedDict"
          b"\nq\x01)Rq\x02X\x01\x00\x00\x00c]q\x03(K\x01G?\xf0\x00\x00\x00\x00\x00\x00\x88Neu.")
SEEDS: dict[str, bytes] = {
    "pytorch zip": hostile.torch_zip(PICKLE, hostile.Entry("archive/data/0", bytes(16))),
    "pytorch legacy": hostile.legacy_torch(PICKLE),
    "torchscript": hostile.torch_zip(
        b"\x80\x02c__torch__\nM\n)\x81}b.", hostile.Entry("archive/constants.pkl", b"\x80\x02)."),
        hostile.Entry("archive/code/__torch__.py", b"return torch.relu(x)" * 9, method=8)),
    "torch export": hostile.zip_bytes([
        hostile.Entry("m/archive_format", b"pt2"),
        hostile.Entry("m/models/model.json", b'{"target": "torch.ops.aten.relu.default"}')]),
    "safetensors": hostile.safetensors_bytes(HEADER, bytes(12)),
    "onnx": ONNX, "frozen graph": GRAPH,
    "keras": hostile.zip_bytes([
        hostile.Entry("metadata.json", b"{}"),
        hostile.Entry("config.json", json.dumps(hostile.keras_config()).encode())]),
    "tflite": hostile.tflite_bytes(),
    "tflite loop": hostile.tflite_bytes(while_body=0),
    "gguf": hostile.gguf_bytes(
        [("w", [4, 2], 0, 0), ("q", [32], 2, 32)], counts=(2, 2), data=bytes(64),
        pairs=hostile.gguf_pair("general.alignment", 4, b"\x20\0\0\0")
        + hostile.gguf_pair("tokens", 9, b"\x08\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0a")),
}


@pytest.mark.parametrize("seed", sorted(SEEDS))
def test_the_seeds_are_valid(seed: str, tmp_path: Path) -> None:
    """Else the fuzzing would only ever see the first check."""
    path = tmp_path / "model"
    path.write_bytes(SEEDS[seed])
    (tmp_path / "w.bin").write_bytes(bytes(16))
    if seed == "tflite loop":
        with pytest.raises(InferenceError, match="circle"):
            check_model(path)
    else:
        assert check_model(path) in list(ModelFormat)


@pytest.mark.parametrize("seed", sorted(SEEDS))
@settings(max_examples=250, deadline=2000,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes(seed: str, data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(SEEDS[seed])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, content[place] ^ 1,
                                                    content[place] ^ 0x20]))
    end = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = tmp_path / "model"
    path.write_bytes(content[:end])
    try:
        check_model(path, trust=data.draw(st.booleans()))
    except InferenceError as error:
        assert str(error)


@settings(max_examples=400, deadline=2000)
@given(opcodes=st.lists(st.sampled_from(
    [b"(", b"0", b"1", b"2", b"t", b"\x85", b"\x86", b"\x87", b"R", b"\x81", b"\x92", b"b", b"o",
     b"l", b"d", b"]", b"}", b")", b"a", b"e", b"s", b"u", b"N", b"K\x01", b"h\x00", b"q\x00",
     b"\x94", b"\x93", b"Q", b"\x8f", b"\x90", b"\x91", hostile.text("os"), hostile.text("system"),
     b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ios\nsystem\n",
     b"ctorch\nFloatStorage\n", hostile.text("storage")]), max_size=30))
def test_random_programs_for_the_stack_machine(opcodes: list[bytes]) -> None:
    try:
        trace = check_pickle(b"\x80\x04" + b"".join(opcodes) + b".", "fuzz")
    except InferenceError:
        return
    assert not any(found.module == "os" for found in trace.globals)


@settings(max_examples=200, deadline=2000)
@given(content=st.binary(min_size=1, max_size=300))
def test_any_bytes_as_every_format(content: bytes) -> None:
    from solutions.phase1_basics import model_safety

    for model_format in ModelFormat:
        if model_format in (ModelFormat.SAVED_MODEL, ModelFormat.KERAS_H5):
            continue
        try:
            model_safety.check_file(FileBytes(Path("m"), content), model_format, False)
        except InferenceError:
            continue


@settings(max_examples=200, deadline=2000)
@given(before=st.text(alphabet="1.+()=[], \n", max_size=40),
       after=st.text(alphabet="1.+()=[], \n", max_size=40))
def test_a_call_is_found_wherever_it_stands(before: str, after: str) -> None:
    assert first_unsafe_name(f"{before} ops.mine.run{after}") is not None


def test_memory_stays_small(tmp_path: Path) -> None:
    """A file of 4 GiB (sparse) costs a check no more than a small one."""
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.write(hostile.gguf_bytes([("w", [1 << 30], 0, 0)]))
        file.truncate(5 << 30)
    tracemalloc.start()
    try:
        assert check_model(path) == "gguf"
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
