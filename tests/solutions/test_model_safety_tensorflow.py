"""TensorFlow and Keras: operators, functions, paths and classes, each refusal by name."""

import json
from pathlib import Path
from typing import Any

import hostile_models as hostile
import pytest
from hostile_models import keras_config, keras_file, tf_call, tf_constant, tf_node

from solutions.phase1_basics.model_safety import UnsafeModelError, check_model
from zoo.errors import InferenceError


@pytest.mark.parametrize("operator", [
    "PyFunc", "EagerPyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "MatchingFiles",
    "TextLineDataset", "WholeFileReaderV2", "PrintV2", "DebugIdentityV2", "RpcCall", "Abort",
    "ImmutableConst", "LoadDataset", "SnapshotDataset", "XlaLaunch", "MyCustomOperator", "",
])
@pytest.mark.parametrize("inside", ["graph", "function", "frozen"])
def test_operators_beyond_computing(operator: str, inside: str, tmp_path: Path) -> None:
    nodes = [tf_node("x", "Placeholder"), tf_node("bad", operator, ["x"])]
    if inside == "graph":
        path = hostile.saved_model(tmp_path / "m", hostile.tf_graph(nodes))
    elif inside == "function":
        graph = hostile.tf_graph([tf_node("x", "Placeholder")], {"inner": nodes})
        path = hostile.saved_model(tmp_path / "m", graph)
    else:
        path = tmp_path / "frozen.pb"
        path.write_bytes(hostile.tf_graph(nodes))
    with pytest.raises(UnsafeModelError, match=f"'{operator}' in node 'bad'"):
        check_model(path)
    check_model(path, trust=True)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "gs://bucket/x", "~/x"])
@pytest.mark.parametrize("operator", ["SaveV2", "RestoreV2", "InitializeTableFromTextFileV2"])
def test_paths_are_traced_to_their_constants(name: str, operator: str, tmp_path: Path) -> None:
    path = tmp_path / "frozen.pb"
    direct = [tf_constant("c", name), tf_node("join", "StringJoin", ["c"]),
              tf_node("file", operator, ["join:0", "^c"])]
    inner = {"inner": [tf_node("file", operator, ["argument"])],
             "outer": [tf_call("call", "inner", ["argument"])]}
    called = [tf_constant("c", name), tf_call("call", "outer", ["c"])]
    for graph in (hostile.tf_graph(direct), hostile.tf_graph(called, inner)):
        path.write_bytes(graph)
        with pytest.raises(UnsafeModelError, match="outside its folder"):
            check_model(path)
    # the same text, not on the way to a file
    path.write_bytes(hostile.tf_graph([tf_constant("c", name), tf_node("p", "Identity", ["c"])]))
    assert check_model(path) == "frozen_graph"


def test_an_ordinary_saver_is_accepted(tmp_path: Path) -> None:
    nodes = [tf_constant("Const", "model"), tf_constant("suffix", "_temp/part"),
             tf_node("join", "StringJoin", ["Const", "suffix"]),
             tf_node("shard", "ShardedFilename", ["join"]), tf_node("save", "SaveV2", ["shard"]),
             tf_node("restore", "RestoreV2", ["Const"])]
    path = hostile.saved_model(tmp_path / "m", hostile.tf_graph(nodes))
    assert check_model(path) == "saved_model"
    assert check_model(path / "saved_model.pb") == "saved_model"


def test_functions_may_not_take_an_operators_name(tmp_path: Path) -> None:
    path = tmp_path / "frozen.pb"
    path.write_bytes(hostile.tf_graph([tf_node("x", "Placeholder")], {"MatMul": []}))
    with pytest.raises(UnsafeModelError, match="name of an operator"):
        check_model(path)


def test_links_and_assets_out_of_the_folder(tmp_path: Path) -> None:
    graph = hostile.tf_graph([tf_node("x", "Placeholder")])
    asset = (6, hostile.proto((2, "../../secret")))
    with pytest.raises(UnsafeModelError, match="secret"):
        check_model(hostile.saved_model(tmp_path / "a", graph, asset))
    path = hostile.saved_model(tmp_path / "b", graph)
    (path / "variables/variables.data-00000-of-00001").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeModelError, match="link"):
        check_model(path)
    path = hostile.saved_model(tmp_path / "d", graph)
    (path / "saved_model.pbtxt").write_text("")
    with pytest.raises(UnsafeModelError, match="a graph beside"):
        check_model(path)
    path = hostile.saved_model(tmp_path / "c", graph)
    (path / "variables/variables.index").unlink()
    with pytest.raises(InferenceError, match=r"variables\.index is missing"):
        check_model(path)


def test_keras_metadata_beside_a_saved_model(tmp_path: Path) -> None:
    path = hostile.saved_model(tmp_path / "m", hostile.tf_graph([tf_node("x", "Placeholder")]))
    layer = json.dumps({"class_name": "Lambda", "config": {"function": ["4wEAAA==", None, None]}})
    (path / "keras_metadata.pb").write_bytes(hostile.proto((1, hostile.proto((5, layer)))))
    with pytest.raises(UnsafeModelError, match="Lambda"):
        check_model(path)


