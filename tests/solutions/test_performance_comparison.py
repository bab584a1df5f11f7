"""Variants side by side: turns, figures, the front, the page, and the commands."""

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import SmallGraph, normal_batches

from solutions.phase2_optimization import measured_variants, performance_comparison
from solutions.phase2_optimization.comparison_page import table, write_page
from solutions.phase2_optimization.evaluation_task import Task, agreement
from solutions.phase2_optimization.measured_variants import (
    Comparison,
    Measured,
    compare,
    latencies,
    with_front,
)
from solutions.phase2_optimization.pareto_plot import pareto_plot, view
from solutions.phase2_optimization.performance_comparison import chosen
from solutions.phase2_optimization.variants import NAMES, Absent, Variant, VariantMaker
from zoo.errors import InferenceError, MissingExtraError
from zoo.terminal import run_command

ROOT = Path(__file__).parents[2]


def small_model():
    net = SmallGraph(["n", 3, 12, 12], 4)
    y = net.relu(net.conv(net.input, 8, 3))
    y = net.relu(net.conv(y, 16, 8))
    y = net.node("Flatten", net.node("GlobalAveragePool", y))
    return net.model(net.gemm(y, 16, 70))


def small_task(**changes):
    model, batches = small_model(), normal_batches([1, 3, 12, 12], 24)
    metric, name = agreement(model, batches[16:])
    return replace(Task("small", model, batches[:16], metric, name, loss=0.5), **changes)


def row(name="a", p50=1.0, metric=0.5, **more):
    return Measured(**({
        "name": name, "metric": metric, "kept": 1.0, "p50": p50, "p90": p50, "p99": p50,
        "speedup": 1.0, "speedup_low": 1.0, "speedup_high": 1.0, "bytes": 100, "seconds": 0.5,
        "joules": None, "detail": ""} | more))


# Who is beaten


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(points):
    rows = with_front([row(f"v{i}", float(x), float(y)) for i, (x, y) in enumerate(points)])
    for (x, y), found in zip(points, rows, strict=True):
        beaten = False
        for a, b in points:  # by hand: no worse in both, better in one
            if (a < x and b >= y) or (a <= x and b > y):
                beaten = True
        assert found.best == (not beaten)
    assert any(found.best for found in rows)


# Timing


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def fake(name, clock, seconds, log):
    """A variant whose calls take these seconds, the last value for ever."""
    left = list(seconds)

    def run(feeds):
        log.append(name)
        clock.now += left.pop(0) if len(left) > 1 else left[0]
        return []

    return Variant(name, onnx.ModelProto(), run, 0.0)


def test_variants_take_turns_and_the_order_turns_round():
    clock, log = Clock(), []
    variants = [fake("a", clock, [0.03], log), fake("b", clock, [0.009], log)]
    found = latencies(variants, small_task(), rounds=3, clock=clock)
    timed = "".join(log[2 * measured_variants.WARM_UP:])
    assert timed == "abb" + "bba" + "abb"  # a's call fills a round, b's fits twice
    assert [len(times) for times in found["b"]] == [2, 2, 2]
    np.testing.assert_allclose(found["a"], [[0.03]] * 3)
    np.testing.assert_allclose(found["b"], [[0.009] * 2] * 3)


def test_a_quick_variant_is_called_often_but_not_for_ever():
    clock, log = Clock(), []
    latencies([fake("a", clock, [1e-7], log)], small_task(), rounds=1, clock=clock)
    assert len(log) == measured_variants.WARM_UP + measured_variants.MOST_CALLS


def test_a_disturbed_warm_up_costs_a_variant_none_of_its_calls():
    """Or it would be judged by its first, cold calls alone, beside others with many."""
    clock, log = Clock(), []
    disturbed = [0.002] * (measured_variants.WARM_UP - 1) + [0.3, 0.002]
    variants = [fake("a", clock, [0.002], log), fake("b", clock, disturbed, log)]
    found = latencies(variants, small_task(), rounds=1, clock=clock)
    assert len(found["a"][0]) == len(found["b"][0]) == 10


def test_figures_follow_from_the_times(monkeypatch):
    """Percentiles over all calls; speed-ups within rounds, so a slow round hurts nobody."""
    def times(variants, task, rounds):
        return {"fp32": [[0.010], [0.100], [0.012]], "dynamic": [[0.005, 0.005], [0.050], [0.003]]}

    monkeypatch.setattr(measured_variants, "latencies", times)
    task = small_task(metric=lambda run: 0.8)
    found = compare(task, VariantMaker(task), ["fp32", "dynamic"], 3)
    first, second = found.rows
    assert (first.name, second.name) == ("fp32", "dynamic")
    assert first.p50 == pytest.approx(12) and second.p50 == pytest.approx(5)
    assert second.p99 == pytest.approx(np.percentile([5, 5, 50, 3], 99))
    assert second.p90 == pytest.approx(np.percentile([5, 5, 50, 3], 90))
    assert second.speedup == pytest.approx(2)  # median of 2, 2, 4
    assert (second.speedup_low, second.speedup_high) == pytest.approx((2, 3))
    assert first.kept == second.kept == 1.0 and second.bytes < first.bytes
    assert second.best and not first.best


