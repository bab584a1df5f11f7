"""No-ops go; what only looks like one stays."""

import pytest
from rewritten import parsed, rewritten

from solutions.phase2_optimization.graph_passes.broadcasts import drop_expands
from solutions.phase2_optimization.graph_passes.casts import merge_casts
from solutions.phase2_optimization.graph_passes.common_subexpressions import (
    merge_common_subexpressions,
)
from solutions.phase2_optimization.graph_passes.identities import (
    drop_identities,
    drop_neutral_operands,
)
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph

GONE = {
    "identity": "b = Identity(a)",
    "dropout": "b = Dropout(a, half)",
    "dropout_mask_unread": "b, mask = Dropout(a, half)",
    "cast_to_same": "b = Cast<to = 1>(a)",
    "reshape_to_same": "b = Reshape(a, same)",
    "transpose_in_order": "b = Transpose<perm = [0, 1, 2]>(a)",
    "slice_of_everything": "b = Slice(a, zero, huge, one)",
    "zero_pad": "b = Pad(a, no_pads)",
    "concat_of_one": "b = Concat<axis = 1>(a)",
    "sum_of_one": "b = Sum(a)",
    "expand_to_same": "b = Expand(a, ones)",
    "tile_once": "b = Tile(a, ones3)",
    "clip_without_bounds": "b = Clip(a)",
    "gather_all": "b = Gather<axis = 1>(a, rows)",
    "resize_to_same": "b = Resize(a, , fones)",
}
STAYS = {
    "reversed": "b = Slice(a, last, before, one, minus)",
    "a_part": "b = Slice(a, zero, one, one)",
    "to_double_and_back": "c = Cast<to = 11>(a)  b = Cast<to = 1>(c)",
    "swapped": "d = Transpose<perm = [2, 0, 1]>(a)  b = Transpose<perm = [0, 1, 2]>(d)",
    "gather_in_another_order": "b = Gather<axis = 1>(a, mixed)",
    "padded": "b = Pad(a, pads)",
}
CONSTANTS = """<float half = {0.5}, int64[3] same = {0, 3, -1}, int64[1] zero = {0},
    int64[1] huge = {9223372036854775807}, int64[1] one = {1},
    int64[6] no_pads = {0, 0, 0, 0, 0, 0},
    int64[2] ones = {1, 1}, int64[3] ones3 = {1, 1, 1}, int64[3] rows = {0, 1, 2},
    int64[3] mixed = {0, 2, 1}, float[3] fones = {1.0, 1.0, 1.0}, int64[1] last = {-1},
    int64[1] before = {-1000}, int64[1] minus = {-1}, int64[6] pads = {0, 1, 0, 0, 0, 0}>"""


@pytest.mark.parametrize("name", GONE)
def test_no_ops_go(name: str) -> None:
    made = rewritten("(float[N, 3, 4] x) => (float[N, 3, 4] y) " + CONSTANTS + " { a = Neg(x) "
                     + GONE[name] + " y = Exp(b) }", drop_identities)
    assert made.changed == 1 and made.operators == {"Neg": 1, "Exp": 1}


@pytest.mark.parametrize("name", STAYS)
def test_what_changes_something_stays(name: str) -> None:
    made = rewritten("(float[N, 3, 4] x) => (float[K, L, M] y) " + CONSTANTS + " { a = Neg(x) "
                     + STAYS[name] + " y = Exp(b) }", drop_identities)
    # of "swapped" the Transpose that keeps the order goes, of the casts none is a no-op
    assert made.changed == (name == "swapped")


def test_dropout_in_training_stays() -> None:
    graph = OnnxGraph(parsed("""(float[2] x) => (float[2] y) <float r = {0.5}, bool t = {1}> {
        a = Dropout(x, r, t)  y = Neg(a) }"""))
    assert drop_identities(graph) == 0
    asked = OnnxGraph(parsed("""(float[2] x, bool t) => (float[2] y) <float r = {0.5}> {
        a = Dropout(x, r, t)  y = Neg(a) }"""))
    assert drop_identities(asked) == 0


def test_a_mask_that_is_read_keeps_its_dropout() -> None:
    made = rewritten("""(float[2] x) => (float[2] y, bool[2] m) {
        a, m = Dropout(x)  y = Neg(a) }""", drop_identities)
    assert made.changed == 0


