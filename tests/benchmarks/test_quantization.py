"""The suite ``quantization``: its peers, its metric's sense of chance, its goals, its table."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import quantization_contenders as contenders_module
from benchmarks.measure import Spread
from benchmarks.peers import nncf_quantization, onnxruntime_quantization
from benchmarks.quantization_cases import Case, Judge
from benchmarks.quantization_contenders import (
    contenders,
    digest,
    integer_share,
    item_scores,
    make,
    with_opset,
)
from benchmarks.quantization_goals import Found, Measured, goals, goals_of_all, promises
from benchmarks.suite import Context
from benchmarks.suites import quantization as suite
from solutions.phase2_optimization.evaluation_task import Task, onnx_run
from solutions.phase2_optimization.quantize_graph import StaticSettings, quantize_static
from zoo.errors import InferenceError


def small_net(after="Relu", opset=17):
    """Two convolutions with an activation between them, then a mean: [n, 3, 12, 12] to [n, 8]."""
    rng = np.random.default_rng(3)
    constants = {
        "w1": rng.normal(0, 0.3, (16, 3, 3, 3)), "b1": rng.normal(0, 0.3, 16),
        "w2": rng.normal(0, 0.1, (8, 16, 3, 3)), "b2": rng.normal(0, 0.3, 8),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "first", kernel_shape=[3, 3]),
        helper.make_node(after, ["c1"], ["a1"], "between"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["c2"], "second", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c2"], ["a2"], "last"),
        helper.make_node("GlobalAveragePool", ["a2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["y"], "flat"),
    ]
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def batches(count=8, seed=1):
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(1, 3, 12, 12)).astype(np.float32)} for _ in range(count)]


def run_as_optimized(model, folder):
    """The types of the nodes that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def relative_error(model, other):
    inputs = batches(16, seed=2)
    real = np.concatenate([onnx_run(model)(feeds)[0] for feeds in inputs])
    found = np.concatenate([onnx_run(other)(feeds)[0] for feeds in inputs])
    return float(np.square(real - found).sum() / np.square(real - real.mean(axis=0)).sum())


@pytest.mark.parametrize("calibrator", ["MinMax", "Entropy", "Percentile"])
def test_onnxruntime_quantizes_with_each_calibrator(calibrator, tmp_path) -> None:
    model = small_net()
    made = onnxruntime_quantization.quantize_static(model, batches(), calibrator)
    assert relative_error(model, made) < (0.1 if calibrator != "Entropy" else 0.5)
    assert run_as_optimized(made, tmp_path)["QLinearConv"] == 2
    assert integer_share(made, model) == 1.0


def test_histograms_of_some_batches_at_a_time_are_those_of_all(monkeypatch) -> None:
    whole = onnxruntime_quantization.quantize_static(small_net(), batches(), "MinMax")
    monkeypatch.setattr(onnxruntime_quantization, "MOST_BYTES", 1)
    assert onnxruntime_quantization._stride(small_net(), batches()) == 1
    parts = onnxruntime_quantization.quantize_static(small_net(), batches(), "MinMax")
    assert digest(whole) == digest(parts)


def test_the_reader_gives_ranges() -> None:
    reader = onnxruntime_quantization.Reader([{"x": np.full(1, i)} for i in range(5)])
    assert len(reader) == 5
    reader.set_range(1, 3)
    assert [int(reader.get_next()["x"][0]), int(reader.get_next()["x"][0])] == [1, 2]
    assert reader.get_next() is None


def test_dynamic_quantization_counts_as_integers() -> None:
    model = small_net()
    made = onnxruntime_quantization.quantize_dynamic(model)
    assert {node.op_type for node in made.graph.node} >= {"ConvInteger"}
    assert integer_share(made, model) == 1.0
    assert relative_error(model, made) < 0.05


