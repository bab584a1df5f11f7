"""The command ``course``, as a learner uses it."""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from course.manifest import load_manifest
from course.state import VERSION
from tests.course.conftest import ROOT, Learner

WRONG = "def softmax(logits, axis=-1):\n    return logits * np.float32(2)\n"


def test_the_board_shows_what_is_open_and_what_comes_next(learner: Learner) -> None:
    done = learner.run()
    assert done.returncode == 0, done.stderr
    for words in ("Phase 1", "1.1   What is this file?", "needs 1.5 first", "not open yet",
                  "0 of 15", "Next: 1.1"):
        assert words in done.stdout, words


def test_check_tells_and_remembers(learner: Learner) -> None:
    learner.solve("1.5", "1.3")
    assert learner.run("check", "1.5").returncode == 0
    done = learner.run()
    assert "✓  1.5" in done.stdout and "?  1.3" in done.stdout and "1 of 15" in done.stdout
    assert "edited, not checked" in done.stdout and "·  1.6   One prediction" in done.stdout
    learner.write("1.5", "softmax", WRONG)
    assert "?  1.5" in learner.run().stdout  # the verdict was on another text
    wrong = learner.run("check", "1.5", "1.3", "1.4", "--seed", "7")
    assert wrong.returncode == 1
    for words in ("✗ 1.5", "values differ; the first at [0, 0]", "✓ 1.3", "1 done, 1 wrong, 1 todo",
                  "(seed 7)", "course hint 1.5", "course diff 1.5"):
        assert words in wrong.stdout, words
    assert learner.run("check", "1.5", "--seed", "7").stdout.split("\n")[1] == \
        wrong.stdout.split("\n")[1]


def test_json(learner: Learner) -> None:
    learner.solve("1.5")
    report = json.loads(learner.run("check", "--phase", "1", "--json").stdout)
    assert report["score"] == 5 and report["max_score"] == 100
    verdicts = {entry["id"]: entry["verdict"] for entry in report["exercises"]}
    assert verdicts["1.5"] == "done" and set(verdicts.values()) == {"done", "todo"}
    promised = {"id", "title", "verdict", "points", "max_points", "reason", "message", "seconds"}
    assert promised <= set(report["exercises"][0])


@pytest.mark.parametrize(("words", "said"), [
    (("check", "9.9"), "no exercise '9.9'"), (("check", "--phase", "3"), "no exercises yet"),
    (("hint", "1.99"), "no exercise"), (("check", "--phase", "7"), "7 is not in the range"),
    (("solution", "1.3"), "not done yet"), (("nonsense",), "No such command"),
    (("answers", "--out", "."), "not an empty folder"),
    (("check", "--reference", "/nowhere"), "exist"),
])
def test_mistakes_of_the_user_are_one_line(learner: Learner, words: tuple[str, ...], said: str
                                           ) -> None:
    done = learner.run(*words)
    assert done.returncode == 2 and said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_hints_get_stronger(learner: Learner) -> None:
    hints = load_manifest(ROOT).find("1.3").hints
    shown = [learner.run("hint", "1.3").stdout for _ in range(len(hints) + 1)]
    for number, text in enumerate(shown[:-1], 1):
        assert f"hint {number} of {len(hints)}" in text
    assert shown[-1] == shown[-2] and "guidelines.md#13-letterbox" in shown[0]


def test_reset_keeps_a_copy_and_the_neighbours(learner: Learner) -> None:
    learner.solve("1.3", "1.4")
    text = learner.template("1.3").read_text()
    done = learner.run("reset", "1.3")
    assert done.returncode == 0, done.stderr
    after = learner.template("1.3").read_text()
    assert 'NotImplementedError("exercise 1.3: letterbox")' in after
    assert "np.ascontiguousarray(pixels.transpose" in after  # 1.4 is still there
    copies = list((learner.root / ".course/backups").glob("*.py"))
    assert [copy.read_text() for copy in copies] == [text]
    learner.template("1.3").write_text("def broken(:\n")
    assert learner.run("reset", "1.3").returncode == 0
    assert learner.check("1.3").verdict == "todo"
    assert len(list((learner.root / ".course/backups").glob("*.py"))) == 2


def test_the_solution_is_shown_once_it_is_done(learner: Learner) -> None:
    assert "scale = min(" in learner.run("solution", "1.3", "--spoil").stdout
    learner.solve("1.3")
    assert learner.run("solution", "1.3").returncode == 2
    learner.run("check", "1.3")
    assert "scale = min(" in learner.run("solution", "1.3").stdout


