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

from course import classes
from course.class_summary import score_bins, summarise, to_teach_again
from course.classes import digest_of, plan
from course.formats.class_page import write_class_page
from course.manifest import load_manifest
from course.mistakes import load_mistakes
from course.template_source import generate, make_template

ROOT = Path(__file__).parents[2]
MANIFEST = load_manifest(ROOT)


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
    assert re.search(r"<b>1\.5 .*?done by 33% of the 3 who tried", page)
    assert re.search(rf"<td>{re.escape(mistake)}</td>.*?cleo, dan.*?>2</td>", page, re.S)
    links = re.findall(r'href="(reports/[^"]+)"', page)
    assert len(links) == 4 and all("points" in (out / link).read_text() for link in links)
    assert not list(out.rglob("*.part"))
    with (out / "class.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["ada"]["score"] == "100.0" or rows["ada"]["score"] == "100"
    assert float(rows["ben"]["score"]) == 0 and rows["cleo"]["1.5"] == "wrong"
    seeds = {json.loads(path.read_text())["seed"] for path in out.glob("reports/*.json")}
    assert len(seeds) == 1  # the same inputs for everybody


def test_what_changed_is_graded_again(submissions: Path, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "ada"
    shutil.copytree(submissions / "ada", copy)
    before = digest_of([copy])
    assert before == digest_of([submissions / "ada"]) != digest_of([copy], "another seed")
    path = copy / MANIFEST.find("1.5").template
    path.write_text(path.read_text() + "\n# more\n")
    assert digest_of([copy]) != before

    def reports() -> list[Path]:
        return [w.report for w in plan([copy], tmp_path, 1, None)]

    first = reports()
    assert first == reports()
    grader = tmp_path / "grader"
    shutil.copytree(ROOT / "tests/exercises", grader)
    monkeypatch.setattr(classes, "GRADER", (str(grader),))
    changed = reports()
    (grader / "phase1_basics/letterbox.py").write_text("# a stricter check")
    assert len({*first, *changed, *reports()}) == 3  # another grader, other reports


def test_names_are_unique(submissions: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "ada", tmp_path / "b" / "ada", tmp_path / "ada-1", tmp_path / "x.y"]
    for path in paths:
        path.mkdir(parents=True)
    (tmp_path / "zipped.zip").touch()
    names = [w.name for w in plan([*paths, tmp_path / "zipped.zip"], tmp_path, 1, None)]
    assert names == ["ada-1", "ada-2", "ada-1-1", "x.y", "zipped"]


def report_with(verdict: str, mistake: str = "", exercise: str = "1.5") -> dict[str, object]:
    result = {"id": exercise, "title": "T", "verdict": verdict, "reason": "difference",
              "mistake": mistake, "points": 0.0, "max_points": 5, "message": "m"}
    return {"score": 50.0, "max_score": 100, "seed": 1, "bounds": ["memory: <b>"],
            "exercises": [result]}


def test_a_report_is_kept_unless_the_grader_failed_in_it(tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def grade(command: list[str], **named: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nValueError: broken")

    monkeypatch.setattr(classes.subprocess, "run", grade)
    work = classes.Work("ada", tmp_path, tmp_path / "ada-1.json", 1, None)
    work.page.touch()
    work.report.write_text(json.dumps(report_with("wrong")))
    assert classes.grade_one(work).report and not calls
    for text in (json.dumps(report_with("error")), '{"exerc'):
        work.report.write_text(text)
        found = classes.grade_one(work)
        assert found.graders_fault and found.error == "ValueError: broken"  # and not refused
    assert len(calls) == 2
    assert not list(tmp_path.glob("*.part"))


def test_an_interrupted_class_starts_nothing_more(monkeypatch: pytest.MonkeyPatch,
                                                  tmp_path: Path) -> None:
    begun: list[str] = []

    def slow(work: classes.Work) -> classes.Graded:
        begun.append(work.name)
        time.sleep(0.05)
        return classes.Graded(work.name, None)

    monkeypatch.setattr(classes, "grade_one", slow)
    work = [classes.Work(str(n), tmp_path, tmp_path / f"{n}.json", 1, None) for n in range(100)]
    runs = classes.grade_here(work, 2)
    next(runs)
    runs.close()  # type: ignore[attr-defined]
    assert len(begun) < 10


def test_what_is_taught_again() -> None:
    """By hand: 4 tried 1.5, 1 of them is right; 3 share a mistake; 1.6 is done by most, but two
    of six made the same mistake."""
    name, other = (load_mistakes(MANIFEST, MANIFEST.find(e))[0].name for e in ("1.5", "1.6"))
    rows = [("1.5", "done", ""), ("1.5", "wrong", name), ("1.5", "wrong", name),
            ("1.5", "wrong", name), ("1.5", "todo", ""), ("1.5", "error", ""),
            *[("1.6", "done", "")] * 3, ("1.6", "slow", ""), ("1.6", "wrong", other),
            ("1.6", "wrong", other), ("1.7", "todo", "")]
    graded = [classes.Graded(f"s{n}", report_with(verdict, mistake, exercise))
              for n, (exercise, verdict, mistake) in enumerate(rows)]
    found = {s.id: s for s in summarise(graded, MANIFEST)}
    assert (found["1.5"].tried, found["1.5"].share_done) == (4, 0.25)
    assert found["1.5"].mistakes[0].count == 3 and found["1.5"].mistakes[0].sentence
    assert found["1.6"].tried == 6 and found["1.6"].share_done == pytest.approx(4 / 6)
    assert found["1.7"].tried == 0 and not found["1.7"].again
    assert [s.id for s in to_teach_again(list(found.values()))] == ["1.5", "1.6"]
    assert score_bins([0, 9.9, 10, 99, 100], 100) == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]


def test_the_class_page_escapes_and_is_loud(tmp_path: Path) -> None:
    graded = [classes.Graded("<i>eve</i>", report_with("error"), page="reports/a b#.html"),
              classes.Graded("mallory", None, "<script>alert(1)</script>"),
              classes.Graded("bob", report_with("wrong"), page="reports/bob.html")]
    write_class_page(graded, MANIFEST, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "<script>" not in page and "<i>eve" not in page and "memory: <b>" not in page
    assert "grader itself failed" in page and 'href="reports/a%20b%23.html"' in page
    assert "no known one: difference" in page
    write_class_page([], MANIFEST, tmp_path / "index.html")
    write_class_page(graded[1:2], MANIFEST, tmp_path / "index.html")  # nobody could be graded


def test_no_submissions(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "no submissions" in done.stderr


def test_a_class_on_a_ray_cluster(submissions: Path, tmp_path: Path) -> None:
    """A cluster of two nodes on this machine; then nothing is left to grade."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    paths = [str(submissions / name) for name in ("ada", "ben", "cleo", "eve")]
    out = tmp_path / "out"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        done = run(*paths, "--out", str(out), "--ray", cluster.address, "--seed", "3")
    finally:
        cluster.shutdown()
    assert done.returncode == 0 and "3 of 4 graded" in done.stdout, done.stderr
    assert "eve: submission" in done.stderr
    moments = {path: path.stat().st_mtime_ns for path in out.glob("reports/*.json")}
    assert run(*paths, "--out", str(out)).returncode == 0
    assert len(moments) == 3
    assert moments == {path: path.stat().st_mtime_ns for path in out.glob("reports/*.json")}


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_no_ray_cluster_is_one_line(submissions: Path, tmp_path: Path, address: str,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # no cluster's address is left there
    done = run(str(submissions / "ada"), "--out", str(tmp_path / "out"), "--ray", address)
    assert done.returncode == 2 and "no cluster there" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_without_ray_the_extra_is_named(submissions: Path, tmp_path: Path) -> None:
    if shutil.which("ray") or _has_ray():
        pytest.skip("ray is installed")
    done = run(str(submissions / "ada"), "--out", str(tmp_path / "out"), "--ray", "local")
    assert done.returncode == 2 and "[ray]" in done.stderr


def _has_ray() -> bool:
    import importlib.util

    return importlib.util.find_spec("ray") is not None