def test_the_share_in_integers_is_what_onnxruntime_runs(tmp_path) -> None:
    model = small_net("Sigmoid")
    assert integer_share(model, model) == 0.0
    steps = [numpy_helper.from_array(np.float32(0.02), "s"),
             numpy_helper.from_array(np.uint8(128), "z")]
    last = StaticSettings(integer_outputs=frozenset({"second"}))
    ours = quantize_static(model, batches(), last).model  # the first has too few channels
    assert run_as_optimized(ours, tmp_path)["QLinearConv"] == 1
    first, second = 16 * 100 * 27, 8 * 64 * 144
    assert integer_share(ours, model) == pytest.approx(second / (first + second), abs=0.02)
    # integers in, but a real result: ONNX Runtime turns them back and computes in float
    half = onnx.ModelProto()
    half.CopyFrom(model)
    half.graph.initializer.extend(steps)
    half.graph.node[0].input[0] = "xd"
    half.graph.node.insert(0, helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]))
    half.graph.node.insert(0, helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]))
    assert run_as_optimized(half, tmp_path)["QLinearConv"] == 0
    assert integer_share(half, model) == 0.0


def test_nncf_quantizes_and_keeps_a_floor() -> None:
    pytest.importorskip("nncf")
    model = small_net()
    made = nncf_quantization.quantize_default(model, batches())
    assert 0 < relative_error(model, made) < 0.1
    asked = []

    def scores(candidate, numbers):
        asked.append(len(numbers))
        return (1.0 if len(asked) == 1 else 0.999), [1.0] * len(numbers)

    kept = nncf_quantization.quantize_with_accuracy_control(model, batches(), 5, scores, 0.01)
    assert max(asked) == 5
    assert relative_error(model, kept) < 0.1


def test_old_opsets_are_raised_for_scales_per_channel() -> None:
    raised = with_opset(small_net(opset=11), 13)
    assert raised.opset_import[0].version == 13
    assert relative_error(small_net(opset=11), raised) < 1e-9
    assert with_opset(small_net(), 13).opset_import[0].version == 17


def labels_judge(labels):
    def score(found, numbers):
        return float(np.mean(np.asarray(found)[list(numbers)] == labels[list(numbers)]))

    inputs = batches(len(labels), seed=5)
    return Judge(len(labels), lambda run, i: int(run(inputs[i])[0].argmax()), score)


def test_chance_is_the_standard_error_of_the_difference() -> None:
    labels = np.arange(8)
    judge = labels_judge(labels)
    ours = labels.copy()
    theirs = labels.copy()
    theirs[[1, 5, 6]] += 1
    assert judge.chance(ours, ours) == 0.0
    differences = (ours == labels).astype(float) - (theirs == labels)
    expected = differences.std(ddof=1) / math.sqrt(len(labels))  # of a mean: exact
    assert judge.chance(ours, theirs) == pytest.approx(expected)


def test_scores_of_some_inputs_and_of_each_alone() -> None:
    model = small_net()
    right = [int(onnx_run(model)(feeds)[0].argmax()) for feeds in batches(6, seed=5)]
    judge = labels_judge(np.array([*right[:5], right[5] + 1]))
    assert judge(onnx_run(model)) == pytest.approx(5 / 6)
    assert item_scores(judge, onnx_run(model), [4, 5]) == (0.5, [1.0, 0.0])
    empty = replace(judge, score=lambda found, numbers: float("nan"))
    assert item_scores(empty, onnx_run(model), [1])[1] == [0.0]


def small_case(name="zoo:digits"):
    model = small_net()
    plain = labels_judge(np.zeros(24, np.int64))
    judge = labels_judge(np.array(plain.found(onnx_run(model))))
    task = Task(name, model, batches(), judge, "agreement")
    return Case(task, judge, judge, "agreement, 24 inputs")


def test_a_peer_that_fails_is_a_row_that_says_why(monkeypatch) -> None:
    def fails(model, batches, calibrator):
        raise InferenceError("no kernel\nfor this")

    monkeypatch.setattr(onnxruntime_quantization, "quantize_static", fails)
    monkeypatch.setattr(
        suite, "contenders", lambda model, quick: ["static minmax", "ORT MinMax", "ORT dynamic"])
    said = []
    found = suite.measure(small_case(), Context("quantization", True, said.append))
    assert found.failed == {"ORT MinMax": "no kernel"}
    assert set(found.measured) == {"static minmax", "ORT dynamic"}
    assert found.real == 1.0 and found.measured["static minmax"].score > 0.8
    assert found.measured["static minmax"].speed.median > 0
    rows = suite._rows(found)
    assert [row["INT8 by"] for row in rows] == [
        "FP32 (agreement, 24 inputs)", "ours: static minmax", "ORT dynamic", "ORT MinMax"]
    assert rows[-1]["note"] == "no kernel"
    assert all(list(row) == list(suite.COLUMNS) for row in rows)
    assert said


