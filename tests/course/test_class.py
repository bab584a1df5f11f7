"""Classes, and the scripts that instructors copy."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course.classes import fingerprint, plan
from course.manifest import load_manifest
from course.mistakes import load_mistakes
from course.template_source import generate, make_template

ROOT = Path(__file__).parents[2]
MANIFEST = load_manifest(ROOT)
CI = ROOT / "course/ci"


@pytest.fixture(scope="module")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five submissions: right, untouched, two with the same mistake, none at all."""
    folder = tmp_path_factory.mktemp("class")
    mistake = load_mistakes(MANIFEST, MANIFEST.find("1.5"))[0]
    for name in ("ada", "ben", "cleo", "dan"):
        for template in MANIFEST.templates:
            path = folder / name / template
            path.parent.mkdir(parents=True, exist_ok=True)
            text = generate(MANIFEST, template, answers=name != "ben")
            if name in ("cleo", "dan") and template == MANIFEST.find("1.5").template:
                solution = ROOT / MANIFEST.templates[template]
                text = make_template(mistake.applied(solution.read_text(), "x"), (), MANIFEST, "x")
            path.write_text(text)
    (folder / "eve").mkdir()
    return folder


def run(*words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-m", "course", "class", *words], cwd=ROOT, text=True,
                          capture_output=True, timeout=280)


def test_a_class_gets_a_page_and_goes_on_after_a_kill(submissions: Path, tmp_path: Path) -> None:
    paths = [str(path) for path in sorted(submissions.iterdir())]
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-m", "course", "class", *paths, "--out", str(out),
                                "--workers", "1"], cwd=ROOT, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end and not list(out.glob("reports/*.json")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = {path: path.stat().st_mtime_ns for path in out.glob("reports/*.json")}
    assert first
    done = run(*paths, "--out", str(out))
    assert done.returncode == 0 and "4 of 5 graded" in done.stdout, done.stderr
    assert "eve: submission" in done.stderr and "no template" in done.stderr
    assert all(path.stat().st_mtime_ns == moment for path, moment in first.items())
    page = (out / "index.html").read_text()
    mistake = load_mistakes(MANIFEST, MANIFEST.find("1.5"))[0].name
    assert "What to teach again" in page
    assert re.search(rf"1\.5 .*?33%.*?{mistake} \(2\)", page, re.S)
    with (out / "class.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["ada"]["score"] == "100.0" or rows["ada"]["score"] == "100"
    assert float(rows["ben"]["score"]) == 0 and rows["cleo"]["1.5"] == "wrong"
    seeds = {json.loads(path.read_text())["seed"] for path in out.glob("reports/*.json")}
    assert len(seeds) == 1  # the same inputs for everybody


def test_a_changed_submission_is_graded_again(submissions: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ada"
    shutil.copytree(submissions / "ada", copy)
    before = fingerprint(copy, 1)
    assert before == fingerprint(submissions / "ada", 1) != fingerprint(copy, 2)
    path = copy / MANIFEST.find("1.5").template
    path.write_text(path.read_text() + "\n# more\n")
    assert fingerprint(copy, 1) != before
    names = [w.name for w in plan([copy, submissions / "ada"], tmp_path, 1, None)]
    assert names == ["ada-1", "ada-2"]


def test_no_submissions(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "no submissions" in done.stderr


def test_a_class_on_a_ray_cluster(submissions: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    paths = [str(submissions / name) for name in ("ada", "ben")]
    done = run(*paths, "--out", str(tmp_path / "out"), "--ray", "local")
    assert done.returncode == 0 and "2 of 2 graded" in done.stdout, done.stderr


def test_without_ray_the_extra_is_named(submissions: Path, tmp_path: Path) -> None:
    if shutil.which("ray") or _has_ray():
        pytest.skip("ray is installed")
    done = run(str(submissions / "ada"), "--out", str(tmp_path / "out"), "--ray", "local")
    assert done.returncode == 2 and "[ray]" in done.stderr


def _has_ray() -> bool:
    import importlib.util

    return importlib.util.find_spec("ray") is not None


def test_the_gradescope_autograder(submissions: Path, tmp_path: Path) -> None:
    shutil.copytree(submissions / "cleo", tmp_path / "submission")
    source = tmp_path / "source"
    source.mkdir()
    (source / "course_checkout").symlink_to(ROOT)
    env = os.environ | {"AUTOGRADER_ROOT": str(tmp_path), "PYTHON": sys.executable}
    script = CI / "gradescope/run_autograder"
    done = subprocess.run([script], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert results["score"] < 100 and len(results["tests"]) == len(MANIFEST.exercises)
    shutil.rmtree(tmp_path / "submission")
    (tmp_path / "submission").mkdir()
    (tmp_path / "results/results.json").unlink()
    subprocess.run([script], env=env, check=True, capture_output=True, timeout=200)
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert results["score"] == 0 and "no template" in results["output"]
    assert subprocess.run(["bash", "-n", CI / "gradescope/setup.sh"]).returncode == 0


def test_the_workflow_grades(submissions: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((CI / "github/grade.yml").read_text())
    steps = workflow["jobs"]["grade"]["steps"]
    script = next(step["run"] for step in steps if step.get("name") == "grade")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("zoo", "solutions", "course", "tests"):
        (checkout / name).symlink_to(ROOT / name)
    shutil.copytree(submissions / "cleo" / "phase1_basics", checkout / "phase1_basics")
    summary = tmp_path / "summary.md"
    env = os.environ | {
        "GITHUB_RUN_NUMBER": "17", "GITHUB_STEP_SUMMARY": str(summary), "PYTHONPATH": str(checkout),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(["bash", "-e", "-c", script], cwd=checkout, env=env, text=True,
                          capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr
    report = json.loads((checkout / "report.json").read_text())
    assert report["seed"] == 17 and 80 <= report["score"] < 100
    assert "❌" in summary.read_text() and "failures=" in (checkout / "junit.xml").read_text()
