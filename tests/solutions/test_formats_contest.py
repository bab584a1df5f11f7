"""Each format in a process of its own: who dies, hangs, lies or eats loses its own row alone."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from format_workers import format_of
from onnx import helper

from solutions.phase2_optimization.formats import benchmark, contest_page
from solutions.phase2_optimization.formats.catalogue import find_format
from solutions.phase2_optimization.formats.contest import Contest, compare_formats
from solutions.phase2_optimization.formats.named_models import (
    fill_zero_weights,
    fitting_sizes,
    make_inputs,
    named_model,
    settle_batch_norms,
)
from solutions.phase2_optimization.formats.preparation import Settings
from solutions.phase2_optimization.formats.rounds import Rounds, take_turns
from solutions.phase2_optimization.formats.worker_handle import WorkerHandle
from zoo.errors import InferenceError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "phase2_optimization/benchmark_formats.py"
QUICK = Settings(sizes=(1, 3), threads=1, rounds=3, timeout=60, run_timeout=20)


@pytest.fixture(scope="module")
def twice_file(tmp_path_factory):
    """y = 2 x, [N, 4]."""
    return write_twice(tmp_path_factory.mktemp("twice") / "twice.onnx", None)


def write_twice(path, rows):
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])], "twice",
        [helper.make_tensor_value_info("x", 1, [rows, 4])],
        [helper.make_tensor_value_info("y", 1, [rows, 4])],
        [onnx.numpy_helper.from_array(np.float32(2), "two")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def contest(path, *names, **settings) -> Contest:
    """A contest of misbehaving formats, which workers find beside this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        chosen = [format_of(name) for name in names]
        return compare_formats(str(path), chosen, Settings(**(vars(QUICK) | settings)))


@pytest.fixture(scope="module")
def found(twice_file) -> Contest:
    """All of them at once: whoever falls must leave the others alone."""
    memory = 2 << 30 if sys.platform == "linux" else 0
    return contest(twice_file, "refuses", "raises", "dies", "exits", "hangs", "dies_later", "eats",
                   "thrice", "flat", "prints", "twice", timeout=12, rounds=8, memory=memory)


def test_who_fails_loses_its_own_row_alone(found) -> None:
    assert found.reference == "onnxruntime-off"
    assert [row.name for row in found.rows] == [
        "onnxruntime-off", "eats", "thrice", "flat", "prints", "twice"]
    assert [each.name for each in found.missing] == [
        "refuses", "raises", "dies", "exits", "hangs", "dies_later"]
    for row in found.rows:
        if row.name not in ("eats", "flat"):
            assert [one.rounds for one in row.latencies] == [8, 8]
            assert all(0 < one.low <= one.high and one.p50 > 0 for one in row.latencies)
    assert [one.speedup for one in found.rows[0].latencies] == [1, 1]


@pytest.mark.parametrize("name, said", [
    ("refuses", r"^this network has no wings$"),
    ("raises", "KeyError: 'inner'"),
    ("dies", r"died at 'compile': SIGSEGV.*about to fall"),
    ("exits", "exit code 7"),
    ("hangs", "^no answer to 'compile' within 12 s: ended$"),
    ("dies_later", r"SIGKILL \(out of memory\?\)"),
])
def test_the_reason_is_said(name, said, found) -> None:
    reason = next(each.reason for each in found.missing if each.name == name)
    assert re.search(said, reason), reason


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux")
def test_a_format_that_eats_the_memory(found) -> None:
    eats = found.rows[1]
    assert not eats.latencies and eats.error is None and "out of memory" in eats.detail
    assert eats.size_bytes == 1234 and eats.compile_seconds == 0.25  # what it did is told


def test_wrong_numbers_stand_beside_the_speed(found) -> None:
    rows = {row.name: row for row in found.rows}
    assert rows["thrice"].is_off and rows["thrice"].error == pytest.approx(0.5)
    assert not rows["flat"].latencies and "outputs of shapes" in rows["flat"].detail
    assert rows["thrice"].typical == pytest.approx(0.5)
    assert rows["twice"].error == rows["twice"].typical == 0 and not rows["twice"].is_off
    assert "thrice" not in " ".join(name for _, name, _ in contest_page.tiles(found))


def test_few_bits_are_judged_by_their_typical_error(found) -> None:
    outlier = replace(found.rows[-1], error=0.9, typical=0.05, tolerance=0.3)
    assert not outlier.is_off and replace(outlier, typical=0.4).is_off
    assert replace(outlier, tolerance=1e-3).is_off


