"""The scripts that instructors copy, run as the services run them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from course.manifest import load_manifest
from course.template_source import generate, replace_symbol

ROOT = Path(__file__).parents[2]
MANIFEST = load_manifest(ROOT)
CI = ROOT / "course/ci"
WRONG = "def softmax(logits, axis=-1):\n    return logits\n"


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """All right but softmax; and what only a grader that trusts it would run."""
    folder = tmp_path / "submission"
    for template in MANIFEST.templates:
        text = generate(MANIFEST, template, answers=True)
        if template == MANIFEST.find("1.5").template:
            text = replace_symbol(text, "softmax", WRONG)
        (folder / template).parent.mkdir(parents=True, exist_ok=True)
        (folder / template).write_text(text)
    for name in ("course/__init__.py", "course/__main__.py", "sitecustomize.py", "setup.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("raise SystemExit('the learner grades himself')\n")
    return folder


class Gradescope:
    """The folders that Gradescope makes, with a course_checkout."""

    def __init__(self, root: Path) -> None:
        self.root, self.source = root, root / "source"
        self.source.mkdir()
        (self.source / "course_checkout").symlink_to(ROOT)
        for name in ("setup.sh", "run_autograder"):
            shutil.copy(CI / "gradescope" / name, self.source)

    def run(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        base = {k: v for k, v in os.environ.items() if k != "COURSE_REFERENCE"}
        return subprocess.run(
            [self.source / script], capture_output=True, text=True, timeout=200,
            env={**base, "AUTOGRADER_ROOT": str(self.root), "AUTOGRADER_SOURCE": str(self.source),
                 **env})

    @property
    def results(self) -> Any:
        return json.loads((self.root / "results/results.json").read_text())


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_gradescope_from_setup_to_results(submission: Path, tmp_path: Path) -> None:
    """The image is built with programs that write down what they are asked for."""
    scope, log = Gradescope(tmp_path), tmp_path / "log"
    fake = tmp_path / "bin"
    program(fake / "apt-get", f'echo "apt-get $*" >> {log}')
    program(fake / "python", f"""
        mkdir -p "$3/bin"
        printf '#!/bin/sh\\nexec {sys.executable} "$@"\\n' > "$3/bin/python"
        printf '#!/bin/sh\\necho "pip $*" >> {log}\\n' > "$3/bin/pip"
        chmod +x "$3/bin/python" "$3/bin/pip"
        echo "python $*" >> {log}""")
    done = scope.run("setup.sh", PYTHON=str(fake / "python"),
                     PATH=f"{fake}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    asked = log.read_text()
    assert f"python -m venv {scope.source}/venv" in asked
    assert "course_checkout/constraints.txt" in asked and "course_checkout[grade]" in asked
    if os.getuid() == 0:
        assert "install -y -qq" in asked and "libseccomp2" in asked
    done = scope.run("run_autograder")  # with the environment that setup.sh made
    assert done.returncode == 0, done.stderr
    tests = {test["number"]: test for test in scope.results["tests"]}
    assert len(tests) == len(MANIFEST.exercises)
    assert tests["1.5"]["status"] == "failed" and tests["1.3"]["status"] == "passed"
    assert scope.results["score"] == sum(test["score"] for test in tests.values()) < 100


def test_gradescope_refuses_with_the_reason(tmp_path: Path) -> None:
    scope = Gradescope(tmp_path)
    (tmp_path / "submission").mkdir()
    done = scope.run("run_autograder", PYTHON=sys.executable)
    assert done.returncode == 0
    assert scope.results["score"] == 0 and "no template" in scope.results["output"]


@pytest.mark.parametrize("broken", ["python", "reference", "checkout"])
def test_a_broken_grader_gives_no_zeros(submission: Path, tmp_path: Path, broken: str) -> None:
    """Without results, Gradescope says that the autograder failed."""
    scope = Gradescope(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/results.json").write_text('{"score": 100}')  # of a former run
    env = {"PYTHON": sys.executable}
    if broken == "python":
        env["PYTHON"] = str(program(tmp_path / "python", "echo Traceback >&2; exit 1"))
    elif broken == "reference":
        (tmp_path / "empty/solutions").mkdir(parents=True)
        env["COURSE_REFERENCE"] = str(tmp_path / "empty")
    else:
        (scope.source / "course_checkout").unlink()
    done = scope.run("run_autograder", **env)
    assert done.returncode != 0 and not (tmp_path / "results/results.json").exists()


def test_the_workflow_grades_with_the_course_and_not_with_the_submission(
    submission: Path, tmp_path: Path
) -> None:
    yaml = pytest.importorskip("yaml")
    text = (CI / "github/grade.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["grade"]["steps"]
    named = {step.get("name"): step for step in steps}
    assert named["the course"]["with"]["path"] == "course"
    assert named["the submission"]["with"] == {"path": "submission", "persist-credentials": False}
    assert named["install"]["working-directory"] == "course"  # nothing of the learner's
    (tmp_path / "course").symlink_to(ROOT)
    summary = tmp_path / "step-summary.md"
    env = os.environ | {
        "GITHUB_RUN_NUMBER": "17", "GITHUB_STEP_SUMMARY": str(summary),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    env.pop("PYTHONPATH", None)
    for name in ("grade", "show"):
        folder = tmp_path / named[name].get("working-directory", ".")
        script = named[name]["run"].replace("../", f"{tmp_path}/")  # course is a link here
        done = subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=env, text=True,
                              capture_output=True, timeout=200)
        assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["seed"] == 17 and 80 <= report["score"] < 100
    assert "❌" in summary.read_text() and "failures=" in (tmp_path / "junit.xml").read_text()
    kept = named[None]["with"].get("path", "")
    assert {"report.json", "junit.xml"} <= set(kept.split())