# Whole comparisons


def test_every_variant_of_a_small_network(tmp_path):
    seen = []
    task = small_task(note="a small one")
    found = compare(task, VariantMaker(task), rounds=2, notes=("for a test",),
                    progress=lambda what, done, total: seen.append((what, done, total)))
    names = [one.name for one in found.rows] + [one.name for one in found.absent]
    assert sorted(names) == sorted(NAMES) and found.rows[0].name == "fp32"
    assert {one.name for one in found.absent} <= {"bf16"}
    assert found.notes == ("for a test", "a small one")
    assert [what for what, _, _ in seen] == [*NAMES, "timing"]
    assert all(done < total for _, done, total in seen)
    fp32 = found.rows[0]
    assert fp32.metric == fp32.kept == fp32.speedup == 1.0
    for one in found.rows:
        assert 0 <= one.metric <= 1 and 0 < one.p50 <= one.p90 <= one.p99
        assert 0 < one.speedup_low <= one.speedup <= one.speedup_high
    sizes = {one.name: one.bytes for one in found.rows}
    assert sizes["weights int8"] < sizes["fp16"] < sizes["fp32"]
    made = {one.name: one.detail for one in found.rows}
    assert "layers" in made["static mse"] and "computed in float" in made["weights int8"]
    page = write_page(found, tmp_path)
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert written == json.loads(json.dumps(asdict(found)))
    assert set(written["rows"][0]) == {
        "name", "metric", "kept", "p50", "p90", "p99", "speedup", "speedup_low", "speedup_high",
        "bytes", "seconds", "joules", "detail", "kept_float", "best"}
    text = page.read_text()
    assert all(f">{name}</td>" in text for name in NAMES)
    assert text.count("<svg") == 1 and "nan" not in text


def test_what_cannot_be_made_is_absent_with_its_reason(monkeypatch):
    def missing(model, precision):
        raise MissingExtraError("openvino", "openvino")

    monkeypatch.setattr("solutions.phase2_optimization.variants.openvino_run", missing)
    task = small_task()
    found = compare(task, VariantMaker(task), ["fp32", "bf16", "dynamic"], 2)
    assert [one.name for one in found.rows] == ["fp32", "dynamic"]
    assert found.absent[0].name == "bf16" and "openvino" in found.absent[0].reason


def test_what_is_judged_has_no_say_in_accuracy_control(tmp_path):
    """The floor is for the control's data: its metric alone decides, and the page says for what."""
    model, asked = small_model(), []

    def never(run):
        raise AssertionError("the judge was asked")

    def control(run):  # every second model that is asked about is good enough
        asked.append(run)
        return 1.0 if len(asked) % 2 else 0.0

    task = small_task(metric=never, control=control)
    made = VariantMaker(task).make("accuracy-controlled")
    assert len(asked) >= 3 and made.kept_float
    name, reason = made.kept_float[0].split(": ", 1)
    assert name in {node.name for node in model.graph.node}
    assert reason.startswith("error ") and " of 2; quantized, too, the metric is 0" in reason
    text = page_of(tmp_path, [row(kept_float=made.kept_float)])
    assert f"<td>{name}</td>" in text and "keeps in float" in text


def test_a_metric_of_zero_is_no_share(tmp_path):
    """Nothing is a share of zero; and JSON knows no NaN."""
    task = small_task(metric=lambda run: 0.0)
    found = compare(task, VariantMaker(task), ["fp32", "static minmax"], 2)
    assert [one.kept for one in found.rows] == [None, None]
    write_page(found, tmp_path)
    assert json.loads((tmp_path / "comparison.json").read_text())["rows"][1]["kept"] is None
    table(found)


def test_a_score_that_is_no_number_is_absent():
    scores = iter([0.5, float("nan")])
    task = small_task(metric=lambda run: next(scores))
    found = compare(task, VariantMaker(task), ["fp32", "dynamic"], 2)
    assert [one.name for one in found.rows] == ["fp32"]
    assert "no number" in found.absent[0].reason
    task = small_task(metric=lambda run: float("nan"))
    with pytest.raises(InferenceError, match="small in FP32 has no score"):
        compare(task, VariantMaker(task), ["fp32", "dynamic"], 2)


def test_a_model_whose_first_axis_is_no_batch(tmp_path, monkeypatch, capsys):
    """A recurrent one, [sequence, batch, inputs], all of it fixed."""
    net = SmallGraph([6, 2, 5], 8)
    names = [net.constant(net.weights(1, 64, n, fan=n)) for n in (5, 16)]
    _, last, _ = net.node("LSTM", net.input, *names, hidden_size=16, outputs=3)
    onnx.save(net.model(net.node("MatMul", last, net.constant(net.weights(16, 3, fan=16)))),
              tmp_path / "lstm.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare", "--model", "lstm.onnx", "--rounds", "3",
                                      "--variant", "dynamic"])
    assert run_command(performance_comparison.main_command) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 layers" in printed and "says little" in printed