def test_diff_shows_both_sides_of_a_small_input(learner: Learner) -> None:
    learner.solve("1.5", "1.3")
    learner.write("1.5", "softmax", WRONG)
    done = learner.run("diff", "1.5")
    assert done.returncode == 1
    for words in ("expected", "got", "softmax(float32 [", "again: course diff 1.5 --seed"):
        assert words in done.stdout, (words, done.stdout)
    source = learner.template("1.3").read_text()
    learner.template("1.3").write_text(source.replace("value=(pad,) * 4", "value=(9, 9, 9, 9)"))
    done = learner.run("diff", "1.3")
    assert "picture: " in done.stdout.replace("\n", "") and done.returncode == 1
    picture = learner.root / "out/course/1.3.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    learner.solve("1.13")
    assert learner.run("diff", "1.13").returncode == 0


def test_update_keeps_answers_and_renews_the_rest(learner: Learner) -> None:
    assert "up to date" in learner.run("update").stdout
    learner.solve("1.4")
    path = learner.template("1.4")
    answered = path.read_text()
    path.write_text(answered.replace("From a camera's pixels", "From an old text"))
    done = learner.run("update")
    assert "your normalise, to_nchw kept" in done.stdout
    assert path.read_text() == answered
    assert "From an old text" in next((learner.root / ".course/backups").glob("*.py")).read_text()
    path.unlink()
    assert "new" in learner.run("update").stdout and path.exists()


def test_generate_leaves_answers_alone_and_check_finds_drift(learner: Learner) -> None:
    assert learner.run("generate", "--check").returncode == 0
    path = learner.template("1.9")
    path.write_text(path.read_text().replace("When a model is warm", "When"))
    done = learner.run("generate", "--check")
    assert done.returncode == 1 and "template_warm_up.py" in done.stdout
    assert learner.run("generate").returncode == 0
    assert learner.run("generate", "--check").returncode == 0
    learner.solve("1.9")
    assert "left alone" in learner.run("generate").stdout
    assert learner.check("1.9").verdict == "done"


def test_answers_are_a_perfect_submission(learner: Learner, tmp_path: Path) -> None:
    done = learner.run("answers", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    for template in learner.manifest.templates:
        shutil.copy(tmp_path / "out" / template, learner.root / template)
    report = json.loads(learner.run("check", "--json").stdout)
    assert report["score"] == report["max_score"] == 100


def test_doctor(learner: Learner) -> None:
    done = learner.run("doctor")
    assert "15 exercises" in done.stdout and "the reference is here" in done.stdout
    learner.template("1.9").unlink()
    done = learner.run("doctor")
    assert done.returncode == 1 and "template_warm_up.py is missing" in done.stdout


def test_a_release_holds_no_answers_and_needs_a_reference(tmp_path: Path) -> None:
    out = tmp_path / "release"
    done = subprocess.run([sys.executable, "-m", "course", "release", "--out", str(out)], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifest = load_manifest(out)
    assert not any((out / solution).exists() for solution in manifest.templates.values())
    assert not (out / "tests/mistakes").exists() and not (out / ".git").exists()
    released = Learner(out)
    assert released.run().returncode == 0
    refused = released.run("check", "1.5")
    assert refused.returncode in (0, 2)
    answer = generate_answers(tmp_path)
    shutil.copy(answer / "phase1_basics/template_postprocessing.py", out / "phase1_basics")
    refused = released.run("check", "1.5")
    assert refused.returncode != 0 and "--reference" in refused.stdout + refused.stderr
    assert released.run("check", "1.5", "--reference", str(ROOT)).returncode == 0
    refused = released.run("grade", str(answer))
    assert refused.returncode == 2 and "--reference" in refused.stderr
    graded = released.run("grade", str(answer), "--reference", str(ROOT))
    assert graded.returncode == 0 and "100 of 100" in graded.stdout, graded.stderr
    archive = shutil.make_archive(str(tmp_path / "reference"), "zip", ROOT,
                                  "solutions/phase1_basics")
    assert released.run("check", "1.5", COURSE_REFERENCE=archive).returncode == 0
    assert released.run("reset", "1.5").returncode == 0
    assert released.run("check", "1.5", "--reference", str(ROOT)).stdout.count("todo") == 1


def generate_answers(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "course", "answers", "--out", str(folder / "answers")],
                   cwd=ROOT, check=True, capture_output=True)
    return folder / "answers"


def test_two_checks_at_once_both_get_remembered(learner: Learner) -> None:
    learner.solve("1.5", "1.13", "1.9", "1.3")
    running = [
        subprocess.Popen([sys.executable, "-m", "course", "check", name], cwd=learner.root,
                         env=learner.environment(), stdout=subprocess.DEVNULL)
        for name in ("1.5", "1.13", "1.9", "1.3")
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    state = json.loads((learner.root / ".course/state.json").read_text())
    assert state["version"] == VERSION and set(state["exercises"]) <= {"1.5", "1.13", "1.9", "1.3"}
    assert all(entry["verdict"] == "done" for entry in state["exercises"].values())


@pytest.mark.parametrize("content", [
    "", "{", "[]", '{"version": 0, "exercises": {}}', '{"version": 1, "exercises": {"1.1": 5}}',
    '{"version": 1, "exercises": {"1.1": {"verdict": 1, "digest": 2}}}', '{"version": 1}', "\0",
])
def test_a_damaged_state_is_put_aside(learner: Learner, content: str) -> None:
    (learner.root / ".course").mkdir()
    (learner.root / ".course/state.json").write_text(content)
    learner.solve("1.5")
    done = learner.run("check", "1.5")
    assert done.returncode == 0 and "begun anew" in done.stdout.replace("\n", " ")
    assert [p.read_text() for p in (learner.root / ".course").glob("*.damaged.json")] == [content]
    assert "✓  1.5" in learner.run().stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_checkout(learner: Learner) -> None:
    learner.solve("1.5")
    learner.root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert learner.run("check", "1.5").returncode == 0
    finally:
        learner.root.chmod(stat.S_IRWXU)


def test_nowhere_to_keep_a_state(learner: Learner) -> None:
    learner.solve("1.5")
    (learner.root / ".course").write_text("in the way")  # as good as read-only, also for root
    env = {k: v for k, v in learner.environment().items() if k not in ("HOME", "XDG_CACHE_HOME")}
    for words in (("check", "1.5"), ()):
        done = subprocess.run([sys.executable, "-m", "course", *words], cwd=learner.root, env=env,
                              capture_output=True, text=True)
        assert done.returncode == 0 and "not kept" in done.stdout, done.stderr


def test_home_is_used_where_the_checkout_cannot_be_written(learner: Learner, tmp_path: Path
                                                           ) -> None:
    learner.solve("1.5")
    (learner.root / ".course").write_text("in the way")
    env = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": ""}
    assert learner.run("check", "1.5", **env).returncode == 0
    assert "✓  1.5" in learner.run(**env).stdout


def test_watch_checks_after_a_save(learner: Learner) -> None:
    pytest.importorskip("watchfiles")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "course", "watch", "1.5"], cwd=learner.root,
        env=learner.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        stdin=subprocess.DEVNULL,
    )
    lines: list[str] = []
    assert process.stdout is not None
    stream = process.stdout
    reader = threading.Thread(target=lambda: lines.extend(iter(stream.readline, "")), daemon=True)
    reader.start()
    try:
        wait_for(lines, "1.5 Softmax and top-k  todo")
        time.sleep(1.0)  # the watch over the folder begins
        learner.solve("1.5")
        wait_for(lines, "1.5 Softmax and top-k  done")
        learner.write("1.5", "softmax", WRONG)
        wait_for(lines, "1.5 Softmax and top-k  wrong")
    finally:
        process.kill()
        process.wait()