def test_a_model_that_nobody_can_run_is_a_failure(monkeypatch) -> None:
    broken = small_net()
    broken.graph.node[1].op_type = "NoSuchOperator"
    monkeypatch.setattr(
        contenders_module.onnxruntime_quantization, "quantize_static", lambda *_: broken)
    made = make(small_case(), "ORT MinMax")
    assert made.model is None and "ONNX Runtime cannot run the model" in made.reason


def measured(name, score, speed, seconds=1.0, kilobytes=100.0, share=1.0):
    return Measured(name, score, Spread(speed, speed, speed, 5), seconds, kilobytes, share)


def found_of(model, *figures, real=0.5, chance=0.0):
    return Found(model, "metric", real, {one.name: one for one in figures}, {}, chance)


def test_goals_are_those_promised_and_know_the_best_peer() -> None:
    one = found_of(
        "zoo:street-small", measured("shipped", 0.496, 1.4), measured("careful", 0.3, 1),
        measured("ORT MinMax", 0.49, 1.2), measured("ORT Entropy", 0.497, 1.1),
        measured("NNCF", 0.5, 9.0, share=0.1), chance=0.001,
    )
    made = goals(one)
    assert [goal.name for goal in made] == list(promises("zoo:street-small"))
    against, kept, fast = made
    assert against.measured == pytest.approx(-0.001) and against.holds
    assert against.goal == "at least -0.00196"  # two peers: 2.5% of the tail each
    assert "ORT Entropy 0.4970" in against.note
    assert kept.measured == pytest.approx(0.992) and kept.holds
    assert fast.goal == "at least 1.2" and fast.holds  # no peer that is quantized is faster
    assert not goals(replace(one, chance=0.0))[0].holds
    quick_peer = found_of("zoo:street-small", measured("shipped", 0.5, 1.79),
                          measured("ORT MinMax", 0.4, 2.5))
    assert goals(quick_peer)[2].goal == "at least 1.8" and not goals(quick_peer)[2].holds


def test_goals_without_peers_or_without_ours_are_unmeasured() -> None:
    alone = found_of("zoo:digits", measured("careful", 0.5, 2.0))
    assert [goal.measured for goal in goals(alone)] == [None]
    theirs = found_of("yolox-nano", measured("ORT MinMax", 0.5, 2.0))
    assert [goal.measured for goal in goals(theirs)] == [None] * 4
    assert all(goal.measured is None for goal in goals_of_all([alone, theirs]))


def test_time_and_size_are_those_of_the_worst_model() -> None:
    def model(name, ours, theirs, size):
        return found_of(name, measured("static minmax", 1, 1, ours), measured("ORT MinMax", 1, 1,
                        theirs), measured("accuracy-controlled", 1, 1, 9.0, size))

    made = {goal.name: goal for goal in goals_of_all([model("a", 1, 2, 104), model("b", 3, 2, 90)])}
    slow = made["time to quantize, static minmax / ORT MinMax, worst model"]
    assert slow.measured == 1.5 and not slow.holds and slow.note.startswith("b; median of 2")
    size = made["file size, accuracy-controlled / smallest static peer's, worst model"]
    assert size.measured == pytest.approx(1.04) and size.holds


def test_everyone_is_asked_and_the_plot_is_drawn(tmp_path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    assert "NNCF accuracy-controlled" in contenders("zoo:digits", False)
    assert "NNCF accuracy-controlled" not in contenders("zoo:digits", True)
    assert contenders("zoo:street-small", True)[0] == "shipped"
    found = [found_of(name, measured("shipped", 0.5, 2.0), measured("ORT MinMax", 0.1, 1.5),
                      measured("NNCF", 0.49, 1.5)) for name in suite.MODELS]
    drawing = plt.figure(figsize=(8.6, 3.6), layout="constrained")
    suite._plot(drawing, found)
    drawing.savefig(tmp_path / "plot.png")
    assert len([axes for axes in drawing.axes if axes.get_visible()]) == len(suite.MODELS)
    plt.close(drawing)
