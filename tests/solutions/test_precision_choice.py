"""Which precision the edge program's detector runs in: by figures, by the cache, by refusal."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from solutions.phase1_basics.onnx_model import TensorSpec
from solutions.phase2_optimization.detections_distance import detections_distance
from solutions.phase4_production.video_analysis import edge_inference
from solutions.phase4_production.video_analysis.detector_choice import DetectorOptions
from solutions.phase4_production.video_analysis.detector_forms import (
    detector_forms,
    form_for,
    network_loader,
    recorded_share,
)
from solutions.phase4_production.video_analysis.device_profile import (
    CUDA,
    PROFILES,
    ChosenDevice,
    Machine,
    choose_device,
)
from solutions.phase4_production.video_analysis.precision_cache import PrecisionCache
from solutions.phase4_production.video_analysis.precision_choice import (
    DetectorForm,
    FormFigures,
    PrecisionChoice,
    choose_precision,
    fastest_accurate,
    measure_forms,
)
from zoo import registry
from zoo.errors import InferenceError
from zoo.terminal import run_command

CPU_DEVICE = ChosenDevice(PROFILES["cpu"], True)
LARGE, LARGE_INT8 = "zoo:street-large", "zoo:street-large-int8"


class Clock:
    """Time that only passes when a network runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeNetwork:
    """One object in four cells; ``noise`` is added to its scores."""

    def __init__(self, clock: Clock, seconds: float, noise: float = 0.0) -> None:
        self.clock, self.seconds, self.noise, self.runs = clock, seconds, noise, 0
        self.inputs = [TensorSpec("images", (1, 3, 4, 4), "float")]
        self.outputs = [TensorSpec("out", (1, 4, 6), "float")]
        self.memory = np.zeros((1, 4, 6), np.float32)

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        self.clock.now += self.seconds
        self.runs += 1
        self.memory[...] = 0
        self.memory[0, 2] = [0.5, 0.5, 1, 1, 0.9, 0.9 + self.noise]
        return [self.memory]


@pytest.mark.parametrize(("figures", "expected"), [
    ({"fp32": (4, 0), "int8": (2, 0.01)}, "int8"),
    ({"fp32": (4, 0), "int8": (2, 0.05)}, "fp32"),  # strays
    ({"fp32": (4, 0), "int8": (3.9, 0.001)}, "fp32"),  # within the noise
    ({"fp32": (4, 0), "int8": (5, 0.001)}, "fp32"),  # slower
    ({"fp32": (4, 0), "bf16": (2, 0.001), "int8": (3, 0.001)}, "bf16"),
    ({"fp32": (4, 0), "bf16": (2, 0.5), "int8": (3, 0.001)}, "int8"),
    ({"fp32": (4, 0), "int8": (1, float("inf"))}, "fp32"),
    ({"fp32": (4, 0)}, "fp32"),
])
def test_the_fastest_accurate_one_is_taken(
    figures: dict[str, tuple[float, float]], expected: str
) -> None:
    assert fastest_accurate({n: FormFigures(*f) for n, f in figures.items()}) == expected


def test_measuring_takes_turns_and_compares_with_the_float_network() -> None:
    clock = Clock()
    networks = {"fp32": FakeNetwork(clock, 0.004), "int8": FakeNetwork(clock, 0.001, noise=0.09)}
    found = measure_forms(networks, [np.zeros((1, 3, 4, 4), np.float32)] * 2, clock)
    assert found["fp32"].milliseconds == pytest.approx(4)
    assert found["int8"].milliseconds == pytest.approx(1)
    assert found["fp32"].distance == 0
    assert found["int8"].distance == pytest.approx((0.09 * 0.9) ** 2 / 0.81**2, rel=1e-5)
    assert abs(networks["fp32"].runs - networks["int8"].runs) <= 2


def test_a_slow_machine_measures_few_rounds() -> None:
    clock = Clock()
    networks = {"fp32": FakeNetwork(clock, 3.0), "int8": FakeNetwork(clock, 2.0)}
    measure_forms(networks, [np.zeros((1, 3, 4, 4), np.float32)], clock)
    assert networks["int8"].runs <= 7


