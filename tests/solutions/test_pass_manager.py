"""The pass manager: a fixed point, honest counts, and faulty passes undone and named."""

import numpy as np
import onnx
import pytest
from onnx import parser

from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from solutions.phase2_optimization.pass_manager import optimize
from solutions.phase2_optimization.pass_order import ONNXRUNTIME_STAGES
from zoo.errors import InferenceError

TWO = """
<ir_version: 8, opset_import: ["" : 17]>
two (float[N, 4] x) => (float[N, 4] y) {
    one = Constant<value_float = 2.0>()
    a = Mul(x, one)
    unused = Relu(a)
    y = Neg(a)
}
"""


def model(text: str = TWO) -> onnx.ModelProto:
    return parser.parse_model(text)


def negative_goes(graph: OnnxGraph) -> int:
    """A wrong pass: takes out Neg."""
    found = [node for node in graph.nodes if node.op_type == "Neg"]
    return sum(graph.replace(node.output[0], node.input[0]) for node in found)


def raises_half_way(graph: OnnxGraph) -> int:
    graph.nodes.clear()
    graph.model.metadata_props.add(key="made for", value="nobody")
    raise ValueError("did not think of that")


def never_done(graph: OnnxGraph) -> int:
    return 1


def test_the_default_passes_keep_the_outputs_and_count_what_goes() -> None:
    before = model()
    text = before.SerializeToString()
    made = optimize(before, verify=True)
    assert before.SerializeToString() == text
    assert [node.op_type for node in made.model.graph.node] == ["Mul", "Neg"]
    assert made.nodes_before == 4 and made.nodes_after == 2
    assert sum(report.removed_nodes for report in made.passes) == 2
    assert all(report.seconds >= 0 and not report.undone for report in made.passes)
    assert optimize(made.model).rounds == 0


def test_a_pass_that_changes_an_output_is_undone_and_named() -> None:
    made = optimize(model(), stages=[[negative_goes]], verify=True)
    (report,) = made.passes
    assert report.name == "negative_goes" and "off by" in report.undone
    assert len(made.model.graph.node) == 4
    unseen = optimize(model(), stages=[[negative_goes]])
    assert "Neg" not in [node.op_type for node in unseen.model.graph.node]


def test_a_pass_that_raises_is_undone_and_named() -> None:
    made = optimize(model(), stages=[[raises_half_way]])
    assert made.passes[0].undone == "ValueError: did not think of that"
    assert len(made.model.graph.node) == 4 and not made.model.metadata_props


def test_passes_that_never_end_are_stopped() -> None:
    assert optimize(model(), stages=[[never_done]]).rounds == 20


def test_a_pass_can_be_left_out() -> None:
    made = optimize(model(), skip=["drop_dead_nodes"])
    assert "Relu" in [node.op_type for node in made.model.graph.node]


def test_random_outputs_are_verified_by_shape_only() -> None:
    made = optimize(model("""
        <ir_version: 8, opset_import: ["" : 17]>
        noisy (float[2, 4] x) => (float[2, 4] y, float[2, 4] z) {
            noise = RandomNormalLike(x)
            y = Add(x, noise)
            a = Relu(x)
            z = Neg(a)
        }"""), stages=[[negative_goes]], verify=True)
    assert made.notes == ["output 'y' is random: only its shape is verified"]
    assert "'z'" in made.passes[0].undone


def test_a_network_that_amplifies_rounding_is_judged_by_its_own_measure() -> None:
    """sin(3000 x) answers the last digits of x with 5e-3: 2e-4 may be rounding, 5e-2 may not."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        wild (float[64] x) => (float[64] y) <float k = {3000.0}, float t = {1.0}> {
            a = Mul(x, k)  b = Sin(a)  y = Mul(b, t) }"""
    def nudged(graph: OnnxGraph) -> int:
        graph.set_constant("t", np.float32(1.0 + 2e-4))
        return 1

    def broken(graph: OnnxGraph) -> int:
        graph.set_constant("t", np.float32(1.05))
        return 1

    made = optimize(model(text), stages=[[broken], [nudged]], verify=True)
    assert "amplifies rounding" in made.notes[0]
    assert [bool(report.undone) for report in made.passes] == [True, False]
    calm = optimize(model(text.replace("3000.0", "1.0")), stages=[[nudged]], verify=True)
    assert calm.passes[0].undone and not calm.notes


def test_an_output_that_jumps_is_verified_by_its_kind() -> None:
    """The place of the largest of many that a last digit decides."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        ties (float[64] x) => (int64[1] y, float[64] z) <float k = {1e8}> {
            a = Mul(x, k)  b = Sin(a)  y = ArgMax<axis = 0>(b)  c = Relu(x)  z = Neg(c) }"""
    made = optimize(model(text), stages=[[negative_goes]], verify=True)
    assert made.notes == ["output 'y' jumps where rounding changes: only its kind is verified"]
    assert "output 'z'" in made.passes[0].undone


def test_a_graph_that_nothing_here_can_run_is_told() -> None:
    made = optimize(model("""
        <ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        own (float[2] x) => (float[2] y) { a = mine.Thing(x)  y = Neg(a) }"""), verify=True)
    assert made.notes[0] == "unknown operator, kept: mine.Thing (1)"
    assert made.notes[1].startswith("not verified: ")


def test_quantized_graphs_get_the_portable_stage_only() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        q (float[2] x) => (float[2] y)
        <float s = {0.5}, int8 z = {0}> {
            a = QuantizeLinear(x, s, z)
            b = DequantizeLinear(a, s, z)
            y = Neg(b)
        }"""
    made = optimize(model(text), stages=[[], [negative_goes]])
    assert len(made.model.graph.node) == 3 and "quantized" in made.notes[0]


def test_nan_and_infinity_count_as_values() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        n (float[3] x) => (float[3] y) <float[3] w = {0.0, 0.0, 0.0}> { a = Log(w)  y = Neg(a) }"""
    broken = model(text)
    broken.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.array([np.nan, 1, np.inf], np.float32), "w"))
    made = optimize(broken, stages=[[negative_goes]], verify=True)
    assert made.passes[0].undone == "output 'y': NaN or infinity at other places"


def test_unsound_graphs_are_refused() -> None:
    broken = model()
    broken.graph.node[1].input[0] = "nobody"
    with pytest.raises(InferenceError, match="'nobody', which nobody makes"):
        optimize(broken)


def test_every_pass_has_a_name_of_its_own_and_a_proof() -> None:
    passes = {one for stage in ONNXRUNTIME_STAGES for one in stage}
    assert len({one.__name__ for one in passes}) == len(passes) >= 40
    assert [one.__name__ for one in passes if "Proof:" not in (one.__doc__ or "")] == []
