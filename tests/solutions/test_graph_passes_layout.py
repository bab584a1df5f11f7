"""Reshapes, transposes, slices and concats that follow each other are merged."""

from rewritten import rewritten

from solutions.phase2_optimization.graph_passes.concats import merge_concats
from solutions.phase2_optimization.graph_passes.identities import drop_identities
from solutions.phase2_optimization.graph_passes.reshapes import fix_targets, merge_reshapes
from solutions.phase2_optimization.graph_passes.rotations import gather_slices
from solutions.phase2_optimization.graph_passes.slices import merge_slices
from solutions.phase2_optimization.graph_passes.transposes import (
    merge_transposes,
    reshape_unit_transposes,
    sink_transposes,
)


def test_chains_of_reshapes_are_one() -> None:
    made = rewritten("""(float[N, 3, 4] x) => (float[K, L, M, 1] y)
        <int64[1] last = {-1}, int64[3] t = {0, 4, 3}> {
        a = Flatten(x)  b = Unsqueeze(a, last)  c = Squeeze(b, last)  d = Reshape(c, t)
        y = Unsqueeze(d, last) }""", merge_reshapes)
    assert made.operators == {"Reshape": 1}
    assert made.constant(made.node("Reshape").input[1]).tolist() == [-1, 4, 3, 1]


def test_reshapes_there_and_back_vanish() -> None:
    made = rewritten("""(float[N, 3] x) => (float[N, 3] y) <int64[1] axis = {1}> {
        n = Neg(x)  a = Unsqueeze(n, axis)  b = Squeeze(a, axis)  y = Exp(b) }""", merge_reshapes)
    assert made.operators == {"Neg": 1, "Exp": 1}


def test_a_reshape_that_others_read_stays() -> None:
    made = rewritten("""(float[N, 3, 4] x) => (float[N, 12, 1] y, float[N, 12] z)
        <int64[1] last = {-1}> { a = Flatten(x)  y = Unsqueeze(a, last)  z = Neg(a) }""",
        merge_reshapes)
    assert made.changed == 0


def test_two_free_sizes_need_one_that_stays_in_place() -> None:
    made = rewritten("""(float[N, T, 4] x) => (float[A, B, C, D] y) <int64 i = {0}, int64 j = {1},
        int64[1] axis = {0}, int64[2] rest = {2, 2}> {
        s = Shape(x)  n = Gather(s, i)  t = Gather(s, j)  n1 = Unsqueeze(n, axis)
        t1 = Unsqueeze(t, axis)  target = Concat<axis = 0>(n1, t1, rest)  y = Reshape(x, target) }
        """, fix_targets)
    assert made.operators == {"Reshape": 1}
    assert made.constant(made.node("Reshape").input[1]).tolist() == [0, -1, 2, 2]


def test_an_expand_to_a_known_shape_needs_no_arithmetic() -> None:
    made = rewritten("""(float[N, 1] x, float[N, 3] z) => (float[N, 3] y) {
        s = Shape(z)  y = Expand(x, s) }""", fix_targets)
    assert made.operators == {"Expand": 1}


def test_transposes_are_composed() -> None:
    made = rewritten("""(float[N, 3, 4] x) => (float[A, B, C] y) {
        a = Transpose<perm = [0, 2, 1]>(x)  b = Transpose<perm = [1, 0, 2]>(a)  y = Neg(b) }""",
        merge_transposes)
    assert made.operators == {"Transpose": 1, "Neg": 1}
    assert list(made.node("Transpose").attribute[0].ints) == [2, 0, 1]


def test_a_transpose_without_perm_reverses() -> None:
    made = rewritten("""(float[2, 3, 4] x) => (float[A, B, C] y) {
        a = Transpose(x)  y = Transpose<perm = [1, 0, 2]>(a) }""", merge_transposes)
    assert list(made.node("Transpose").attribute[0].ints) == [1, 2, 0]


def test_transposes_meet_through_elementwise_operators() -> None:
    made = rewritten("""(float[N, 3, 4] x) => (float[A, B, C] y) <float low = {0.0}> {
        a = Transpose<perm = [0, 2, 1]>(x)  b = Clip(a, low)
        y = Transpose<perm = [0, 2, 1]>(b) }""",
        sink_transposes, merge_transposes, drop_identities)
    assert made.operators["Transpose"] == 0 and made.operators["Clip"] == 1


