"""``python model_loader.py``: from any directory, results or one line."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from solutions.phase1_basics.labels import class_labels
from solutions.phase1_basics.model_command import command
from zoo.errors import InferenceError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "solutions/phase1_basics/model_loader.py"


def invoke(*words: object) -> str:
    """What the command prints; raises what it raises."""
    found = CliRunner().invoke(command, list(map(str, words)), standalone_mode=False)
    if found.exception is not None:
        raise found.exception
    return found.output


def test_the_script_runs_from_any_directory(tmp_path) -> None:
    words = [sys.executable, str(SCRIPT), "--model", "zoo:digits"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "onnx" in done.stdout and "logits: float32 [? x 10]" in done.stdout


def test_a_missing_file_is_one_line_and_exit_two(tmp_path) -> None:
    words = [sys.executable, str(SCRIPT), "--model", "resnet50.pth"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and "--make resnet50.pth" in done.stderr


def test_an_onnx_file_loads_no_framework() -> None:
    code = ("import sys\n"
            "from solutions.phase1_basics import model_command\n"
            "from solutions.phase1_basics.model_loader import find_model, load_model\n"
            "load_model(find_model('zoo:digits')[0])\n"
            "print([name for name in ('torch', 'tensorflow', 'onnx') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture(scope="module")
def resnet(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("made") / "resnet18.pth"
    assert "resnet18.pth" in invoke("--make", path)
    return path


def test_a_made_file_names_what_is_on_a_picture(resnet, tmp_path) -> None:
    said = invoke("--model", resnet, "--device", "cpu", "--image", ROOT / "docs/street.jpg",
                  "--top", 3)
    assert "11,689,512" in said and "224x224 rgb" in said
    table = said[said.index("probability") :].strip().splitlines()
    assert len(table) == 1 + 3 and all("%" in line for line in table[1:])
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"word {number}\n" for number in range(1000)))
    said = invoke("--model", resnet, "--device", "cpu", "--image", ROOT / "docs/street.jpg",
                  "--labels", labels)
    assert "word " in said


def test_a_folder_survives_a_bad_picture(resnet, tmp_path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "c", "d"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 256, (40, 30, 3), np.uint8))
    (tmp_path / "b.jpg").write_bytes(b"broken")
    said = invoke("--model", resnet, "--device", "cpu", "--batch", tmp_path).splitlines()
    lines = [line for line in said if line[:2] in ("a.", "b.", "c.", "d.")]
    assert [line[0] for line in lines] == ["a", "b", "c", "d"]
    assert "FAILED" in lines[1] and "b.jpg cannot be decoded" in lines[1]
    assert all("%" in line for line in (lines[0], lines[2], lines[3]))
    assert "3 of 4 pictures" in said[-1]


def test_nothing_is_overwritten_and_nonsense_is_refused(resnet, tmp_path) -> None:
    for words, message in (
        (("--make", resnet), "already"),
        (("--make", tmp_path / "nonsense.pth"), "--arch"),
        (("--make", tmp_path / "resnet18.onnx"), "only files of weights"),
        (("--model", tmp_path / "gone.onnx"), "zoo list"),
        (("--make", tmp_path / "absent/resnet18.pth"), "no such folder"),
        (("--model", resnet, "--arch", "resnet34", "--device", "cpu"), "does not fit resnet34"),
        (("--model", resnet, "--device", "tpu"), "write auto"),
        (("--model", resnet, "--device", "cpu", "--image", "gone.jpg"), "gone.jpg"),
    ):
        with pytest.raises(InferenceError, match=message):
            invoke(*words)
    assert list(tmp_path.iterdir()) == []


def test_classes_have_names() -> None:
    assert class_labels(3) == ["class 0", "class 1", "class 2"]
    assert class_labels(2, ["cat", "dog"]) == ["cat", "dog"]
    assert class_labels(1000)[207] == "golden retriever"
    assert class_labels(1001)[208] == "golden retriever"
    with pytest.raises(InferenceError, match="1 labels for 2"):
        class_labels(2, ["cat"])


def test_the_diagnosis_is_a_table() -> None:
    said = invoke("--diagnose")
    assert "mathematics" in said and "environment" in said