@pytest.mark.parametrize("node", [
    "b = Add(a, zeros)", "b = Add(zeros, a)", "b = Sub(a, zeros)", "b = Mul(ones, a)",
    "b = Div(a, scalar)", "b = Pow(a, scalar)",
])
def test_neutral_elements_go(node: str) -> None:
    made = rewritten("""(float[N, 2] x) => (float[N, 2] y) <float[2] zeros = {0.0, 0.0},
        float[1, 2] ones = {1.0, 1.0}, float scalar = {1.0}> { a = Exp(x) """ + node
        + " y = Neg(b) }", drop_neutral_operands)
    assert made.changed == 1 and made.operators == {"Exp": 1, "Neg": 1}


@pytest.mark.parametrize("node", [
    "b = Sub(zeros, a)", "b = Div(ones, a)", "b = Mul(a, almost)", "b = Add(a, wide)",
])
def test_operands_that_count_stay(node: str) -> None:
    made = rewritten("""(float[N, 2] x) => (float[K, L, M] y) <float[2] zeros = {0.0, 0.0},
        float[1, 2] ones = {1.0, 1.0}, float[2] almost = {1.0, 1.5},
        float[2, 1, 1] wide = {0.0, 0.0}, int64[3] rows = {-1, 1, 2}> { a = Exp(x) """ + node
        + " c = Reshape(b, rows)  y = Add(c, c) }", drop_neutral_operands)
    assert made.operators["Exp"] == 1 and made.changed == 0


def test_equal_chains_are_computed_once() -> None:
    made = rewritten("""(float[2] x, float[2] z) => (float[2] y) {
        a = Add(x, z)  b = Add(z, x)  c = Exp(a)  d = Exp(b)  y = Mul(c, d) }""",
        merge_common_subexpressions)
    assert made.changed == 2 and made.operators == {"Add": 1, "Exp": 1, "Mul": 1}


def test_other_attributes_and_other_orders_are_other_values() -> None:
    made = rewritten("""(float[2, 2] x, float[2, 2] z) => (float[2, 2] y) {
        a = Sub(x, z)  b = Sub(z, x)  c = Softmax<axis = 0>(a)  d = Softmax<axis = 1>(a)
        e = Add(c, d)  y = Mul(e, b) }""", merge_common_subexpressions)
    assert made.changed == 0


def test_two_random_draws_stay_two() -> None:
    graph = OnnxGraph(parsed("""(float[2] x) => (float[2] y) {
        a = RandomNormalLike(x)  b = RandomNormalLike(x)  y = Sub(a, b) }"""))
    assert merge_common_subexpressions(graph) == 0


def test_both_outputs_of_twins_are_shared() -> None:
    made = rewritten("""(float[2, 4] x) => (float[2, 2] y) <int64[1] k = {2}> {
        a, i = TopK(x, k)  b, j = TopK(x, k)  c = Cast<to = 1>(j)  d = Mul(a, c)
        y = Add(d, b) }""",
        merge_common_subexpressions)
    assert made.operators["TopK"] == 1


@pytest.mark.parametrize(("between", "merged"), [(11, 1), (10, 0), (7, 0)])
def test_casts_merge_where_nothing_is_lost(between: int, merged: int) -> None:
    made = rewritten(f"(float[4] x) => (float[4] y) {{ a = Cast<to = {between}>(x)"
                     " y = Cast<to = 1>(a) }", merge_casts)
    assert made.changed == merged


def test_casts_to_text_keep_the_type_in_between() -> None:
    graph = OnnxGraph(parsed("""(float[2] x) => (string[2] y) {
        a = Cast<to = 11>(x)  y = Cast<to = 8>(a) }"""))
    assert merge_casts(graph) == 0


def test_expands_go_where_the_operator_broadcasts() -> None:
    made = rewritten("""(float[N, 1] x, float[N, 3] z) => (float[N, 3] y) <int64[2] s = {1, 3}> {
        a = Expand(x, s)  y = Add(a, z) }""", drop_expands)
    assert made.changed == 1 and made.operators == {"Add": 1}
    kept = rewritten("""(float[2, 1] x, float z) => (float[2, 3] y) <int64[2] s = {1, 3}> {
        a = Expand(x, s)  y = Add(a, z) }""", drop_expands)
    assert kept.changed == 0
