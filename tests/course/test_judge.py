"""Verdicts and messages: what a learner reads for each kind of fault."""

from dataclasses import replace

import pytest

from course.judge import START_SLACK, Judge
from course.manifest import ManifestError
from course.mistakes import Mistake
from course.verdict import ExerciseResult, Verdict
from tests.course.conftest import Learner

SOFTMAX = "def softmax(logits, axis=-1):\n"


def test_untouched_is_todo(learner: Learner) -> None:
    result = learner.check("1.5")
    assert result.verdict == Verdict.TODO and result.message == "" and result.points == 0


def test_half_done_is_todo_and_says_what_is_left(learner: Learner) -> None:
    learner.write("1.5", "softmax", SOFTMAX + "    return logits")
    result = learner.check("1.5")
    assert result.verdict == Verdict.TODO and result.message == "still to do: top_k"


def test_right_is_done(learner: Learner) -> None:
    learner.solve("1.5")
    result = learner.check("1.5")
    assert result.verdict == Verdict.DONE and result.points == result.max_points > 0


@pytest.mark.parametrize(("body", "reason", "said"), [
    ("    return None", "difference", "rows is None, expected an array of float32"),
    ("    return logits.tolist()", "difference", "a list"),
    ("    return logits[0]", "difference", "shape"),
    ("    return logits.astype(float)", "difference", "float64, expected float32"),
    ("    return logits * 0", "difference", "values differ; the first at [0, 0]"),
    ("    return 1 / 0", "exception", "ZeroDivisionError"),
    ("    return undefined_name", "exception", "undefined_name"),
    ("    while True: pass", "hang", "did not come to an end"),
    ("    while True: print('x' * 10000)", "output", "more than a megabyte"),
    ("    logits *= 2\n    return logits", "mutation", "changed an array"),
    ("    return (x for x in logits)", "not plain data", "a generator, not plain data"),
    ("    raise SystemExit(0)", "exception", "SystemExit"),
    ("    raise KeyboardInterrupt", "exception", "KeyboardInterrupt"),
    ("    import os; os._exit(0)", "died", "status 0"),
    ("    import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died", "SIGSEGV"),
    ("    import numpy\n    return logits.astype(object)", "not plain data", "object"),
    ("    import numpy\n    class A(numpy.ndarray):\n        def __eq__(self, other): return True\n"
     "    return logits.view(A)", "not plain data", "A, not plain data"),
    ("    x = []\n    for _ in range(100): x = [x]\n    return x", "not plain data", "deep"),
])
def test_each_fault_has_its_message(learner: Learner, body: str, reason: str, said: str) -> None:
    learner.solve("1.5", "1.7")
    learner.write("1.5", "softmax", SOFTMAX + body)
    result = learner.check("1.5", seeds=1) if reason != "hang" else _impatient(learner)
    assert (result.verdict, result.reason) == (Verdict.WRONG, reason), result.message
    assert said in result.message and result.points == 0
    assert learner.check("1.7").verdict == Verdict.DONE  # nobody else suffers


def _impatient(learner: Learner) -> ExerciseResult:
    """A check with a limit of a second instead of ten."""
    found = Judge(learner.manifest, seed=5, paths=(learner.root,))
    exercise = learner.manifest.find("1.5")
    checks = [replace(check, limit_s=1 - START_SLACK) for check in found.scenarios(exercise)]
    found._scenarios[learner.root / exercise.scenarios] = checks
    return found.check(exercise)


def test_a_traceback_shows_the_learners_lines_alone(learner: Learner) -> None:
    learner.solve("1.5")
    learner.write("1.5", "softmax", SOFTMAX + "    return np.exp(logits.no_such_thing)")
    message = learner.check("1.5").message
    assert "in softmax: return np.exp(logits.no_such_thing)" in message
    assert "runner_side" not in message and message.count("  line ") == 1


def test_files_that_cannot_be_read(learner: Learner) -> None:
    path = learner.template("1.5")
    text = path.read_text()
    for content, reason, said in (
        (text.replace("def top_k(", "def top_k("), "untouched", ""),
        (text + "\nif True print\n", "syntax", "line"),
        ("import no_such_package\n" + text, "import", "no_such_package"),
        (text.replace("def softmax(", "def softmaxx("), "missing symbol", "no softmax"),
        ("", "missing symbol", "course reset 1.5"),
    ):
        path.write_text(content)
        if reason == "import":
            learner.solve("1.5")
        result = learner.check("1.5")
        assert result.reason == reason and said in result.message, (content[:40], result.message)
        assert "\n\n" not in result.message
    path.write_bytes(b"\xff\xfe\x00bad")
    assert learner.check("1.5").reason == "import"
    path.unlink()
    assert learner.check("1.5").reason == "missing file"


@pytest.mark.parametrize(("signature", "fits"), [
    ("def softmax(logits, axis=-1):", True), ("def softmax(logits, axis=0):", True),
    ("def softmax(logits, axis=-1, extra=None):", True), ("def softmax(*args, **named):", True),
    ("def softmax(logits):", False), ("def softmax(x, axis=-1):", False),
    ("def softmax(logits, axis):", False), ("def softmax(axis=-1, logits=None):", False),
])
def test_signatures(learner: Learner, signature: str, fits: bool) -> None:
    learner.solve("1.5")
    learner.write("1.5", "softmax", signature + "\n    return 0")
    result = learner.check("1.5")
    assert (result.reason != "signature") == fits, result.message
    if not fits:
        assert "logits, axis=-1" in result.message or "logits: Floats, axis" in result.message


def test_an_exercise_waits_for_what_it_needs(learner: Learner) -> None:
    learner.solve("1.6")
    result = learner.check("1.6")
    assert (result.verdict, result.message) == (Verdict.TODO, "needs 1.5 first")
    learner.solve("1.5")
    assert learner.check("1.6").verdict == Verdict.DONE
    learner.write("1.5", "softmax", SOFTMAX + "    return logits * 0")
    result = learner.check("1.6")  # its own part is right, but it computes with a wrong one
    assert (result.verdict, result.message) == (Verdict.TODO, "needs 1.5 first")


def test_globals_of_one_exercise_do_not_reach_another(learner: Learner) -> None:
    learner.solve("1.10", "1.12")
    learner.write("1.12", "poisson_arrivals",
                  "def poisson_arrivals(uniforms, rate):\n    global time\n    time = None\n"
                  "    np.cumsum = None\n    return None")
    assert learner.check("1.12").verdict == Verdict.WRONG
    assert learner.check("1.10").verdict == Verdict.DONE


def test_the_same_seed_gives_the_same_message(learner: Learner) -> None:
    learner.solve("1.5")
    learner.write("1.5", "softmax", SOFTMAX + "    return logits * 0")
    first, second = learner.check("1.5"), learner.check("1.5")
    assert first.message == second.message and first.seed == second.seed


def test_an_edit_that_no_longer_fits_fails_loudly() -> None:
    mistake = Mistake("m", "s", "c", (("not there", "x"),))
    with pytest.raises(ManifestError, match="0 times"):
        mistake.applied("some text", "tests/mistakes/1.1.toml")
