"""Arithmetic, lifetimes and the roof: closed forms and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solutions.phase1_basics.activation_memory import activation_peak, lifetimes
from solutions.phase1_basics.call_tree import call_tree, icicle, name_parts
from solutions.phase1_basics.exclusive_time import Span, exclusive_times
from solutions.phase1_basics.flops import operator_flops, traffic_bytes
from solutions.phase1_basics.layers import Layer, Operation, top_layers
from solutions.phase1_basics.onnx_profile import read_onnx_profile
from solutions.phase1_basics.roofline import Ceilings, Product, best_rate, measure_ceilings, place
from tests.solutions.scripted import ScriptedClock
from zoo.errors import InferenceError


@pytest.mark.parametrize(("kind", "inputs", "output", "flops"), [
    ("Conv", [(1, 3, 224, 224), (64, 3, 7, 7)], (1, 64, 112, 112), 236_027_904),  # ResNet's first
    ("Conv", [(2, 32, 8, 8), (32, 1, 3, 3), (32,)], (2, 32, 8, 8), 2 * 2 * 32 * 64 * 9),
    ("QLinearConv", [(1, 4, 5, 5), (), (), (8, 4, 3, 3), (), (), (), ()], (1, 8, 3, 3),
     2 * 8 * 9 * 36),
    ("ConvTranspose", [(1, 8, 4, 4), (8, 5, 2, 2)], (1, 5, 8, 8), 2 * 8 * 16 * 5 * 4),
    ("MatMul", [(7, 5), (5, 3)], (7, 3), 2 * 7 * 5 * 3),
    ("MatMul", [(2, 4, 7, 5), (2, 4, 5, 3)], (2, 4, 7, 3), 2 * 8 * 7 * 5 * 3),
    ("MatMul", [(2, 7, 5), (5, 3)], (2, 7, 3), 2 * 2 * 7 * 5 * 3),
    ("MatMul", [(2, 7, 5), (5,)], (2, 7), 2 * 2 * 7 * 5),
    ("MatMul", [(5,), (5, 3)], (3,), 2 * 5 * 3),
    ("Gemm", [(4, 6), (10, 6), (10,)], (4, 10), 2 * 4 * 6 * 10),  # transB
    ("FusedMatMul", [(6, 4), (6, 10)], (4, 10), 2 * 4 * 6 * 10),  # transA
    ("QLinearMatMul", [(4, 6), (), (), (6, 10), (10,), (10,), (), ()], (4, 10), 480),
    ("Relu", [(2, 3)], (2, 3), 6), ("GlobalAveragePool", [(1, 4, 7, 7)], (1, 4, 1, 1), 196),
    ("Reshape", [(2, 3)], (6,), 0), ("NoSuchOperator", [(2, 3)], (6,), 0),
])
def test_flops_are_the_closed_forms(kind, inputs, output, flops) -> None:
    assert operator_flops(kind, inputs, [output]) == flops


def test_flops_of_nothing() -> None:
    assert operator_flops("Conv", [], []) == 0 and operator_flops("MatMul", [(0, 5), (5, 3)],
                                                                  [(0, 3)]) == 0
    assert traffic_bytes([((2, 3), 4), ((), 8), ((5,), 1)]) == 24 + 8 + 5


tensors = st.sampled_from("abcdefgh")
operations = st.lists(
    st.builds(lambda i, r, w: Operation(f"op{i}", tuple(r), tuple(w)), st.integers(0, 99),
              st.lists(tensors, max_size=3), st.lists(tensors, min_size=1, max_size=2)),
    min_size=1, max_size=12,
)


@given(operations, st.dictionaries(tensors, st.integers(1, 50)), st.lists(tensors, max_size=2))
def test_the_peak_is_that_of_a_brute_force_search(steps, sizes, results) -> None:
    def touched(name: str) -> list[int]:
        return [i for i, op in enumerate(steps) if name in (*op.reads, *op.writes)]

    def alive(name: str, at: int) -> bool:
        where = touched(name)
        if not where:
            return False
        first_op = steps[where[0]]
        first = 0 if name in first_op.reads else where[0]
        last = len(steps) - 1 if name in results else where[-1]
        return first <= at <= last

    weights = [sum(sizes[n] for n in sizes if alive(n, at)) for at in range(len(steps))]
    found = activation_peak(steps, sizes, results)
    assert found.peak_bytes == max(weights)
    assert sum(sizes[n] for n in found.living) == max(weights)
    assert found.total_bytes == sum(sizes[n] for n in sizes if touched(n))


def test_a_chain_needs_two_neighbours_and_a_skip_keeps_its_start() -> None:
    chain = [Operation(f"{i}", (f"t{i}",), (f"t{i + 1}",)) for i in range(4)]
    sizes = {"t0": 10, "t1": 40, "t2": 30, "t3": 5, "t4": 1}
    assert activation_peak(chain, sizes, ["t4"])[:2] == (70, "1")
    skip = [*chain[:3], Operation("add", ("t3", "t0"), ("t4",))]
    assert activation_peak(skip, sizes, ["t4"])[:2] == (80, "1")
    assert lifetimes(skip)["t0"] == (0, 3)
    assert activation_peak([], {}).peak_bytes == 0


def test_own_time_is_what_the_parts_leave() -> None:
    spans = [Span("conv", 1, 3), Span("relu", 3, 4), Span("block", 0.5, 5), Span("model", 0, 6),
             Span("block", 5, 5.5)]
    found = exclusive_times(spans)
    assert found == {"model": 1.0, "block": 2.0, "conv": 2.0, "relu": 1.0}
    assert sum(found.values()) == 6.0 and exclusive_times([]) == {}


@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=5), st.floats(0.01, 3))
def test_own_times_sum_to_the_whole(parts: list[float], own: float) -> None:
    ends = list(itertools.accumulate(parts))
    spans = [Span(f"p{i}", e - p, e) for i, (p, e) in enumerate(zip(parts, ends, strict=True))]
    spans.append(Span("all", 0.0, ends[-1] + own))
    assert sum(exclusive_times(spans).values()) == pytest.approx(ends[-1] + own)


def test_the_roof_is_the_lower_of_two_ceilings() -> None:
    roof = Ceilings(100e9, 20e9)
    assert roof.ridge == 5 and roof.attainable(1) == 20e9 and roof.attainable(50) == 100e9
    memory = place(Layer("a", "Relu", 1e-3, 2_000_000, 1_000_000), roof)
    assert memory and memory.bound == "memory" and memory.attainable == 40e9
    assert memory.efficiency == pytest.approx(0.05)
    compute = place(Layer("b", "Conv", 1e-3, 50_000_000, 1_000_000), roof)
    assert compute and compute.bound == "compute" and compute.efficiency == pytest.approx(0.5)
    assert place(Layer("c", "Reshape", 1e-3, 0, 10), roof) is None
    with pytest.raises(InferenceError, match="positive"):
        Ceilings(0, 1)


def test_a_ceiling_is_the_best_of_some_tries() -> None:
    clock = ScriptedClock()
    assert best_rate(100, clock.model([2.0, 0.5, 1.0]), 3, clock) == 200
    with pytest.raises(InferenceError, match="finer clock"):
        best_rate(100, lambda: None, 3, clock)


def test_ceilings_are_measured_on_this_machine() -> None:
    matrix = np.ones((64, 64), np.float32)
    fast = Product(lambda: matrix @ matrix, 2.0 * 64**3)
    found = measure_ceilings({"fast": fast}, 2, copy_bytes=2**22, repeats=3)
    assert found.peak_flops > 1e6 and found.bandwidth > 1e6
    assert found.about == "fast, NumPy copy, 2 threads"


def test_top_layers_are_the_slowest_in_order() -> None:
    layers = [Layer(n, "k", s) for n, s in (("a", 1.0), ("b", 3.0), ("c", 1.0), ("d", 2.0))]
    assert [x.name for x in top_layers(layers, 3)] == ["b", "d", "a"]
    assert top_layers(layers, 0) == [] and len(top_layers(layers, 99)) == 4


def test_the_tree_keeps_all_time_and_the_boxes_lie_within_their_parents() -> None:
    layers = [Layer("l1.0.conv", "c", 1.0), Layer("l1.0.relu", "r", 0.5), Layer("l1.0", "b", 0.25),
              Layer("l2.fc", "f", 2.0), Layer("(model)", "m", 0.5), Layer("l2.fc", "f", 1.0)]
    tree = call_tree(layers)
    assert tree.seconds == 5.25 and tree.own == 0.5
    assert tree.parts["l1"].parts["0"].own == 0.25 and tree.parts["l2"].parts["fc"].own == 3.0
    boxes = {box.path: box for box in icicle(tree)}
    assert boxes["l1.0.relu"] == ("relu", "l1.0.relu", 1.0, 0.5, 3)
    assert boxes["l2"].x == 1.75 and boxes[""].width == 5.25
    for path, box in boxes.items():
        if path:
            parent = boxes[path.rpartition(".")[0]]
            assert parent.x <= box.x and box.x + box.width <= parent.x + parent.width + 1e-12
            assert box.depth == parent.depth + 1
    assert {box.name for box in icicle(tree, 0.6)} == {"model", "l1", "0", "conv", "l2", "fc"}
    assert name_parts("/layer1/layer1.0/conv/Conv") == ["layer1", "layer1.0", "conv", "Conv"]


def event(name: str, index: int, dur: int, op: str = "Relu") -> dict:
    """One event of ONNX Runtime's profile."""
    shape = [{"float": [1, 8]}]
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "ts": 0, "args": {
        "op_name": op, "node_index": str(index), "input_type_shape": shape,
        "output_type_shape": shape}}


def test_a_profile_is_read_by_kernel_without_its_first_runs() -> None:
    events = [{"cat": "Session", "name": "model_run", "dur": 99, "args": {}}]
    for dur in (900, 10, 30, 20):
        events += [event("a", 0, dur), event("a", 1, 2 * dur)]
    found = read_onnx_profile(events, skip=1)
    assert [layer.seconds for layer in found] == pytest.approx([20e-6, 40e-6])
    assert found[0].flops == 8 and found[0].bytes_moved == 64
    for wrong in ([], events[:1]):
        with pytest.raises(InferenceError, match="no kernel"):
            read_onnx_profile(wrong)
    with pytest.raises(InferenceError, match="no run"):
        read_onnx_profile(events, skip=4)


def test_weights_that_the_runtime_packed_are_counted() -> None:
    gemm = event("g", 0, 10, "Gemm")
    gemm["args"]["input_type_shape"] = [{"float": [4, 512]}, {"float": [1000]}]
    gemm["args"]["output_type_shape"] = [{"float": [4, 1000]}]
    (found,) = read_onnx_profile([gemm])
    assert found.flops == 2 * 4 * 512 * 1000
    assert found.bytes_moved == 4 * (4 * 512 + 512 * 1000 + 1000 + 4 * 1000)