@pytest.mark.parametrize(("layer", "message"), [
    ({"class_name": "Lambda"}, "Lambda"),
    ({"config": {"function": {"class_name": "__lambda__", "config": {"code": "4w=="}}}}, "lambda"),
    ({"class_name": "TFSMLayer", "config": {"filepath": "/x"}}, "TFSMLayer"),
    ({"class_name": "TorchModuleWrapper"}, "TorchModuleWrapper"),
    ({"module": "os", "class_name": "system"}, "module 'os'"),
    ({"module": "builtins", "class_name": "eval"}, "builtins"),
    ({"module": "builtins", "class_name": "function", "config": "exec"}, "exec"),
    ({"module": "keras.utils", "class_name": "function", "config": "get_file"}, "get_file"),
    ({"module": "keras.config", "class_name": "enable_unsafe_deserialization"}, "keras.config"),
    ({"module": "keras.src.saving.saving_lib", "class_name": "load_model"}, "saving"),
    ({"module": "kerasx.layers"}, "kerasx"), ({"module": ["keras"]}, "module"),
    ({"module": "keras.src.layers.__class__"}, "__class__"),
    ({"module": "keras.src.utils.file_utils"}, "file_utils"), ({"module": "keras.src"}, "module"),
    ({"registered_name": "mine>Dense"}, "custom object"), ({"class_name": "mine>D"}, "custom"),
    ({"class_name": None}, "custom"), ({"registered_name": 3}, "custom"),
    ({"config": {"activation": "get_file"}}, "get_file"),
    ({"config": {"activation": {"class_name": "function", "config": "run"}}}, "run"),
    ({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}, "vocabulary"),
])
def test_keras_descriptions(layer: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = keras_file(tmp_path / "m.keras", keras_config(**layer))
    with pytest.raises(UnsafeModelError, match=message):
        check_model(path)
    check_model(path, trust=True)


def test_names_hidden_behind_json_escapes(tmp_path: Path) -> None:
    text = json.dumps(keras_config(class_name="Lambda")).replace("Lambda", "L\\u0061mbda")
    with pytest.raises(UnsafeModelError, match="Lambda"):
        check_model(keras_file(tmp_path / "m.keras", text))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 10_000, '{"a": NaN'])
def test_damaged_descriptions(text: str, tmp_path: Path) -> None:
    with pytest.raises(InferenceError):
        check_model(keras_file(tmp_path / "m.keras", text))


def test_harmless_keras_archives(tmp_path: Path) -> None:
    layer = {"config": {"units": 1, "activation": "relu", "kernel_initializer": {
        "module": "keras.initializers", "class_name": "GlorotUniform", "config": {"seed": None},
        "registered_name": None}}}
    assert check_model(keras_file(tmp_path / "m.keras", keras_config(**layer))) == "keras"


class TestHdf5:
    """Weights and descriptions in HDF5."""

    def _write(self, path: Path, **attributes: Any) -> Any:
        h5py = pytest.importorskip("h5py")
        file = h5py.File(path, "w")
        file["weights/kernel"] = [1.0, 2.0]
        file.attrs.update(attributes)
        return file

    def test_harmless(self, tmp_path: Path) -> None:
        path = tmp_path / "m.h5"
        config = json.dumps(keras_config())
        self._write(path, model_config=config, backend="tensorflow").close()
        assert check_model(path) == "keras_h5"

    def test_lambda_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "m.h5"
        config = json.dumps({"class_name": "Lambda", "config": {}}).encode()
        self._write(path, model_config=config).close()
        with pytest.raises(UnsafeModelError, match="Lambda"):
            check_model(path)

    @pytest.mark.parametrize("kind", ["external link", "soft link", "external", "virtual", "bomb"])
    @pytest.mark.parametrize("form", ["h5", "keras"])
    def test_reaching_out(self, kind: str, form: str, tmp_path: Path) -> None:
        h5py = pytest.importorskip("h5py")
        path = tmp_path / "m.h5"
        file = self._write(path)
        if kind == "external link":
            file["out"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif kind == "soft link":
            file["out"] = h5py.SoftLink("/weights")
        elif kind == "external":
            file.create_dataset("out", (4,), "u1", external=[("/etc/passwd", 0, 4)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4,), "u1")
            layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
            file.create_virtual_dataset("out", layout)
        else:
            file.create_dataset("out", (1 << 40,), "u1", chunks=(1 << 20,), compression="gzip")
        file.close()
        if form == "keras":
            path = keras_file(tmp_path / "m.keras", keras_config(),
                              model__weights__h5=path.read_bytes())
        with pytest.raises(UnsafeModelError, match="out"):
            check_model(path, trust=True)

    def test_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "m.h5"
        self._write(path).close()
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InferenceError, match="cut off"):
            check_model(path)