def test_a_network_that_gives_no_numbers_is_infinitely_far() -> None:
    clock = Clock()
    networks = {"fp32": FakeNetwork(clock, 2.0), "int8": FakeNetwork(clock, 1.0, float("nan"))}
    found = measure_forms(networks, [np.zeros((1, 3, 4, 4), np.float32)], clock)
    assert found["int8"].distance == float("inf")


def test_distance_counts_boxes_where_objects_are() -> None:
    real = np.zeros((1, 2, 6), np.float32)
    real[0, 0] = [0, 0, 0, 0, 1, 1]
    empty, moved = real.copy(), real.copy()
    empty[0, 1, :4] = 5  # a cell without an object: its box says nothing
    moved[0, 0, :2] = 0.5
    assert detections_distance([real], [empty]) == 0
    assert detections_distance([real], [moved]) == pytest.approx(0.5)


def chosen(
    tmp_path: Path, key: str = "here", asked: str = "auto", noise: float = 0.0
) -> tuple[PrecisionChoice, list[FakeNetwork]]:
    """A choice between two made-up networks, and those of them that were loaded."""
    clock, loaded = Clock(), list[FakeNetwork]()

    def loader(seconds: float, noise: float) -> Callable[[Path], FakeNetwork]:
        def load(path: Path) -> FakeNetwork:
            loaded.append(FakeNetwork(clock, seconds, noise))
            return loaded[-1]
        return load

    forms = [DetectorForm("fp32", "a", loader(0.5, 0.0)),
             DetectorForm("int8", "b", loader(0.0, noise))]
    batch = np.zeros((1, 3, 4, 4), np.float32)
    found = choose_precision(asked, forms, lambda form: Path(form.name), lambda: [batch],
                             PrecisionCache(tmp_path, key))
    return found, loaded




def write_figures(folder: Path, figures: object, key: str = "here") -> None:
    (folder / "precision.json").write_text(json.dumps({key: figures}))


