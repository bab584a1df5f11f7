"""Formats by content: renamed, cut off, and things that are no models at all."""

import os
import struct
import zipfile
from pathlib import Path

import hostile_models as hostile
import numpy as np
import pytest

from solutions.phase1_basics.model_format import (
    ModelFormat,
    detect_format,
    expected_suffixes,
    renamed_note,
)
from zoo.errors import InferenceError

SAFETENSORS = hostile.safetensors_bytes(
    {"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"ab"
)
HDF5 = (b"\x89HDF\r\n\x1a\n" + bytes([2, 8, 8, 0]) + struct.pack("<QQQQ", 0, 0, 60, 0)).ljust(60)
NODE = hostile.tf_node("x", "Placeholder")
EXAMPLES: dict[ModelFormat, bytes] = {
    ModelFormat.PYTORCH_ZIP: hostile.torch_zip(b"\x80\x02}."),
    ModelFormat.PYTORCH_LEGACY: hostile.legacy_torch(b"\x80\x02}."),
    ModelFormat.TORCHSCRIPT: hostile.torch_zip(
        b"\x80\x02}.", hostile.Entry("archive/constants.pkl", b"\x80\x02).")),
    ModelFormat.TORCH_EXPORT: hostile.zip_bytes(
        [hostile.Entry("m/archive_format", b"pt2"), hostile.Entry("m/models/model.json", b"{}")]),
    ModelFormat.SAFETENSORS: SAFETENSORS,
    ModelFormat.ONNX: hostile.proto((1, 8), (2, "maker"), (7, hostile.proto((2, "g"))),
                                    (8, hostile.proto((2, 17)))),
    ModelFormat.SAVED_MODEL: hostile.proto(
        (1, 1), (2, hostile.proto((2, hostile.tf_graph([NODE]))))),
    ModelFormat.FROZEN_GRAPH: hostile.tf_graph([NODE]),
    ModelFormat.KERAS: hostile.zip_bytes(
        [hostile.Entry("metadata.json", b"{}"), hostile.Entry("config.json", b"{}")]),
    ModelFormat.KERAS_H5: HDF5,
    ModelFormat.TFLITE: hostile.tflite_bytes(),
    ModelFormat.GGUF: hostile.gguf_bytes(),
    ModelFormat.TENSORRT: b"ftrt" + bytes(60),
}


@pytest.mark.parametrize("model_format", ModelFormat)
def test_content_decides_whatever_the_name(model_format: ModelFormat, tmp_path: Path) -> None:
    for suffix in {each for known in ModelFormat for each in expected_suffixes(known)}:
        path = tmp_path / f"model{suffix}"
        path.write_bytes(EXAMPLES[model_format])
        assert detect_format(path) == model_format
        note = renamed_note(path, model_format)
        assert (note is None) == (suffix in expected_suffixes(model_format))
        assert note is None or model_format in note


@pytest.mark.parametrize("protocol", range(6))
def test_legacy_files_of_every_pickle_protocol(protocol: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "m.pt"
    torch.save({"a": 1}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    assert detect_format(path) == "pytorch_legacy"


@pytest.mark.parametrize(("content", "message"), [
    (b"", "empty"), (b"\x89PNG\r\n\x1a\n" + bytes(20), "PNG"),
    (b"\xff\xd8\xff\xe0" + bytes(9), "JPEG"),
    (b"<!DOCTYPE html><title>404</title>", "web page"), (b"\n <HTML>", "web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "git lfs pull"),
    (b"\x1f\x8b\x08" + bytes(9), "gunzip"), (b'{"error": "not found"}', "JSON"),
    (b"import os\nprint(1)\n", "text"), (b"%PDF-1.7", "PDF"), (b"\x7fELF" + bytes(60), "program"),
    (b"\x80\x04\x95" + bytes(30), "pickle"), (b"PK\x05\x06" + bytes(18), "empty zip"),
    (b"\x93NUMPY\x01\x00", "NumPy array"), (bytes(300), "no format known"),
    (bytes(257) + b"ustar" + bytes(300), "tar"), (b"\x00\x00\x00\x18ftypmp42", "MP4"),
    (b"\x04", "only 1 bytes"), (b"\x08\x00\x00\x00ORTM" + bytes(9), "ONNX Runtime"),
    (os.urandom(4) + b"\xff" * 60, "no format known|cut off|damaged"),
])
def test_other_things_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InferenceError, match=message):
        detect_format(path)


def test_other_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    np.savez(path.with_suffix(".npz"), a=np.ones(2))
    with pytest.raises(InferenceError, match="NumPy archive"):
        detect_format(path.with_suffix(".npz"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"1")
    with pytest.raises(InferenceError, match=r"zip archive, no model \(photo\.jpg\)"):
        detect_format(path)


@pytest.mark.parametrize(("model_format", "message"), [
    (ModelFormat.PYTORCH_ZIP, "PyTorch zip archive that is cut off"),
    (ModelFormat.KERAS, "zip archive that is cut off"),
    (ModelFormat.SAFETENSORS, "safetensors file that is cut off"),
    (ModelFormat.KERAS_H5, "HDF5 file that is cut off"),
    (ModelFormat.ONNX, "began like a file of format onnx"),
])
def test_cut_off_files_are_named(
    model_format: ModelFormat, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    whole = EXAMPLES[model_format]
    keep = 50 if model_format == ModelFormat.KERAS_H5 else len(whole) - 2
    path.write_bytes(whole[: 30 if model_format == ModelFormat.SAFETENSORS else keep])
    with pytest.raises(InferenceError, match=message):
        detect_format(path)


@pytest.mark.parametrize("length", range(30, 200))
def test_a_graph_is_no_text_whatever_its_first_length(length: int, tmp_path: Path) -> None:
    """The second byte of a graph is the length of its first node: 60 is "<", 123 is "{"."""
    path = tmp_path / "graph.pb"
    path.write_bytes(hostile.tf_graph([hostile.tf_node("n" * length, "Placeholder")]))
    assert detect_format(path) == "frozen_graph"


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="no such file"):
        detect_format(tmp_path / "none")
    with pytest.raises(InferenceError, match=r"without saved_model\.pb"):
        detect_format(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InferenceError, match="not a regular file"):
        detect_format(tmp_path / "pipe")
    with pytest.raises(InferenceError, match="not a regular file"):
        detect_format(Path("/dev/zero"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InferenceError, match="cannot be opened"):
        detect_format(tmp_path / "loop")
    with pytest.raises(InferenceError):
        detect_format(tmp_path / "a\0b")


def test_a_saved_model_folder(tmp_path: Path) -> None:
    path = hostile.saved_model(tmp_path / "m", hostile.tf_graph([NODE]))
    assert detect_format(path) == "saved_model"
    assert renamed_note(path, ModelFormat.SAVED_MODEL) is None