# The page


def page_of(folder, rows, **more):
    found = Comparison(**({"model": "m", "metric_name": "share, of 9", "rows": tuple(rows),
                           "absent": (), "notes": ()} | more))
    return write_page(found, folder).read_text()


def test_the_page_escapes_what_it_is_told(tmp_path):
    text = page_of(tmp_path, [row("<b>x", detail="a<i>")], model="<script>alert(1)</script>",
                   notes=("5 < 6",), absent=(Absent("<u>", "<hr>"),))
    for told in ("<script>alert", "<b>x", "a<i>", "<u>", "<hr>", "5 < 6"):
        assert told not in text
    assert "&lt;script&gt;" in text


def test_energy_has_a_column_only_where_there_is_a_counter(tmp_path):
    with_it = page_of(tmp_path, [row(joules=0.0125), row("b")])
    assert ">mJ<" in with_it and ">12.50</td>" in with_it
    without = page_of(tmp_path, [row()], no_energy="no counter here")
    assert ">mJ<" not in without and "no counter here" in without


def test_an_interrupted_page_leaves_the_old_one(tmp_path, monkeypatch):
    before = page_of(tmp_path, [row("old")])

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InferenceError, match="cannot be written: No space left"):
        page_of(tmp_path, [row("new")])
    assert (tmp_path / "comparison.html").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["comparison.html", "comparison.json"]


def test_a_point_far_off_is_drawn_at_the_edge():
    """One slow variant must not press the others into a corner."""
    near = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    assert view([*near, 1.9]).high > 1.9
    cut = view([*near, 9.0])
    assert 1.6 < cut.high < 2 and cut.share(9.0) == 1.0 and cut.share(1.3) == pytest.approx(0.5)
    low = view([0.0, 0.01, *(0.9 + value / 100 for value in near)])
    assert low.low > 0.8 and low.share(0.0) == 0.0
    assert view([1.0, 9.0]).share(9.0) < 1  # of two points neither is an outlier
    assert view([5.0] * 9).low < 5 < view([5.0] * 9).high


def test_points_outside_say_their_figures():
    rows = with_front([row(f"v{i}", 1 + i / 10, 0.9 + i / 100) for i in range(8)]
                      + [row("slow", 50.0, 0.99)])
    text = pareto_plot(Comparison("m", "share", tuple(rows), (), ()))
    assert "slow (50 ms)" in text
    places = sorted({float(x) for x in re.findall(r'<use [^>]*x="([\d.]+)"[^>]*opacity', text)})
    gaps = np.diff(places)
    assert len(places) == 9 and gaps.max() < 0.4 * (places[-1] - places[0])


# The commands


@pytest.mark.parametrize(("given", "expected"), [
    ((), None),
    (("fp32",), ["fp32"]),
    (("careful", "bf16", "careful"), ["fp32", "bf16", "careful"]),
])
def test_chosen_variants_come_in_order(given, expected):
    assert chosen(given) == expected


@pytest.mark.parametrize(("options", "message"), [
    (["--variant", "static median"], "no variant 'static median': there are fp32, fp16"),
    (["--model", "zoo:street-smal"], "did you mean zoo:street-small"),
    (["--model", "zoo:street-small", "--data", "x.npy"], "--data is for model files"),
    (["--model", "missing.onnx"], "model missing.onnx: no such file"),
    (["--model", "text.onnx"], "cannot be read as an ONNX model"),
    (["--model", "small.onnx", "--data", "missing.npy"], "data missing.npy: no such file"),
    (["--model", "small.onnx", "--data", "text.onnx"], "no .npy or .npz file"),
    (["--model", "small.onnx", "--data", "other.npy"], "shape [1, 5], not "),
    (["--rounds", "2"], "2 is not in the range"),
    (["--model", "small.onnx", "--output", "text.onnx"], "text.onnx cannot be written"),
])
def test_a_mistake_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    onnx.save(small_model(), tmp_path / "small.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    np.save(tmp_path / "other.npy", np.zeros((4, 5), np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare", *options])
    assert run_command(performance_comparison.main_command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_the_seed_command_from_any_directory(tmp_path):
    onnx.save(small_model(), tmp_path / "small.onnx")
    np.save(tmp_path / "data.npy", normal_batches([24, 3, 12, 12], 1)[0]["x"])
    done = subprocess.run(
        [sys.executable, str(ROOT / "phase2_optimization" / "compare_quantization.py"),
         "--model", "small.onnx", "--data", "data.npy", "--rounds", "3", "--output", "page",
         "--variant", "static minmax", "--variant", "weights int4"],
        cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("note: ") and "solution" in lines[0]
    assert done.stdout.count(lines[0]) == 1 and done.stdout.count("quantization-aware") == 1
    assert not done.stderr
    found = json.loads((tmp_path / "page" / "comparison.json").read_text())
    assert [one["name"] for one in found["rows"]] == ["fp32", "weights int4", "static minmax"]
    assert found["notes"][0] == lines[0].removeprefix("note: ")
    assert (tmp_path / "page" / "comparison.html").is_file()
