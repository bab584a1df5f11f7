"""The chapter belongs to the exercises, and its commands and numbers are real."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from course.manifest import load_manifest

ROOT = Path(__file__).parents[2]
MANIFEST = load_manifest(ROOT)
CHAPTER = ROOT / "phase1_basics/guidelines.md"
TEXT = CHAPTER.read_text("utf-8")


def anchor(title: str) -> str:
    """The anchor that web pages of Git hosts give a heading."""
    kept = re.sub(r"[^\w\- ]", "", title.lower())
    return kept.strip().replace(" ", "-")


def test_every_exercise_has_its_section_and_every_section_its_exercise() -> None:
    headings = re.findall(r"^## (.+)$", TEXT, re.M)
    anchors = {anchor(heading) for heading in headings}
    for exercise in MANIFEST.of_phase(1):
        assert exercise.guide in anchors, exercise.id
        assert f"## {exercise.id} {exercise.title}" in TEXT
    numbered = [heading for heading in headings if re.match(r"1\.\d", heading)]
    assert len(numbered) == len(MANIFEST.of_phase(1))
    for section in re.split(r"^## ", TEXT, flags=re.M)[1:]:
        if re.match(r"1\.\d", section):
            for part in ("The idea", "An example", "Usual mistakes", "References"):
                assert f"**{part}.**" in section, (section[:30], part)


def test_figures_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert pictures and all((CHAPTER.parent / picture).is_file() for picture in pictures)


def test_the_numbers_are_those_that_the_command_prints(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = subprocess.run([sys.executable, "-m", "benchmarks.chapter1", "--out", str(tmp_path)],
                          cwd=ROOT, capture_output=True, text=True, check=True)
    printed = done.stdout
    prose = " ".join(TEXT.split())
    for number in ("505.7, 135.7, 521.3, 200.3", "252.8, 137.8, 260.7, 170.2",
                   "0.074, 0.205, 0.426", "0.665, 0.245, 0.090", "nan, nan, nan",
                   "p99 50.0 ms", "p95 34.3 ms"):
        assert number in printed and number in prose, number
    for said, written in (
        ("stable after call 13", "stable after call 13"), ("p99 needs 368", "368 requests"),
        ("p99.9 needs 3688", "p99.9 it is 3688"), ("p95 needs 72", "p95 72"),
        ("between the 360th and the 368th", "the 360th and the 368th"),
        ("block 5, conv 3, im2col 1, relu 1", "block 5, conv 3, im2col 1, relu 1"),
        ("all activations 37, peak 24 during conv3", "24 MB are alive"),
        ("9 items: 9 ms one by one, 8 ms in batches of 8",
         "Nine items take 9 ms one by one and 8 ms"),
        ("1 GiB: cuda:2", "the third, `cuda:2`"), ("30 GiB: cpu", "GiB it takes the CPU"),
        ("torch can use 3 of them here", "torch can use 3 of them here"),
        ("ridge at 5 operations", "ridge at 5 operations a byte"),
        ("closed loop: p50 1.0 ms, p95 1.0 ms, p99 1.0 ms", "p95 1.0 ms, p99 1.0 ms"),
    ):
        assert said in printed and written in prose, said
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in (ROOT / "phase1_basics/figures").iterdir()}


def test_quoted_programs_exist() -> None:
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.S):
        for line in block.strip().splitlines():
            words = shlex.split(line)
            if words[:2] == ["python", "-m"]:
                path = ROOT / words[2].replace(".", "/")
                assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), line
            elif words[0] == "python":
                assert (CHAPTER.parent / words[1]).is_file(), line
            else:
                assert words[0] in ("cd", "course"), line