def test_watch_has_keys(learner: Learner) -> None:
    pytest.importorskip("watchfiles")
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-u", "-m", "course", "watch", "1.5"],
                               cwd=learner.root, env=learner.environment(TERM="xterm"),
                               stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    text: list[str] = []

    def listen() -> None:
        with contextlib.suppress(OSError):  # the other side is gone
            while data := os.read(ours, 4096):
                text.append(data.decode("utf-8", "replace"))

    threading.Thread(target=listen, daemon=True).start()
    try:
        learner.solve("1.5")
        for key, words in ((b"", "q quit"), (b"h", "hint 1 of"), (b"l", "Phase 1"), (b"c", "done"),
                           (b"r", "as in the beginning"), (b"c", "todo")):
            os.write(ours, key)
            wait_for(text, words)
            text.clear()
        os.write(ours, b"q")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def wait_for(lines: list[str], words: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if words in "".join(lines):
            return
        time.sleep(0.05)
    raise AssertionError(f"{words!r} never came: {lines}")


def test_a_template_runs_on_the_learners_parts(learner: Learner) -> None:
    learner.solve("1.5", "1.3")
    learner.write("1.5", "top_k",
                  "def top_k(scores, labels, k=5):\n    return [Ranked('mine', 1.0)]\n")
    import cv2
    import numpy as np

    cv2.imwrite(str(learner.root / "a.png"), np.full((20, 20, 3), 90, np.uint8))
    done = subprocess.run(
        [sys.executable, "template_model_loader.py", "--model", "zoo:digits", "--image",
         "../a.png"], cwd=learner.root / "phase1_basics", capture_output=True, text=True,
        env=os.environ | {"COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr
    assert "your parts: 1.3 Letterbox, 1.5 Softmax and top-k; the solution stands in for 13" in (
        done.stderr)
    assert "mine" in done.stdout
    done = subprocess.run([sys.executable, "phase1_basics/template_profiler.py", "--model", "nope"],
                          cwd=learner.root, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