def test_a_fixed_batch_is_said(tmp_path) -> None:
    path = write_twice(tmp_path / "three.onnx", 3)
    fixed = contest(path, "twice")
    assert fixed.sizes == (3,) and "batches of 3 alone" in fixed.notes[0]
    with pytest.raises(InferenceError, match="batches of 3 alone: --batch 2"):
        contest(path, "twice", sizes=(2,))


def test_a_reference_that_cannot_run_ends_it(tmp_path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Nowhere", ["x"], ["y"], domain="own")], "g",
        [helper.make_tensor_value_info("x", 1, [None, 4])],
        [helper.make_tensor_value_info("y", 1, [None, 4])])
    model = helper.make_model(graph, opset_imports=[
        helper.make_opsetid("", 18), helper.make_opsetid("own", 1)], ir_version=9)
    onnx.save(model, tmp_path / "own.onnx")
    with pytest.raises(InferenceError, match=r"own\.onnx cannot be run: ONNX Runtime"):
        contest(tmp_path / "own.onnx", "twice")


def test_workers_end_with_their_handle(tmp_path) -> None:
    worker = WorkerHandle(tmp_path, 1)
    process = worker._process
    assert process.poll() is None
    worker.close()
    assert process.poll() is not None
    worker.close()


def test_turns_go_round_and_back() -> None:
    order = []

    def turn(name):
        def timed(batch, calls):
            order.append((name, batch))
            if name == "b" and len(order) > 5:
                raise InferenceError("fell")
            return [1.0 if name == "a" else 2.0] * calls

        return timed

    names = ("a", "b", "c")
    timed = take_turns({name: turn(name) for name in names},
                       {name: {1: 2} for name in names}, 3, sleep=lambda seconds: None)
    assert [name for name, _ in order] == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert timed.failed == {"b": "fell"} and set(timed.seconds) == {"a", "c"}
    one = timed.latency("c", "a", 1)
    assert (one.p50, one.speedup, one.rounds) == (2.0, 0.5, 3)


def test_spread_is_of_rounds_and_ratios_of_the_same_round() -> None:
    rounds = Rounds({"a": {1: [[1.0], [10.0], [2.0]]}, "b": {1: [[0.5, 0.5], [5.0, 5.0], [1.0]]}})
    one = rounds.latency("b", "a", 1)
    assert one.speedup == one.speedup_low == one.speedup_high == 2.0
    assert (one.low, one.high) == (0.75, 3.0) and one.p50 == 1.0


def test_inputs_follow_their_specs() -> None:
    from solutions.phase1_basics.tensor_spec import TensorSpec

    specs = [TensorSpec("a", (None, 3, None, 8), "float32"), TensorSpec("b", (None, None), "int64")]
    first, second = make_inputs(specs, 2, 1)
    assert first.shape == (2, 3, 224, 8) and first.dtype == np.float32
    assert second.shape == (2, 16) and set(np.unique(second)) == {0, 1}
    assert not np.array_equal(first, make_inputs(specs, 2, 2)[0])
    assert fitting_sizes(specs, (8, 1, 8)) == (8, 1)


def test_settled_batch_norms_answer_in_a_range() -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [part for _ in range(6) for part in (nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))]
    net = nn.Sequential(*layers).eval()
    with torch.no_grad():
        for layer in layers[::2]:
            layer.weight *= 0.01
    images = torch.randn(4, 4, 8, 8)
    before = net(images).std()
    settle_batch_norms(net, images)
    assert before < 0.5 < net(images).std() < 2
    assert not any(each.training for each in net.modules())
    assert layers[1].momentum == 0.1


def test_zeros_that_would_hide_every_error_are_filled() -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    nn.init.zeros_(net[1].weight)
    kept = net[0].weight.clone()
    with torch.no_grad():
        assert not net(torch.randn(5, 4)).std(0).any()
        assert fill_zero_weights(net) == 1
        assert (net(torch.randn(5, 4)).std(0) > 0).all()
    assert torch.equal(net[0].weight, kept) and fill_zero_weights(net) == 0


def test_names_of_models(tmp_path) -> None:
    assert named_model("resnet50").onnx is None
    middle = named_model("zoo:street-middle")
    assert middle.onnx.suffix == ".onnx" and middle.entry.input is not None
    for wrong, said in [("no/such.onnx", "no such file"), ("zoo:house", "no model named")]:
        with pytest.raises(InferenceError, match=said):
            named_model(wrong)