def test_what_was_measured_once_is_read_the_next_time(tmp_path: Path) -> None:
    first, loaded = chosen(tmp_path)
    assert len(loaded) == 2 and "measured now" in first.note
    again, loaded = chosen(tmp_path)
    assert not loaded and "measured earlier" in again.note
    assert again.form.precision == first.form.precision
    other, loaded = chosen(tmp_path, key="another machine")
    assert len(loaded) == 2 and "measured now" in other.note
    assert len(json.loads((tmp_path / "precision.json").read_text())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["precision.json"]


def test_kept_figures_decide(tmp_path: Path) -> None:
    write_figures(tmp_path, {"fp32": [4.0, 0.0], "int8": [2.0, 0.001]})
    assert chosen(tmp_path)[0].form.precision == "int8"
    write_figures(tmp_path, {"fp32": [4.0, 0.0], "int8": [2.0, 0.3]})
    found = chosen(tmp_path)[0]
    assert found.form.precision == "fp32" and "int8 strays too far" in found.note


@pytest.mark.parametrize("broken", [
    "", "{", "[]", "null", '{"here": 1}', '{"here": {"fp32": [1, 0]}}', "[" * 100_000,
    '{"here": {"fp32": [1, 0], "int8": ["x", 0]}}', '{"here": {"fp32": [0, 0], "int8": [1, 0]}}',
    '{"here": {"fp32": [NaN, 0], "int8": [1, 0]}}', '{"here": {"fp32": [1], "int8": [1, 0]}}',
    " " * (2 << 20),
], ids=range(12))
def test_a_broken_cache_is_measured_anew(tmp_path: Path, broken: str) -> None:
    (tmp_path / "precision.json").write_text(broken)
    found, loaded = chosen(tmp_path)
    assert len(loaded) == 2 and "measured now" in found.note
    assert not chosen(tmp_path)[1], "the broken file was not mended"


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert chosen(tmp_path / "file" / "below")[0].note


def test_what_is_asked_for_is_not_measured(tmp_path: Path) -> None:
    found, loaded = chosen(tmp_path, asked="int8", noise=0.5)
    assert found.form.precision == "int8" and not loaded and not found.note
    with pytest.raises(InferenceError, match="--precision bf16: a runs here only in fp32, int8"):
        chosen(tmp_path, asked="bf16")


def names(forms: list[DetectorForm]) -> dict[str, str]:
    return {form.precision: form.name for form in forms}


def test_the_forms_of_a_detector() -> None:
    assert names(detector_forms(LARGE, "onnxruntime", 1, CPU_DEVICE)) == {
        "fp32": LARGE, "int8": LARGE_INT8}
    assert names(detector_forms(LARGE_INT8, "onnxruntime", 1, CPU_DEVICE)) == {"int8": LARGE_INT8}
    assert names(detector_forms("yolox-nano", "onnxruntime", 1, CPU_DEVICE)) == {
        "fp32": "yolox-nano"}
    assert names(detector_forms("own.onnx", "onnxruntime", 1, CPU_DEVICE)) == {"fp32": "own.onnx"}


def test_an_accelerator_keeps_its_own_precision() -> None:
    machine = Machine(providers=frozenset({"TensorrtExecutionProvider", "CPUExecutionProvider",
                                           "CUDAExecutionProvider"}))
    assert machine.has(CUDA)
    orin = choose_device("jetson", machine)
    assert names(detector_forms(LARGE, "onnxruntime", 2, orin)) == {"fp16": LARGE}


def test_every_int8_form_was_scored_and_keeps_its_map() -> None:
    quantized = [e for e in registry.entries().values() if e.quantized_from is not None]
    assert len(quantized) == 3
    for entry in quantized:
        assert entry.quantized_from is not None
        real = registry.find(entry.quantized_from)
        assert (real.labels, real.input, real.strides) == (entry.labels, entry.input, entry.strides)
        assert recorded_share(real.name, entry.name) >= 0.99


def test_an_int8_form_that_was_not_scored_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MODELS", tmp_path)
    assert recorded_share(LARGE, LARGE_INT8) == 0
    (tmp_path / "scores.json").write_text(
        '{"street-large": {"map": 0.7}, "street-large-int8": {"map": 0.6}}')
    assert names(detector_forms(LARGE, "onnxruntime", 1, CPU_DEVICE)) == {"fp32": LARGE}


@pytest.mark.parametrize(("words", "said"), [
    (["--precision", "bf16"], "needs --runtime openvino"),
    (["--precision", "fp32", "--detector", LARGE_INT8], f"name {LARGE} with --detector"),
    (["--precision", "int8", "--detector", "yolox-nano"], "has no INT8 form"),
    (["--precision", "int8", "--detector", "own.onnx"], "has no INT8 form"),
    (["--precision", "int8", "--detector", "zoo:stret-large"], "did you mean"),
    (["--precision", "int4"], "int4"),
])
def test_a_precision_that_is_not_to_be_had_is_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["edge", "--video", "zoo:street?frames=2", "--output",
                                      str(tmp_path / "out"), *words])
    assert run_command(edge_inference.edge) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert not (tmp_path / "out").exists()


def test_the_command_chooses_keeps_and_says_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    for when in ("measured now", "measured earlier"):
        monkeypatch.setattr(sys, "argv", [
            "edge", "--video", "zoo:street?frames=3", "--output", str(out), "--no-annotate",
            "--detector", "zoo:street-small"])
        assert run_command(edge_inference.edge) == 0
        note = next(line for line in capsys.readouterr().err.splitlines() if "precision" in line)
        assert when in note
        metrics = json.loads((out / "metrics.json").read_text())
        assert f"note: precision {metrics['precision']}:" in note
        assert metrics["detector"] == "zoo:street-small"


def test_openvino_in_bfloat16_computes_otherwise(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    forms = names(detector_forms("zoo:street-small", "openvino", 1, CPU_DEVICE))
    if "bf16" not in forms:
        pytest.skip("this processor has no bfloat16 arithmetic")
    path = registry.fetch(registry.find("zoo:street-small"))
    batch = np.random.default_rng(0).uniform(0, 255, (1, 3, 192, 320)).astype(np.float32)
    exact, rounded = (np.array(network_loader("openvino", 1, CPU_DEVICE, p)(path).run(batch)[0])
                      for p in ("fp32", "bf16"))
    error = np.abs(exact - rounded).max()
    assert 1e-5 < error < 0.1 * np.abs(exact).max()
    with pytest.raises(InferenceError, match="has no INT8 form"):
        form_for("int8", "yolox-nano", "openvino", 1, CPU_DEVICE, DetectorOptions())
