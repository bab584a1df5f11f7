"""The suite ``compilation``: what it calls equal, slower, fewer; its cases and its peers."""

from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks.backend_cases import BackendCase, DataSet, backend_cases, judge, judge_all
from benchmarks.graph_goals import GraphResult, goals_of
from benchmarks.graph_latency import OWN, Latency, Speed, latency
from benchmarks.graph_set import CASES, QUICK, GraphCase, graph_file
from benchmarks.graph_variants import (
    OURS,
    PORTABLE,
    UNTOUCHED,
    Variant,
    count_nodes,
    random_feeds,
    variants,
)
from benchmarks.measure import Spread
from benchmarks.onnx_sessions import relative_difference
from benchmarks.peers.optimizers import OPTIMIZER, SIM, SLIM, peers
from benchmarks.suite import SuiteResult
from benchmarks.suites.compilation import PARTS, merged, nothing
from zoo.errors import InferenceError

onnx = pytest.importorskip("onnx")
helper = onnx.helper


def add_one(by: float = 1.0):
    """y = Identity(x + by), x of shape [1, 4]."""
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 4]) for n in "xy"]
    nodes = [helper.make_node("Add", ["x", "b"], ["s"]), helper.make_node("Identity", ["s"], ["y"])]
    constant = onnx.numpy_helper.from_array(np.full(4, by, np.float32), "b")
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def without_identity(model):
    """What an optimizer would do."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[1]
    made.graph.node[0].output[0] = "y"
    return made


def broken(model):
    """An optimizer that changes the result."""
    return add_one(2.0)


def refusing(model):
    raise RuntimeError("no\nthanks")


def test_difference_is_relative_to_the_largest_value() -> None:
    wanted = [np.array([0.0, 100.0], np.float32)]
    assert relative_difference([np.array([0.5, 100.0], np.float32)], wanted) == 0.005
    assert relative_difference(wanted, wanted) == 0
    for other in ([1.0], [np.nan, 100.0], [0.0, 100.0, 1.0]):
        assert relative_difference([np.array(other, np.float32)], wanted) == np.inf
    assert relative_difference([np.array([0, 100])], wanted) == np.inf  # another type
    assert relative_difference([], wanted) == np.inf
    infinite = [np.array([np.inf, 2.0])]
    assert relative_difference([np.array([np.inf, 1.0])], infinite) == 0.5


def test_variants_tell_equal_from_broken_and_from_refused() -> None:
    model = add_one()
    feeds = random_feeds(model, 1.0)
    assert feeds["x"].shape == (1, 4) and 0 < feeds["x"].std() < 1
    found = variants(model, {OURS: without_identity, SLIM: broken, SIM: refusing}, feeds)
    assert [found[n].nodes for n in (UNTOUCHED, OURS, SLIM)] == [2, 1, 2]
    assert found[OURS].difference == 0 and found[SLIM].difference > 0.1
    assert found[SIM].model is None and found[SIM].note == "fails: no thanks"
    assert len(found[OURS].seconds) == len(found[SLIM].seconds) == 3
    assert model.graph.node[1].op_type == "Identity"
    timed = latency(found, feeds, 0.01)
    assert set(timed.off) == {UNTOUCHED, OURS, SLIM, OWN}
    assert set(timed.full) == {UNTOUCHED, OURS, SLIM}
    assert timed.of_own is not None and timed.off[UNTOUCHED].ratio.median == 1


def test_nodes_of_subgraphs_count() -> None:
    inner = add_one().graph
    outer = add_one()
    outer.graph.node.append(
        helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
    )
    assert count_nodes(outer) == 7


def _result(name: str, ours: tuple[int, float, float], peer: tuple[int, float]) -> GraphResult:
    """Nodes, seconds, speed of ours; nodes, seconds of onnxslim."""
    nodes, seconds, speed = ours
    found = {
        UNTOUCHED: Variant(UNTOUCHED, None, 100, 10, [], 0.0),
        OURS: Variant(OURS, None, nodes, 10, [seconds], 1e-6),
        PORTABLE: Variant(PORTABLE, None, nodes, 10, [seconds], 2e-6),
        SLIM: Variant(SLIM, None, peer[0], 10, [peer[1]], 1e-6),
    }

    def timed(ratio: float) -> Speed:
        return Speed(Spread.of([1.0]), Spread.of([ratio - 0.01, ratio, ratio + 0.01]))

    speeds = {UNTOUCHED: timed(1.0), OURS: timed(speed), PORTABLE: timed(1.0), OWN: timed(2.0)}
    return GraphResult(GraphCase(name, "file"), found,
                       Latency(speeds, {OURS: timed(1.0)}, Spread.of([speed / 2])))


def test_goals_name_the_graph_that_misses_them() -> None:
    good = _result("good", (80, 0.1, 2.0), (80, 0.2))
    bad = _result("bad", (90, 0.9, 0.9), (80, 0.3))
    goals = {goal.name: goal for goal in goals_of([good, bad], [SLIM])}
    worst = goals[f"nodes of {OURS} / best peer's, worst graph"]
    assert not worst.holds and worst.measured == 90 / 80 and worst.note == "bad: 90 and 80"
    total = goals[f"nodes of {OURS} / best peer's, all graphs together"]
    assert total.measured == 170 / 160 and total.note == "170 and 160 of 200"
    slower = goals["graphs slower than untouched, ONNX Runtime's optimizer off"]
    assert not slower.holds and slower.measured == 1 and slower.note.startswith("bad 0.9")
    assert goals["graphs slower than untouched, ONNX Runtime's optimizer on"].holds
    time = goals["time to optimize / onnxslim's, geometric mean"]
    assert time.measured == pytest.approx((0.5 * 3) ** 0.5)
    slowest = goals["time to optimize / onnxslim's, worst graph"]
    assert slowest.measured == pytest.approx(3) and slowest.note == "bad"
    assert all(goal.holds for goal in goals_of([_result("g", (79, 0.1, 2.0), (80, 0.2))], [SLIM]))


def test_without_peers_or_graphs_the_goals_are_unmeasured() -> None:
    goal = goals_of([_result("g", (80, 0.1, 2.0), (80, 0.2))], [])[0]
    assert (goal.measured, goal.holds) == (None, False) and "[bench]" in goal.note
    assert goals_of([], [SLIM])[0].measured is None


def test_cases_of_the_standard_judge_an_optimizer() -> None:
    x = np.arange(4, dtype=np.float32)[None]
    case = BackendCase("add", "node", add_one(), (DataSet([x], [x + 1]),), 1e-3, 1e-7)
    assert judge(case, without_identity).found == "equal"
    assert judge(case, broken).found == judge(case, refusing).found == "wrong"
    wrong = BackendCase("other", "node", add_one(), (DataSet([x], [x]),), 1e-3, 1e-7)
    assert judge(wrong, without_identity).found == "unsupported"
    judged = judge_all(iter([case, wrong, "elsewhere"]), broken)
    assert (judged.count("wrong"), judged.count("unsupported"), judged.absent) == (
        1, 1, ["elsewhere"])


def test_model_cases_of_every_kind_are_read() -> None:
    for kind in ("simple", "pytorch-operator", "real"):
        found = [case for case in backend_cases((kind,), every=3) if not isinstance(case, str)]
        assert found and any(judge(case, lambda model: model).found == "equal" for case in found)


@pytest.mark.parametrize("name", [SLIM, SIM, OPTIMIZER])
def test_peers_leave_the_model_given_alone(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    model = add_one()
    before = model.SerializeToString()
    assert count_nodes(peers().found[name](model)) == 1
    assert model.SerializeToString() == before


def test_the_graph_set() -> None:
    assert len(set(CASES)) == len(CASES) and set(QUICK) <= set(CASES)
    assert graph_file(GraphCase("zoo:digits", "file")).is_file()
    with pytest.raises(InferenceError, match="no model named"):
        graph_file(GraphCase("nosuch", "file"))


def test_parts_become_one_result() -> None:
    one = SuiteResult([{"graph": "a", "nodes": 1}], [], lambda figure: None, {"x": 1})
    two = SuiteResult([{"graph": "b", "arena": 2}], [], nothing, {"y": 2})
    both = merged([one, two])
    assert both.rows == [{"graph": "a", "nodes": 1, "arena": None},
                         {"graph": "b", "nodes": None, "arena": 2}]
    assert both.facts == {"x": 1, "y": 2} and len(PARTS) >= 2


@pytest.mark.slow
def test_a_network_of_torchvision_becomes_a_graph(tmp_path, monkeypatch) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    path = graph_file(GraphCase("mobilenet_v3_large", "torchscript"))
    model = onnx.load(path)
    feeds = random_feeds(model, 1.0)
    other = {name: 1 - values for name, values in feeds.items()}
    found = variants(model, {}, feeds)[UNTOUCHED]
    assert found.nodes > 100
    from benchmarks.onnx_sessions import OFF, session

    runner = session(model, OFF)
    first, second = runner.run(None, feeds)[0], runner.run(None, other)[0]
    assert np.abs(first - second).max() > 1e-2 * np.abs(first).max()  # the input matters
    with pytest.raises(InferenceError, match="not exported"):
        graph_file(GraphCase("nosuch", "torchscript"))