def test_moving_an_axis_of_one_is_a_reshape() -> None:
    made = rewritten("""(float[N, 1, 4, 1, 5] x, float[1, 3, 4] z) => (float y, float w) {
        a = Transpose<perm = [0, 3, 2, 1, 4]>(x)  b = Transpose<perm = [3, 0, 2, 4, 1]>(a)
        y = Neg(b)  c = Transpose<perm = [0, 2, 1]>(z)  w = Neg(c) }""", reshape_unit_transposes)
    assert made.changed == 2 and made.operators == {"Reshape": 2, "Neg": 2, "Transpose": 1}


def test_two_transposed_operands_need_one_transpose() -> None:
    made = rewritten("""(float[N, 3, 4] x, float[N, 3, 4] z) => (float[N, 4, 3] y) {
        a = Transpose<perm = [0, 2, 1]>(x)  b = Transpose<perm = [0, 2, 1]>(z)  y = Add(a, b) }""",
        sink_transposes)
    assert made.operators == {"Transpose": 1, "Add": 1}


def test_slices_of_different_axes_are_one() -> None:
    made = rewritten("""(float[N, 6, 8] x) => (float[A, B, C] y, float[D, E, F] z)
        <int64[1] s = {1}, int64[1] e = {5}, int64[1] one = {1}, int64[1] last = {-1},
        int64[1] two = {2}> {
        a = Slice(x, s, e, one, two)  y = Slice(a, s, e, last)  z = Slice(a, two, e, last) }""",
        merge_slices)
    assert made.operators == {"Slice": 2}


def test_slices_of_one_axis_stay() -> None:
    made = rewritten("""(float[N, 6] x) => (float[A, B] y)
        <int64[1] s = {1}, int64[1] e = {5}, int64[1] one = {1}> {
        a = Slice(x, s, e, one)  y = Slice(a, s, e, one) }""", merge_slices)
    assert made.changed == 0


def test_concats_take_in_concats() -> None:
    made = rewritten("""(float[N, 2] x, float[N, 3] z) => (float[N, A] y) {
        a = Concat<axis = 1>(x, z)  b = Concat<axis = -1>(z, x)  y = Concat<axis = 1>(a, x, b) }""",
        merge_concats)
    assert made.changed == 2 and list(made.node("Concat").input) == ["x", "z", "x", "z", "x"]


def test_concats_of_other_axes_or_with_other_readers_stay() -> None:
    made = rewritten("""(float[2, 2] x) => (float[A, B] y, float[C, D] z) {
        a = Concat<axis = 0>(x, x)  b = Concat<axis = 0>(x, x)  y = Concat<axis = 1>(a, b)
        z = Neg(b) }""", merge_concats)
    assert made.changed == 0


ROLL = """<int64[1] zero = {0}, int64[1] two = {2}, int64[1] huge = {9223372036854775807},
    int64[1] minus = {-2}, int64[1] one = {1}, int64[1] last = {-1}>"""


def test_a_roll_is_one_gather() -> None:
    made = rewritten("(float[N, 5, 16] x) => (float[N, A, 16] y) " + ROLL + """ {
        a = Slice(x, minus, huge, one)  b = Slice(x, zero, minus, one)
        c = Slice(x, zero, huge, one, two)  y = Concat<axis = -2>(a, b, c) }""", gather_slices)
    assert made.operators == {"Gather": 1}
    assert made.constant(made.node("Gather").input[1]).tolist() == [3, 4, 0, 1, 2, 0, 2, 4]


def test_short_rows_other_axes_and_other_readers_stay_slices() -> None:
    made = rewritten("(float[N, 5, 16] x) => (float[A] y, float[B] z, float[C] w, float[D] v) "
                     + ROLL + """ {
        a = Slice(x, two, huge, last)  b = Slice(x, zero, two, last)
        y = Concat<axis = 2>(a, b)
        c = Slice(x, two, huge, one)  d = Slice(x, zero, two, one)
        z = Concat<axis = 0>(c, c)  w = Concat<axis = 1>(c, d)
        v = Neg(d) }""", gather_slices)
    assert made.changed == 0
