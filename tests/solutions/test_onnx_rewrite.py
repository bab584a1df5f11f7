"""The editable graph: its index stays right, names do not collide, nothing gets lost."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from zoo.errors import InferenceError

CHAIN = """
<ir_version: 8, opset_import: ["" : 17]>
chain (float[N, 4] x) => (float[N, 4] y) {
    a = Relu(x)
    b = Identity(a)
    c = Neg(b)
    y = Identity(c)
}
"""


def graph_of(text: str) -> OnnxGraph:
    return OnnxGraph(parser.parse_model(text))


def test_replaced_names_leave_a_working_graph() -> None:
    graph = graph_of(CHAIN)
    assert graph.replace("b", "a")
    assert [node.op_type for node in graph.nodes] == ["Relu", "Neg", "Identity"]
    assert [node.op_type for node in graph.uses("a")] == ["Neg"]
    assert graph.replace("y", "c")  # y is the caller's: Neg takes over its name
    model = graph.to_model()
    onnx.checker.check_model(model, full_check=True)
    assert [(n.op_type, *n.input, *n.output) for n in model.graph.node] == [
        ("Relu", "x", "a"), ("Neg", "a", "y")]


def test_two_outputs_of_the_caller_keep_their_names() -> None:
    graph = graph_of("""
        <ir_version: 8, opset_import: ["" : 17]>
        two (float[2] x) => (float[2] y, float[2] z) { y = Relu(x)  z = Identity(y) }""")
    assert not graph.replace("z", "y")
    assert not graph.replace("z", "x")
    assert len(graph.to_model().graph.node) == 2


def test_shapes_keep_the_symbols_of_the_caller() -> None:
    graph = graph_of(CHAIN)
    assert graph.shape("c") == ("N", 4)
    assert graph.dtype("c") == np.float32
    assert graph.shape("nobody") is None


def test_fresh_names_avoid_those_inside_subgraphs() -> None:
    graph = graph_of("""
        <ir_version: 8, opset_import: ["" : 17]>
        branchy (bool c, float[2] x) => (float[2] y) {
            y = If(c) <
                then_branch = one () => (float[2] t) { t = Relu(x)  t_1 = Relu(t) },
                else_branch = two () => (float[2] e) { e = Neg(x) }
            >
        }""")
    assert graph.is_pinned("x")
    names = {graph.fresh("t") for _ in range(3)}
    assert "t_1" not in names and len(names) == 3


def test_a_cycle_is_named() -> None:
    graph = graph_of(CHAIN)
    graph.set_inputs(graph.producer["a"], ["b"])
    with pytest.raises(InferenceError, match="cycle"):
        graph.to_model()


def test_a_default_that_a_caller_may_override_is_no_constant() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x, float[2] w) => (float[2] y)'
        " { y = Add(x, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    graph = OnnxGraph(model)
    assert "w" not in graph.constants and graph.inputs == ["x"]
    assert [t.name for t in graph.to_model().graph.initializer] == ["w"]
    model.ir_version = 3  # here every weight had to be listed as an input
    old = OnnxGraph(model)
    assert "w" in old.constants
    written = old.to_model()
    assert [value.name for value in written.graph.input] == ["x"]
    onnx.checker.check_model(written)


def test_untouched_external_data_stay_where_they_are(tmp_path: Path) -> None:
    weights = np.arange(600, dtype=np.float32).reshape(2, 300)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 300])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 300])],
        [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, size_threshold=0,
              location="m.data")
    read = onnx.load(str(tmp_path / "m.onnx"), load_external_data=False)
    edited = OnnxGraph(read, tmp_path)
    assert edited.shape("y") == (2, 300)
    kept = edited.to_model().graph.initializer[0]
    assert kept.data_location == TensorProto.EXTERNAL
    assert np.array_equal(edited.constants["w"], weights)
    with pytest.raises(InferenceError, match="external data"):
        OnnxGraph(read, tmp_path / "elsewhere").constants["w"]


def test_going_back_to_a_snapshot() -> None:
    graph = graph_of(CHAIN)
    before = graph.snapshot()
    graph.replace("b", "a")
    graph.add("Fused", ["a"], domain="com.microsoft")
    graph.restore(before)
    model = graph.to_model()
    assert [node.op_type for node in model.graph.node] == ["Relu", "Identity", "Neg", "Identity"]
    assert [opset.domain for opset in model.opset_import] == [""]


def test_constants_of_every_kind_come_through_unchanged() -> None:
    arrays = {
        "f": np.array([[1, np.nan], [-0.0, np.inf]], np.float32), "empty": np.zeros((0, 3), "f4"),
        "scalar": np.array(2.5, np.float32), "half": np.ones(3, np.float16), "i": np.array([-3]),
        "flag": np.array([True, False]), "text": np.array(["a", "ü"], object),
    }
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_y"]) for name in arrays], "g", [],
        [helper.make_empty_tensor_value_info(f"{name}_y") for name in arrays],
        [numpy_helper.from_array(values, name) for name, values in arrays.items()])
    listed = helper.make_tensor("listed", TensorProto.FLOAT, [2], [1.0, 2.0])  # not as raw bytes
    graph.initializer.append(listed)
    edited = OnnxGraph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    for name, values in arrays.items():
        assert edited.constants.shape_of(name) == values.shape
        assert edited.constants[name].dtype == values.dtype
        np.testing.assert_array_equal(edited.constants[name], values)
    assert edited.constants["listed"].tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        edited.constants["f"][0] = 1
    written = {t.name: t for t in edited.to_model().graph.initializer}
    for name in arrays:
        assert written[name] == next(t for t in graph.initializer if t.name == name)
