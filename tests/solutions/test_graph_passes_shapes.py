"""Parts of shapes, reductions and squeezes: fewer nodes, the same values."""

import pytest
from rewritten import rewritten

from solutions.phase2_optimization.graph_passes.dead_code import drop_dead_nodes
from solutions.phase2_optimization.graph_passes.reductions import absorb_reshapes
from solutions.phase2_optimization.graph_passes.shapes import narrow_shapes
from solutions.phase2_optimization.graph_passes.squeezes import lift_squeezes

CONSTANTS = """<int64 i = {1}, int64 last = {-1}, int64[1] list = {-2}, int64[1] zero = {0},
    int64[1] two = {2}, int64[2] some = {0, 2}>"""


@pytest.mark.parametrize("nodes", [
    "g = Gather(s, i)  y = Unsqueeze(g, zero)", "g = Gather(s, last)  y = Unsqueeze(g, zero)",
    "y = Gather(s, list)", "y = Slice(s, zero, two)",
])
def test_a_part_of_a_shape_is_one_node(nodes: str) -> None:
    made = rewritten("(float[A, B, C] x) => (int64[D] y) " + CONSTANTS + " { s = Shape(x) "
                     + nodes + " }", narrow_shapes)
    assert made.operators == {"Shape": 1}


@pytest.mark.parametrize("nodes", ["y = Gather(s, some)", "g = Gather(s, i)  y = Neg(g)"])
def test_scattered_places_and_single_numbers_stay(nodes: str) -> None:
    made = rewritten("(float[A, B, C] x) => (int64 y) " + CONSTANTS + " { s = Shape(x) " + nodes
                     + " }", narrow_shapes)
    assert made.changed == 0


def test_parts_of_parts_and_other_readers_stay() -> None:
    made = rewritten("(float[A, B, C] x) => (int64[D] y, int64 z) " + CONSTANTS + """ {
        s = Shape<start = 1>(x)  y = Gather(s, list)  t = Shape(x)  z = Gather(t, i) }""",
        narrow_shapes)
    assert made.changed == 0


@pytest.mark.parametrize(("reduction", "reshape"), [
    ("ReduceMax<axes = [1], keepdims = 0>(x)", "Unsqueeze(r, one)"),
    ("ReduceMean<axes = [-1], keepdims = 1>(x)", "Flatten(r)"),
    ("ReduceMin<axes = [1, 2], keepdims = 1>(x)", "Squeeze(r, axes)"),
    ("ReduceSum<keepdims = 1>(x, one)", "Squeeze(r, one)"),
])
def test_a_reduction_shapes_its_output_itself(reduction: str, reshape: str) -> None:
    made = rewritten(f"""(float[N, 3, 4] x) => (float y)
        <int64[1] one = {{1}}, int64[2] axes = {{1, 2}}> {{ r = {reduction}  v = {reshape}
        y = Neg(v) }}""",
        absorb_reshapes, drop_dead_nodes)
    assert made.changed == 1 and sum(made.operators.values()) == 2


def test_a_reshape_to_another_shape_stays() -> None:
    made = rewritten("""(float[2, 3, 4] x) => (float[A, B] y) <int64[2] s = {4, 2}> {
        r = ReduceMax<axes = [1], keepdims = 0>(x)  y = Reshape(r, s) }""", absorb_reshapes)
    assert made.changed == 0


def test_the_axis_that_a_reshape_makes_and_a_squeeze_takes_is_not_made() -> None:
    made = rewritten("""(float[N, 5, 6] x) => (float[A, B, C, D] y)
        <int64[5] s = {1, -1, 5, 3, 2}, int64[1] axis = {-2}> {
        r = Reshape(x, s)  t = Transpose<perm = [3, 1, 2, 0, 4]>(r)  y = Squeeze(t, axis) }""",
        lift_squeezes)
    assert made.changed == 1 and made.operators == {"Reshape": 1, "Transpose": 1}
    assert list(made.node("Transpose").attribute[0].ints) == [2, 0, 1, 3]
