"""ONNX: external data stays beside the model, wherever a tensor stands; bombs do not go off."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile_models import proto

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.model_safety import UnsafeModelError, check_model
from solutions.phase1_basics.protobuf_wire import WireReader
from zoo.errors import InferenceError

onnx = pytest.importorskip("onnx")
helper = onnx.helper


def _external(
    location: str, offset: int | None = None, length: int | None = None
) -> "onnx.TensorProto":
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return tensor


def _model(nodes: list["onnx.NodeProto"], **graph: object) -> "onnx.ModelProto":
    x = helper.make_tensor_value_info("x", 1, [4])
    y = helper.make_tensor_value_info("y", 1, [4])
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], **graph))


def _in_initializer(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    return _model([helper.make_node("Add", ["x", "w"], ["y"])], initializer=[tensor])


def _in_attribute(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    return _model([helper.make_node("Constant", [], ["y"], value=tensor)])


def _in_attribute_list(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    return _model([helper.make_node("Custom", ["x"], ["y"], tensors=[tensor])])


def _in_sparse_initializer(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    indices = onnx.numpy_helper.from_array(np.arange(4), "i")
    sparse = onnx.SparseTensorProto(values=tensor, indices=indices, dims=[8])
    return _model([helper.make_node("Identity", ["x"], ["y"])], sparse_initializer=[sparse])


def _in_sparse_indices(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    values = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    sparse = onnx.SparseTensorProto(values=values, indices=tensor, dims=[8])
    return _model([helper.make_node("Constant", [], ["y"], sparse_value=sparse)])


def _in_subgraph(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    inner = helper.make_graph([helper.make_node("Constant", [], ["z"], value=tensor)], "inner", [],
                              [helper.make_tensor_value_info("z", 1, [4])])
    outer = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return _model([outer])


def _in_function(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    model = _model([helper.make_node("F", ["x"], ["y"], domain="own")])
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [node], []))
    return model


def _in_function_default(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    model = _in_function(onnx.numpy_helper.from_array(np.ones(4, np.float32), "w"))
    model.functions[0].attribute_proto.append(helper.make_attribute("a", tensor))
    return model


def _in_training(tensor: "onnx.TensorProto") -> "onnx.ModelProto":
    model = _model([helper.make_node("Identity", ["x"], ["y"])])
    model.training_info.add().algorithm.initializer.append(tensor)
    return model


PLACES: list[Callable[["onnx.TensorProto"], "onnx.ModelProto"]] = [
    _in_initializer, _in_attribute, _in_attribute_list, _in_sparse_initializer, _in_sparse_indices,
    _in_subgraph, _in_function, _in_function_default, _in_training,
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", [
    "../secret", "sub/../../secret", "/etc/passwd", "link", "linked/secret", "hard", "C:\\secret",
    "..\\secret", "", "*/_ORT_MEM_ADDR_/*",
])
def test_external_data_outside_is_refused(
    place: Callable[["onnx.TensorProto"], "onnx.ModelProto"], location: str, tmp_path: Path
) -> None:
    folder, outside = tmp_path / "model", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    for secret in (tmp_path / "secret", outside / "secret"):
        secret.write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(outside)
    os.link(tmp_path / "secret", folder / "hard")
    path = folder / "m.onnx"
    path.write_bytes(place(_external(location)).SerializeToString())
    with pytest.raises(UnsafeModelError, match="'w' takes its data from"):
        check_model(path, trust=True)


@pytest.mark.parametrize("place", PLACES)
def test_external_data_beside_the_model_is_accepted(
    place: Callable[["onnx.TensorProto"], "onnx.ModelProto"], tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.bin").write_bytes(bytes(48))
    path = tmp_path / "m.onnx"
    path.write_bytes(place(_external("sub/w.bin", 16, 16)).SerializeToString())
    assert check_model(path) == "onnx"
    for offset, length in ((40, 16), (1 << 40, 16), (0, 1 << 60)):
        path.write_bytes(place(_external("sub/w.bin", offset, length)).SerializeToString())
        with pytest.raises(InferenceError):
            check_model(path)


@pytest.mark.parametrize("number", ["-16", "1e3", "", "٣", "9" * 40])
def test_odd_numbers_in_external_data_are_refused(number: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(bytes(16))
    tensor = _external("w")
    tensor.external_data.add(key="offset", value=number)
    (tmp_path / "m.onnx").write_bytes(_in_initializer(tensor).SerializeToString())
    with pytest.raises(InferenceError, match="offset"):
        check_model(tmp_path / "m.onnx")


def test_a_location_that_is_merged_from_two_messages_is_seen(tmp_path: Path) -> None:
    """Protocol buffers merge a message field that appears twice."""
    first = onnx.TensorProto(name="w", data_type=1, dims=[4]).SerializeToString()
    second = proto((13, proto((1, "location"), (2, "../secret"))))
    attribute = proto((1, "value"), (5, first), (5, second), (20, 4))
    node = proto((2, "y"), (4, "Constant"), (5, attribute))
    (tmp_path / "m.onnx").write_bytes(proto((1, 8), (7, proto((1, node))), (8, proto((2, 17)))))
    with pytest.raises(UnsafeModelError, match="secret"):
        check_model(tmp_path / "m.onnx")


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    graph = proto((2, "g"))
    for _ in range(300):
        graph = proto((1, proto((4, "If"), (5, proto((1, "then_branch"), (6, graph))))))
    (tmp_path / "m.onnx").write_bytes(proto((1, 8), (7, graph)))
    with pytest.raises(InferenceError, match="nested"):
        check_model(tmp_path / "m.onnx")


def test_too_many_fields_are_refused() -> None:
    file = FileBytes(Path("m.onnx"), proto((1, b"")) * 1000)
    reader = WireReader(file, limit=1000)
    assert len(list(reader.fields(reader.whole(), "it"))) == 1000
    with pytest.raises(InferenceError, match="too many fields"):
        list(reader.fields(reader.whole(), "it"))


@pytest.mark.parametrize("dims", [[-1], [1 << 62, 1 << 62], [3], [1] * 65])
def test_tensors_that_do_not_fit_are_refused(dims: list[int], tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=dims, raw_data=bytes(16))
    (tmp_path / "m.onnx").write_bytes(_in_initializer(tensor).SerializeToString())
    with pytest.raises(InferenceError, match="'w'"):
        check_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("operator", ["PythonOp", "EPContext"])
def test_operators_that_run_code(operator: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    node = helper.make_node(operator, ["x"], ["y"], domain="com.microsoft")
    path.write_bytes(_model([node]).SerializeToString())
    with pytest.raises(UnsafeModelError, match=operator):
        check_model(path)
    assert check_model(path, trust=True) == "onnx"


def test_cut_off_anywhere_is_never_another_error(tmp_path: Path) -> None:
    weights = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    whole = _in_initializer(weights).SerializeToString()
    path = tmp_path / "m.onnx"
    accepted = []
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            check_model(path)
            accepted.append(length)
        except InferenceError:
            pass
    assert len(accepted) <= 1  # without its last field (the opset) it is still a message
