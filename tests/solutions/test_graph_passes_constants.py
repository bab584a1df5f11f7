"""Constants: lifted, folded through shape arithmetic, merged; what must not be folded stays."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from rewritten import parsed, rewritten

from solutions.phase2_optimization.graph_passes.constant_folding import fold_constants
from solutions.phase2_optimization.graph_passes.constants import lift_constants
from solutions.phase2_optimization.graph_passes.dead_code import drop_dead_nodes
from solutions.phase2_optimization.graph_passes.duplicate_weights import merge_duplicate_weights
from solutions.phase2_optimization.graph_passes.reshapes import fix_targets
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph


def test_constant_nodes_of_every_kind_become_initializers() -> None:
    made = rewritten("""(float[2] x) => (float[2] y, int64[2] z) {
        a = Constant<value = float[2] {1.0, 2.0}>()
        b = Constant<value_float = 3.0>()
        z = Constant<value_ints = [4, 5]>()
        c = Add(x, a)
        y = Mul(c, b)
    }""", lift_constants)
    assert made.changed == 2 and made.operators == {"Add": 1, "Mul": 1, "Constant": 1}


def test_what_nobody_reads_goes_in_one_walk() -> None:
    made = rewritten("""(float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> {
        y = Neg(x)  a = Relu(x)  b = Add(a, w)  c = Exp(b) }""", drop_dead_nodes)
    assert made.changed == 3 and made.operators == {"Neg": 1}
    assert not made.model.graph.initializer


def test_chains_of_constants_are_computed() -> None:
    made = rewritten("""(float[3] x) => (float[3] y) <float[3] w = {4.0, 9.0, 16.0}> {
        a = Sqrt(w)  b = Neg(a)  y = Add(x, b) }""", fold_constants)
    assert made.changed == 2 and made.operators == {"Add": 1}


def test_static_shapes_are_constants_through_reshapes() -> None:
    """Each Reshape's target comes from the shape of the one before."""
    made = rewritten("""(float[2, 3, 4] x) => (float[a, b] y)
        <int64[1] one = {-1}, int64 i = {1}, int64[1] axis = {0}, int64[1] i2 = {0},
        int64[1] e2 = {1}> {
        s = Shape(x)
        g = Gather(s, i)
        u = Unsqueeze(g, axis)
        t = Concat<axis = 0>(u, one)
        r = Reshape(x, t)
        s2 = Shape(r)
        half = Slice(s2, i2, e2)
        t2 = Concat<axis = 0>(one, half)
        y = Reshape(r, t2)
    }""", fold_constants)
    assert made.operators == {"Reshape": 2}


def test_a_free_batch_leaves_one_reshape() -> None:
    text = """(float[N, 3, 4] x) => (float[N, M] y)
        <int64 i = {0}, int64[1] axis = {0}, int64[1] rest = {12}> {
        s = Shape(x)
        g = Gather(s, i)
        u = Unsqueeze(g, axis)
        t = Concat<axis = 0>(u, rest)
        y = Reshape(x, t)
    }"""
    made = rewritten(text, fold_constants, fix_targets, drop_dead_nodes)
    assert made.operators == {"Reshape": 1}
    assert made.constant(made.node("Reshape").input[1]).tolist() == [-1, 12]


def test_the_fixed_sizes_of_a_partly_free_shape_are_constants() -> None:
    made = rewritten("""(float[N, 3, 4] x) => (int64[1] y) <int64[2] i = {1, 2}, int64[1] z = {0}> {
        s = Shape(x)  g = Gather(s, i)  p = ReduceProd<keepdims = 1>(g)  y = Add(p, z) }""",
        fold_constants, drop_dead_nodes)
    assert made.operators == {"Add": 1}


@pytest.mark.parametrize(("name", "node"), [
    ("random", "a = RandomNormalLike(w)"),
    ("bernoulli", "a = Bernoulli(w)"),
    ("training", "a = Dropout(w, ratio, yes)"),
])
def test_random_nodes_are_never_folded(name: str, node: str) -> None:
    model = parsed("(float[2] x) => (float[2] y) <float[2] w = {1.0, 1.0}, float ratio = {0.5},"
                   " bool yes = {1}> { " + node + " y = Add(x, a) }")
    graph = OnnxGraph(model)
    assert fold_constants(graph) == 0 and len(graph.nodes) == 2


def test_quantizers_of_weights_stay() -> None:
    model = parsed("(float[2] x) => (float[2] y)"
                   " <int8[2] w = {1, 2}, float s = {0.5}, int8 z = {0}>"
                   " { a = DequantizeLinear(w, s, z)  y = Add(x, a) }")
    assert fold_constants(OnnxGraph(model)) == 0


def test_operators_of_strangers_stay() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]> g '
    model = onnx.parser.parse_model(
        text + "(float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}>"
        " { a = mine.Sqrt(w)  y = Add(x, a) }")
    assert fold_constants(OnnxGraph(model)) == 0


