"""The command and the report page, on a small network and on broken ones."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from solutions.phase1_basics.onnx_model import TensorSpec
from solutions.phase1_basics.profile_plots import VARIABLES
from solutions.phase1_basics.profile_report import write_report
from solutions.phase1_basics.profile_run import ProfileSettings, profile_model
from solutions.phase1_basics.profile_target import ProfileTarget, open_target, random_batch
from solutions.phase1_basics.profile_terminal import print_profile
from solutions.phase1_basics.profiler import profiler
from zoo.errors import InferenceError

SCRIPT = Path(__file__).parents[2] / "solutions" / "phase1_basics" / "profiler.py"
SMALL = "zoo:digits"


def script(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the file itself, from another directory."""
    return subprocess.run([sys.executable, str(SCRIPT), *words], cwd=folder, capture_output=True,
                          text=True, timeout=120, check=False,
                          env=dict(os.environ) | {"OMP_NUM_THREADS": "1"})


def test_the_script_profiles_reports_and_compares_from_any_directory(tmp_path: Path) -> None:
    done = script(tmp_path, "--model", SMALL, "--iterations", "60", "--open-loop", "300",
                  "--threads", "1", "--report", "r.html", "--json", "a.json")
    assert done.returncode == 0, done.stderr
    for words in ("Closed loop", "Open loop", "p99", "Slowest of", "Roofline", "unavailable"):
        assert words in done.stdout, done.stdout
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "<script" not in page
    assert "var(--accent)" in page and not re.search("|".join(VARIABLES), page)
    saved = json.loads((tmp_path / "a.json").read_text())
    assert len(saved["closed"]["latency"]) == 60 and saved["energy"]["joules"] != 0
    assert saved["layers"] and sum(layer["flops"] for layer in saved["layers"]) > 0
    compared = script(tmp_path, "--compare", "a.json", "a.json")
    assert compared.returncode == 0 and compared.stdout.count("cannot tell") == 4


@pytest.mark.parametrize("words", [
    (), ("--model", "nowhere.onnx"), ("--model", "no-such-name"), ("--model", "resnet50.pth"),
    ("--model", SMALL, "--iterations", "0"), ("--model", SMALL, "--open-loop", "nan"),
    ("--model", SMALL, "--open-loop", "-1"), ("--model", SMALL, "--device", "cuda"),
    ("--compare", "a", "b"), ("--model", SMALL, "--threads", "0"),
])
def test_mistakes_are_one_line(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(profiler, list(words), standalone_mode=False)
    assert isinstance(result.exception, InferenceError) or "--threads" in words
    assert result.exception is not None and len(str(result.exception)) < 400


def test_a_missing_checkpoint_says_how_to_go_on() -> None:
    with pytest.raises(InferenceError, match="torchvision:resnet50"):
        open_target("resnet50.pth", None, 1, 1, "cpu")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x80\x04cos\nsystem\n."])
def test_files_that_hold_no_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("torchvision")
    path = tmp_path / "resnet18.pth"
    path.write_bytes(content)
    with pytest.raises(InferenceError, match=r"resnet18\.pth"):
        open_target(str(path), None, 1, 1, "cpu")


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(InferenceError, match="--arch"):
        open_target(str(path), None, 1, 1, "cpu")
    with pytest.raises(InferenceError, match="resnet19"):
        open_target(str(path), "resnet19", 1, 1, "cpu")
    with pytest.raises(InferenceError, match="resnet19"):
        open_target("torchvision:resnet19", None, 1, 1, "cpu")


def test_a_torch_checkpoint_is_profiled_by_its_file_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    path = tmp_path / "squeezenet1_1-abc.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    target = open_target(str(path), None, 2, 1, "cpu")
    assert target.batch_shape == (2, 3, 224, 224) and target.name == path.name
    found = profile_model(target, ProfileSettings(8, layer_runs=2))
    assert {layer.kind for layer in found.layers} >= {"Conv2d", "MaxPool2d"}
    assert found.activations and found.activations.peak_bytes < found.activations.total_bytes
    assert found.ceilings and not found.partial


def target_of(call) -> ProfileTarget:
    """Anything that can be called."""
    return ProfileTarget("<b>thing</b>", "python", "cpu", 1, (1,), call)


@pytest.mark.parametrize("error", [RuntimeError("out of luck"), KeyboardInterrupt()])
def test_a_model_that_breaks_in_the_middle_leaves_a_partial_profile(
    error: BaseException, tmp_path: Path
) -> None:
    calls = [0]

    def call() -> None:
        calls[0] += 1
        if calls[0] == 250:  # beyond the warm-up, which takes 200 calls at most
            raise error

    found = profile_model(target_of(call), ProfileSettings(400))
    assert found.partial and found.closed is not None and 20 < found.closed.count < 400
    write_report(found, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "Partial result" in page and "<b>thing" not in page and "&lt;b&gt;thing" in page
    console = Console(record=True, width=120)
    print_profile(found, console)
    assert "partial" in console.export_text()


@pytest.mark.parametrize("error", [RuntimeError("late\nfault"), KeyboardInterrupt()])
def test_a_fault_after_the_loops_keeps_the_latencies(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(call: object) -> None:
        raise error

    monkeypatch.setattr("solutions.phase1_basics.profile_run.trace_allocations", broken)
    found = profile_model(target_of(lambda: sum(range(1000))), ProfileSettings(20))
    assert found.closed is not None and found.closed.count == 20
    assert found.partial in ("RuntimeError: late", "interrupted")


def test_a_model_that_never_predicts_is_an_error() -> None:
    def call() -> None:
        raise ValueError("no luck\nat all")

    with pytest.raises(InferenceError, match="cannot predict: ValueError: no luck"):
        profile_model(target_of(call), ProfileSettings(5))


def test_a_single_request_is_reported_without_intervals(tmp_path: Path) -> None:
    found = profile_model(target_of(lambda: sum(range(1000))), ProfileSettings(1, 100.0))
    assert found.missing["layers"] and not found.closed.percentile(0.5).supported
    write_report(found, tmp_path / "r.html")
    assert "too few requests" in (tmp_path / "r.html").read_text()


def test_random_inputs_are_what_the_network_asks_for() -> None:
    rng = np.random.default_rng(0)
    found = random_batch(TensorSpec("x", (None, 3, 8), "float32"), 4, rng)
    assert found.shape == (4, 3, 8) and found.dtype == np.float32 and found.std() > 0.1
    assert random_batch(TensorSpec("x", (2, 3), "uint8"), 1, rng).max() > 1
    assert random_batch(TensorSpec("x", (2, 3), "int64"), 2, rng).max() <= 1
    for spec, batch in ((TensorSpec("x", (2, None), "float32"), 2),
                        (TensorSpec("x", (2, 3), "float32"), 3),
                        (TensorSpec("x", (2, 3), "str"), 2)):
        with pytest.raises(InferenceError, match="input x"):
            random_batch(spec, batch, rng)
