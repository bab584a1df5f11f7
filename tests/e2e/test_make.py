"""``make demo`` from a fresh copy: an environment of its own, light, twice in a row."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(target: str, folder: Path) -> str:
    """The output of a make target, which must succeed."""
    clean = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        ["make", target], cwd=folder, capture_output=True, text=True, timeout=900, check=False,
        env=clean | {"ZOO_CACHE": str(folder / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_make_demo_on_a_fresh_copy_twice(tmp_path) -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a git checkout to copy")
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
    first = make("demo", copy)
    assert "installing .[demo]" in first
    metrics = json.loads((copy / "out/demo/metrics.json").read_text())
    assert metrics["analysed"] == metrics["frames"] > 300
    assert (copy / "out/demo/report.html").is_file()
    assert not list(copy.glob(".venv/lib/*/site-packages/torch"))
    second = make("demo", copy)
    assert "installing" not in second