def page_of(found, folder):
    about = {"processor": "a <processor>", "python": "3", "rounds": 3, "versions": {"torch": "2"}}
    page = contest_page.write_page(found, folder, about)
    return page.read_text(), json.loads((folder / "formats.json").read_text())


def test_page_and_json_say_the_same(found, tmp_path) -> None:
    text, record = page_of(found, tmp_path / "new")
    assert [row["name"] for row in record["rows"]] == [row.name for row in found.rows]
    assert record["missing"][0]["reason"] == "this network has no wings"
    assert record["rows"][2]["latencies"][0]["batch"] == 1 and record["sizes"] == [1, 3]
    assert "this network has no wings" in text and "<svg" in text and "batch 3" in text
    assert "a &lt;processor&gt;" in text and 'class="off"' in text
    (tmp_path / "file").write_text("")
    with pytest.raises(InferenceError, match="cannot be written"):
        page_of(found, tmp_path / "file")


def test_infinite_errors_are_valid_json(found, tmp_path) -> None:
    rows = (found.rows[0], replace(found.rows[1], error=float("inf"), latencies=()))
    text, record = page_of(replace(found, rows=rows), tmp_path)
    assert record["rows"][1]["error"] is None and "inf" in text


def test_numbers_are_short() -> None:
    assert [contest_page.milliseconds(each) for each in (0.0000123, 0.00123, 0.0123, 0.123, 1.23)
            ] == ["0.0123", "1.23", "12.3", "123", "1,230"]
    assert [contest_page.three_digits(each) for each in (0.0, 0.999, 1.0, 207.4)
            ] == ["0.00", "0.999", "1.00", "207"]
    assert contest_page.megabytes(102_300_000) == "102.3" and contest_page.megabytes(800) == "0.001"
    assert [contest_page.error_text(each) for each in (None, 0.0, 1.7e-6, 0.033, 0.12, 2.0, 5e9)
            ] == ["–", "0", "1.7e-06", "3.3%", "12%", "2", "5.0e+09"]


def command(*words, folder):
    return subprocess.run([sys.executable, str(SCRIPT), *words], cwd=folder, text=True,
                          capture_output=True, timeout=240,
                          env=os.environ | {"ZOO_CACHE": str(folder / "cache")})


def test_the_command_from_another_folder(twice_file, tmp_path) -> None:
    done = command("--model", str(twice_file), "--batch", "1", "2", "--rounds", "2",
                   "--format", "onnxruntime", "--format", "openvino", "--format", "tensorrt",
                   "--format", "eager", "--threads", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime-off" in done.stdout and "batch 2" in done.stdout
    assert "eager: an ONNX file has no PyTorch program" in done.stdout
    record = json.loads((tmp_path / "out/formats/formats.json").read_text())
    assert record["sizes"] == [1, 2] and record["threads"] == 1
    names = {row["name"] for row in record["rows"]} | {one["name"] for one in record["missing"]}
    assert names == {"onnxruntime-off", "onnxruntime", "openvino", "tensorrt", "eager"}


@pytest.mark.parametrize("words, said", [
    (["--model", "nowhere.onnx"], "no such file"),
    (["--model", "broken.onnx"], "cannot be read as an ONNX model"),
    (["--format", "tflite"], "no format 'tflite'"),
    (["--batch", "0"], "--batch"),
    (["--model", "renset50", "--format", "eager"], "did you mean resnet50"),
])
def test_a_mistake_is_one_line(words, said, tmp_path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no protobuf at all")
    done = command(*words, folder=tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert last.startswith("error: ") and said in last, done.stderr


def test_default_formats_are_the_quick_ones() -> None:
    default = benchmark.chosen((), False)
    assert find_format("eager") in default and find_format("tensorrt") in default
    assert not any(each.is_slow for each in default)
    assert len(benchmark.chosen((), True)) > len(default)
    assert [each.name for each in benchmark.chosen(("openvino", "eager"), True)
            ] == ["eager", "openvino"]


@pytest.mark.slow
def test_a_network_of_torchvisions(tmp_path) -> None:
    found = compare_formats(
        "squeezenet1_1", [find_format(name) for name in (
            "torchscript-frozen", "onnxruntime", "openvino", "compile-freezing")],
        Settings((1, 2), 1, 2))
    assert found.reference == "eager"
    done = [row for row in found.rows if row.latencies]
    assert {row.name for row in done} >= {"eager", "torchscript-frozen", "onnxruntime"}
    assert not any(row.is_off for row in done)