def test_weights_stored_in_half_precision_stay_small() -> None:
    weights = np.ones(256, np.float16)
    model = parsed("(float[256] x) => (float[256] y) { a = Cast<to = 1>(w)  y = Add(x, a) }")
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    assert fold_constants(OnnxGraph(model)) == 0


def test_a_file_does_not_grow_by_folding() -> None:
    made = parsed("(float[N] x) => (float[4096, 4096] y) <int64[2] s = {4096, 4096}> {"
                  " a = ConstantOfShape(s)  y = Add(x, a) }")
    assert fold_constants(OnnxGraph(made)) == 0


def test_missing_optional_outputs_are_no_constants() -> None:
    made = rewritten("(float[4] x) => (float[2] y) <float[4] w = {4.0, 1.0, 3.0, 2.0},"
                     " int64[1] k = {2}> { , a = TopK(w, k)  b = Gather(x, a)  y = Neg(b) }",
                     fold_constants)
    assert made.operators == {"Gather": 1, "Neg": 1}


def test_integer_division_goes_towards_zero() -> None:
    made = rewritten("(int64[2] x) => (int64[2] y) <int64[2] a = {-7, 7}, int64[2] b = {2, -2}> {"
                     " q = Div(a, b)  y = Add(x, q) }", fold_constants)
    assert made.constant(made.node("Add").input[1]).tolist() == [-3, -3]


def test_division_by_zero_is_left_to_the_runtime() -> None:
    model = parsed("(int64[1] x) => (int64[1] y) <int64[1] a = {7}, int64[1] b = {0}> {"
                   " q = Div(a, b)  y = Add(x, q) }")
    assert fold_constants(OnnxGraph(model)) == 0


def test_equal_weights_are_stored_once_and_nan_with_nan() -> None:
    graph = helper.make_graph(
        [helper.make_node("Sum", ["x", "a", "b", "c", "d", "e"], ["y"])], "g",
        [helper.make_tensor_value_info("x", 1, [3])], [helper.make_tensor_value_info("y", 1, [3])],
        [numpy_helper.from_array(np.array(values, np.float32), name) for name, values in {
            "a": [1, np.nan, 0], "b": [1, np.nan, 0], "c": [1, 2, 0], "d": [1, 2, -0.0],
            "e": [1, 2, 0]}.items()])
    edited = OnnxGraph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert merge_duplicate_weights(edited) == 2
    (node,) = edited.to_model().graph.node
    assert list(node.input) == ["x", "a", "a", "c", "d", "c"]


def test_large_weights_that_differ_between_the_samples_are_kept() -> None:
    first = np.zeros(10000, np.float32)
    second = first.copy()
    second[3] = 1
    model = parsed("(float[10000] x) => (float[10000] y) { a = Add(x, v)  y = Mul(a, w) }")
    model.graph.initializer.extend(
        [numpy_helper.from_array(first, "v"), numpy_helper.from_array(second, "w")])
    assert merge_duplicate_weights(OnnxGraph(model)) == 0
