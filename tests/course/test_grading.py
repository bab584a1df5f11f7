"""Submissions as people hand them in, reports as others read them, the command."""

import json
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from course.formats import NAMES, writer
from course.grading import grade
from course.manifest import load_manifest
from course.submission import read_submission
from course.template_source import generate, replace_symbol
from course.verdict import CheckReport, ExerciseResult, Verdict
from zoo.errors import InferenceError

ROOT = Path(__file__).parents[2]
MANIFEST = load_manifest(ROOT)
POST = MANIFEST.find("1.5").template


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    for template in MANIFEST.templates:
        (folder / template).parent.mkdir(exist_ok=True)
        (folder / template).write_text(generate(MANIFEST, template, answers=True))
    return folder


def zipped(folder: Path, out: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(folder.rglob("*.py")):
            archive.write(path, inside + path.relative_to(folder).as_posix())
    return out


def test_solutions_have_full_points_and_a_pristine_checkout_none(answers: Path) -> None:
    full = grade(answers, MANIFEST, seed=1)
    assert full.score == full.max_score == 100, [r for r in full.exercises if r.message]
    pristine = answers.parent / "pristine"
    for template in MANIFEST.templates:
        (pristine / template).parent.mkdir(parents=True, exist_ok=True)
        (pristine / template).write_text(generate(MANIFEST, template))
    none = grade(pristine, MANIFEST, seed=1)
    assert none.score == 0 and {r.verdict for r in none.exercises} == {Verdict.TODO}


def test_a_submission_may_come_in_many_shapes(answers: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for template in MANIFEST.templates:
        shutil.copy(answers / template, flat / template.name)
    windows = tmp_path / "windows"
    shutil.copytree(answers, windows)
    for path in windows.rglob("*.py"):
        text = path.read_text().replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    wide = tmp_path / "wide"
    shutil.copytree(answers, wide)
    (wide / POST).write_bytes((answers / POST).read_text().encode("utf-16"))
    for path in (flat, windows, wide, zipped(answers, tmp_path / "a.zip"),
                 zipped(answers, tmp_path / "b.zip", "repo-main/work/"),
                 zipped(flat, tmp_path / "c.zip")):
        found = read_submission(path, MANIFEST)
        assert found.texts[POST] == (answers / POST).read_text(), path
        assert len(found.texts) == len(MANIFEST.templates)


def test_a_part_is_graded_and_the_rest_is_untouched(answers: Path, tmp_path: Path) -> None:
    shutil.copy(answers / POST, tmp_path / "renamed.py")
    with pytest.raises(InferenceError, match="no template in it"):
        read_submission(tmp_path, MANIFEST)
    shutil.copy(answers / POST, tmp_path / POST.name)
    report = grade(tmp_path, MANIFEST, seed=1)
    assert report.score == 5 and "graded as untouched" in " ".join(report.bounds)


def hostile_zip(path: Path, name: str, data: bytes = b"x = 1\n", link: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo(name)
        if link:
            entry.external_attr = 0o120777 << 16
        archive.writestr(entry, data)
    return path


def test_hostile_submissions_are_refused(tmp_path: Path) -> None:
    post = POST.as_posix()
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(post, b"\0" * (80 << 20))
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w") as archive:
        for n in range(10_000):
            archive.writestr(f"f{n}.py", "")
    crowd = tmp_path / "crowd"
    crowd.mkdir()
    for n in range(5_100):
        (crowd / f"f{n}.txt").touch()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / POST.name).symlink_to("/etc/passwd")
    empty = tmp_path / "empty"
    empty.mkdir()
    text = tmp_path / "text.zip"
    text.write_text("no archive")
    cut = tmp_path / "cut.zip"
    whole = hostile_zip(tmp_path / "whole.zip", post, b"x = 1\n" * 1000).read_bytes()
    cut.write_bytes(whole[:200])
    for path, said in (
        (tmp_path / "nothing", "there is nothing"), (empty, "no template"), (text, "neither"),
        (cut, "neither"), (bomb, "unpacks to"), (many, "more than 5000"), (crowd, "more than 5000"),
        (linked, "is a link"), (hostile_zip(tmp_path / "up.zip", "../" + post), "leads out"),
        (hostile_zip(tmp_path / "abs.zip", "/etc/" + post), "leads out"),
        (hostile_zip(tmp_path / "ln.zip", post, b"/etc/passwd", link=True), "is a link"),
        (hostile_zip(tmp_path / "win.zip", "..\\" + post), "leads out"),
    ):
        with pytest.raises(InferenceError, match=said) as caught:
            read_submission(path, MANIFEST)
        assert len(str(caught.value).splitlines()) == 1


def test_odd_encodings(answers: Path, tmp_path: Path) -> None:
    text = (answers / POST).read_text()
    for number, (cookie, encoding) in enumerate((("latin-1", "latin-1"), ("cp1252", "cp1252"),
                                                 ("utf-8", "utf-8"), ("no-such", "utf-8"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / POST.name).write_bytes(
            f"# -*- coding: {cookie} -*-\nWORD = 'ü'\n{text}".encode(encoding))
        found = read_submission(folder, MANIFEST).texts[POST]
        assert "WORD = 'ü'" in found and "coding: utf-8" in found
        compile(found.encode(), "x", "exec")


def test_damaged_archives_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(POST.as_posix(), "x = 1\n" * 5000)
    data = bytearray(path.read_bytes())
    for offset in range(60, 110, 7):
        data[offset] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InferenceError):
        read_submission(path, MANIFEST)


def test_lying_sizes_and_huge_templates(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.mkdir()
    (path / POST.name).write_text("#" * (3 << 20))
    result = next(r for r in grade(path, MANIFEST, seed=1).exercises if r.id == "1.5")
    assert result.verdict == Verdict.WRONG and result.reason == "syntax"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
            archive.writestr(POST.as_posix(), generate(MANIFEST, POST))
            archive.writestr(POST.as_posix(), generate(MANIFEST, POST, answers=True))
    assert "2 times" in " ".join(read_submission(tmp_path / "twice.zip", MANIFEST).notes)


@pytest.mark.parametrize(("text", "reason"), [
    ("def softmax[T](logits: T, axis: int = -1) -> T:\n    type X = int\n    return [1\n",
     "syntax"),
    ("x = " + "(" * 400 + ")" * 400, "syntax"), ("\0", "syntax"), ("", "missing symbol"),
    ("def f():\n\tx = 1\n        y = 2\n", "syntax"), ("é = 'ü'", "missing symbol"),
])
def test_templates_that_are_no_python_of_ours(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / POST.name).write_text(text, "utf-8")
    result = next(r for r in grade(tmp_path, MANIFEST, seed=1).exercises if r.id == "1.5")
    assert (result.verdict, result.reason) == (Verdict.WRONG, reason), result.message


def test_a_submission_that_deletes_its_own_files(answers: Path, tmp_path: Path) -> None:
    text = replace_symbol((answers / POST).read_text(), "softmax",
                          "def softmax(logits, axis=-1):\n    import shutil, os\n"
                          "    shutil.rmtree(os.getcwd())\n")
    (tmp_path / POST.name).write_text(text)
    result = next(r for r in grade(tmp_path, MANIFEST, seed=1).exercises if r.id == "1.5")
    assert result.verdict == Verdict.WRONG and (tmp_path / POST.name).exists()


REPORT = CheckReport((
    ExerciseResult("1.1", "One", Verdict.DONE, 8, 8, seconds=0.2),
    ExerciseResult("1.2", "Two <b>", Verdict.WRONG, 0, 10, "difference",
                   "x | y <script>alert(1)</script>\n`code` \x00\x1b[31m"),
    ExerciseResult("1.3", "Three", Verdict.TODO, 0, 4, "untouched"),
    ExerciseResult("1.4", "Four", Verdict.SLOW, 0, 4, "slow", "3.2 times the reference's time"),
    ExerciseResult("1.5", "Five", Verdict.ERROR, 5, 5, "harness", "the checker itself failed"),
), 42, ("memory: 2048 MiB",), 1.5)


def test_formats() -> None:
    texts = {name: writer(name)(REPORT) for name in NAMES}
    document = json.loads(texts["json"])
    assert document["score"] == 13 and document["max_score"] == 31 and document["seed"] == 42
    assert [e["verdict"] for e in document["exercises"]] == [
        "done", "wrong", "todo", "slow", "error"]
    suite = ElementTree.fromstring(texts["junit"]).find("testsuite")
    assert suite is not None
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5", "failures": "2", "errors": "1", "skipped": "1"}
    scope = json.loads(texts["gradescope"])
    assert scope["score"] == 13  # the grader's fault costs nothing, here as everywhere
    assert [t["status"] for t in scope["tests"]] == [
        "passed", "failed", "failed", "failed", "passed"]
    assert "<script>" not in texts["html"] and "&lt;script&gt;" in texts["html"]
    assert "<script>" not in texts["markdown"].replace("\\<script\\>", "")
    assert texts["markdown"].count("\n| ") == 5 + 1 and "grader itself failed" in texts["markdown"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "course", "grade", *words], cwd=ROOT,
                          capture_output=True, text=True, timeout=120)


def test_the_command(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    done = run(str(answers), "--format", "json", "--out", str(out), "--seed", "4")
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert report["score"] == 100 and report["seed"] == 4 and len(report["bounds"]) >= 6
    assert run(str(tmp_path / "nowhere")).returncode == 2
    assert run(str(answers), "--out", "/no/such/folder/x").returncode == 2
    assert run(str(answers), "--out", str(tmp_path)).returncode == 2
    two = ("--format", "junit", "--format", "html")
    for outs in ((), ("--out", str(tmp_path / "x"))):
        done = run(str(answers), *two, *outs)
        assert done.returncode == 2 and "its own file" in done.stderr
    (tmp_path / "one").mkdir()
    shutil.copy(answers / POST, tmp_path / "one")
    xml, page = tmp_path / "a.xml", tmp_path / "a.html"
    done = run(str(tmp_path / "one"), *two, "--out", str(xml), "--out", str(page))
    assert done.returncode == 0, done.stderr
    assert ElementTree.parse(xml).getroot().tag == "testsuites" and "<html" in page.read_text()
    assert run(str(tmp_path / "one"), "--min-score", "5").returncode == 0
    assert run(str(tmp_path / "one"), "--min-score", "6").returncode == 1
    assert run(str(tmp_path / "one")).stdout.startswith("## 5 of 100 points")


def test_the_same_verdicts_as_a_check_that_is_not_isolated(answers: Path, tmp_path: Path) -> None:
    from course.judge import Judge

    mixed = tmp_path / "mixed"
    shutil.copytree(answers, mixed)
    path = mixed / POST
    path.write_text(replace_symbol(path.read_text(), "softmax",
                                   "def softmax(logits, axis=-1):\n    return logits * 2\n"))
    (mixed / MANIFEST.find("1.9").template).write_text("def broken(:\n")
    isolated = grade(mixed, MANIFEST, seed=9)
    plain = Judge(MANIFEST, mixed, seed=9)
    for result in isolated.exercises:
        other = plain.check(MANIFEST.find(result.id))
        assert (result.verdict, result.reason, result.message) == (
            other.verdict, other.reason, other.message)


def test_a_fault_of_the_grader_is_loud_and_free(answers: Path, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:
    from course import judge

    def broken(*anything: object) -> None:
        raise RuntimeError("the reference is gone")

    monkeypatch.setattr(judge, "run_reference", broken)
    report = grade(answers, MANIFEST, seed=1)
    assert {r.verdict for r in report.exercises} == {Verdict.ERROR}
    assert "the checker itself failed" in report.exercises[0].message
    for name in ("gradescope", "json"):
        assert json.loads(writer(name)(report))["score"] == report.max_score


def test_pytest_gives_the_same_verdicts(answers: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(answers, mixed)
    path = mixed / POST
    path.write_text(replace_symbol(path.read_text(), "softmax",
                                   "def softmax(logits, axis=-1):\n    return logits * 2\n"))
    (mixed / MANIFEST.find("1.7").template).unlink()
    out = tmp_path / "junit.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/exercises", "--submission", str(mixed),
         "--junitxml", str(out), "--seed", "9", "-q", "-p", "no:cacheprovider"], cwd=ROOT,
        capture_output=True, text=True, timeout=180,
    )
    assert done.returncode == 1, done.stdout
    seen = {}
    for case in ElementTree.parse(out).iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        seen[str(case.get("name")).partition(" ")[0]] = (properties["verdict"],
                                                         properties["reason"])
    wanted = {r.id: (str(r.verdict), r.reason) for r in grade(mixed, MANIFEST, seed=9).exercises}
    assert seen == wanted
    assert {verdict for verdict, _ in wanted.values()} == {"done", "wrong", "todo"}


def test_pytest_shows_a_fault_of_the_grader_as_an_error(answers: Path, tmp_path: Path) -> None:
    """A sandbox that does not start, in a plugin's hands."""
    (tmp_path / "broken_sandbox.py").write_text(
        "from pathlib import Path\nfrom course.sandbox import launch\n"
        "launch.INSIDE = Path('/nonexistent.py')\n")
    (tmp_path / "one").mkdir()
    shutil.copy(answers / POST, tmp_path / "one")
    out = tmp_path / "junit.xml"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/exercises", "--submission", str(tmp_path / "one"),
         "--junitxml", str(out), "-q", "-p", "no:cacheprovider", "-p", "broken_sandbox"],
        cwd=ROOT, capture_output=True, text=True, timeout=180,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 1, done.stdout
    case = next(c for c in ElementTree.parse(out).iter("testcase")
                if str(c.get("name")).startswith("1.5"))
    assert case.find("error") is not None and case.find("failure") is None
    assert {p.get("value") for p in case.iter("property") if p.get("name") == "verdict"} == {
        "error"}
