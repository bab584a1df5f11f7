"""Answers that cheat, break out or break down: none earns a point, none spoils a neighbour.

Each sample limits itself to a little beyond the bound, so that a bound that fails harms no machine.
"""

import shutil
import sys
from pathlib import Path

import pytest

from course.formats import NAMES, writer
from course.grading import grade_submission
from course.manifest import load_manifest
from course.sandbox.launch import Bounds, namespaces
from course.submission import Submission
from course.template_source import generate, replace_symbol
from course.verdict import CheckReport, ExerciseResult, Verdict

ROOT = Path(__file__).parents[2]
MANIFEST = load_manifest(ROOT)
TEMPLATE = MANIFEST.find("1.5").template
HEAD = "def softmax(logits, axis=-1):\n"
RIGHT = "    e = np.exp(logits - logits.max(axis=axis, keepdims=True))\n" \
        "    return e / e.sum(axis=axis, keepdims=True)\n"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's bounds")


def submission(body: str, top: str = "") -> Submission:
    """A submission whose softmax has that body; batches (1.7) are right."""
    text = generate(MANIFEST, TEMPLATE, answers=True)
    text = replace_symbol(text, "softmax", HEAD + body) + "\n" + top
    neighbour = MANIFEST.find("1.7").template
    return Submission("hostile", {TEMPLATE: text,
                                  neighbour: generate(MANIFEST, neighbour, answers=True)})


def graded(body: str, top: str = "", bounds: Bounds | None = None) -> tuple[ExerciseResult,
                                                                           CheckReport]:
    exercises = (MANIFEST.find("1.5"), MANIFEST.find("1.7"))
    report = grade_submission(submission(body, top), MANIFEST, seed=3, exercises=exercises,
                              bounds=bounds)
    first, second = report.exercises
    assert second.verdict == Verdict.DONE, second.message  # the neighbour has its points
    return first, report


def test_controls() -> None:
    right, report = graded(RIGHT)
    assert right.verdict == Verdict.DONE and report.score == report.max_score
    wrong, _ = graded("    return logits * 2\n")
    assert wrong.verdict == Verdict.WRONG and wrong.reason == "difference"
    assert len(report.bounds) >= 6, report.bounds


SOLUTION = str(ROOT / "solutions/phase1_basics/postprocessing.py")
EARN_NOTHING = {
    "import the solution": (
        "    from solutions.phase1_basics.postprocessing import softmax as found\n"
        "    return found(logits, axis)\n", {"exception"}, "No module named"),
    "import it by its path": (
        "    import importlib.util as u\n"
        f"    s = u.spec_from_file_location('x', {SOLUTION!r})\n"
        "    m = u.module_from_spec(s); s.loader.exec_module(m)\n"
        "    return m.softmax(logits, axis)\n", {"exception"}, "ermission"),
    "read the solution": (
        f"    text = open({SOLUTION!r}).read()\n"
        "    space = {}; exec(text, space)\n    return space['softmax'](logits, axis)\n",
        {"exception"}, "ermission"),
    "read the mistakes": (
        f"    open({str(ROOT / 'tests/mistakes/1.5.toml')!r}).read()\n" + RIGHT,
        {"exception"}, "ermission"),
    "search the disk": (
        "    import os\n    for folder, _, files in os.walk('/'):\n"
        "        if 'postprocessing.py' in files and 'template' not in folder:\n"
        "            try:\n                text = open(folder + '/postprocessing.py').read()\n"
        "            except OSError:\n                continue\n"
        "            if 'def softmax' in text and 'NotImplemented' not in text:\n"
        "                space = {}; exec(text, space)\n"
        "                return space['softmax'](logits, axis)\n    return None\n",
        {"difference", "hang", "exception"}, ""),
    "look through git": (
        f"    import subprocess\n    out = subprocess.run(['git', '-C', {str(ROOT)!r}, 'show',"
        " 'HEAD:solutions/phase1_basics/postprocessing.py'], capture_output=True).stdout\n"
        "    space = {}; exec(out, space)\n    return space['softmax'](logits, axis)\n",
        {"exception"}, ""),
    "replace the harness": (
        "    import course.plain_data, course.difference, course.runner_side as r\n"
        "    course.difference.find_difference = lambda *a: None\n"
        "    course.plain_data.encode = lambda v: b'done'\n    r._run = lambda *a: {}\n"
        "    return None\n", {"difference", "not plain data", "died", "exception"}, ""),
    "write to the judge's pipe": (
        "    import os\n    for fd in range(3, 64):\n        try:\n"
        "            os.write(fd, (60).to_bytes(4, 'little') + b'{\"verdict\": \"done\"}' * 3)\n"
        "        except OSError:\n            pass\n    return None\n",
        {"not plain data", "hang", "died", "difference"}, ""),
    "exit in peace": ("    import os; os._exit(0)\n", {"died"}, "status 0"),
    "raise SystemExit": ("    raise SystemExit(0)\n", {"exception"}, "SystemExit"),
    "raise KeyboardInterrupt": ("    raise KeyboardInterrupt\n", {"exception"},
                                "KeyboardInterrupt"),
    "raise MemoryError": ("    raise MemoryError\n", {"exception"}, "MemoryError"),
    "segfault": ("    import ctypes; ctypes.string_at(0)\n", {"died"}, "SIG"),
    "start processes": (
        "    import os\n    for _ in range(3):\n        if os.fork() == 0:\n"
        "            import time; time.sleep(5); os._exit(0)\n" + RIGHT,
        {"exception"}, "not permitted"),
    "start a program": ("    import subprocess; subprocess.run(['/bin/true'])\n" + RIGHT,
                        {"exception"}, "ermi"),
    "take memory": ("    x = bytearray(3 << 30)\n" + RIGHT, {"exception"}, "MemoryError"),
    "print for ever": ("    for _ in range(40): print('x' * 100000)\n" + RIGHT, {"output"},
                       "more than a megabyte"),
    "fill the disk": (
        "    import tempfile\n    for place in ('/tmp', '/dev/shm', '.', '/var/tmp'):\n"
        "        try:\n            open(place + '/big', 'wb').write(b'x' * 4096)\n"
        "        except OSError as e: error = e\n        else: return 'written'\n"
        "    raise error\n", {"exception"}, ""),
    "open a socket": ("    import socket; socket.create_connection(('127.0.0.1', 1), 1)\n" + RIGHT,
                      {"exception"}, ""),
    "read other processes": (
        "    import os\n    words = []\n    for n in os.listdir('/proc'):\n"
        "        if n.isdigit():\n            words.append(open(f'/proc/{n}/cmdline').read())\n"
        "    return words\n", {"exception", "difference"}, ""),
    "search the frames": (
        "    import sys\n    f = sys._getframe()\n    seen = []\n    while f:\n"
        "        seen += [k for k in f.f_locals if 'expected' in k or 'reference' in k]\n"
        "        f = f.f_back\n    return seen\n", {"difference"}, "a list of 0"),
    "search the memory": (
        "    import gc\n    arrays = [o for o in gc.get_objects() if type(o) is dict and"
        " 'expected' in o]\n    return len(arrays)\n", {"difference"}, ""),
    "the environment": (
        "    import os, sys\n    return ' '.join([*os.environ, *os.environ.values()])\n",
        {"difference"}, ""),
    "equal to everything": (
        "    class All:\n        def __eq__(self, other): return True\n"
        "        def __getattr__(self, name): return self\n    return All()\n",
        {"not plain data", "exception"}, ""),
    "an array that lies": (
        "    class Lie(np.ndarray):\n        def __eq__(self, o): return True\n"
        "        def tobytes(self, *a): return b''\n    return logits.view(Lie)\n",
        {"not plain data"}, "Lie"),
    "all NaN": ("    return logits * np.nan\n", {"difference"}, "nan"),
    "a generator": ("    return (x for x in logits)\n", {"not plain data"}, "generator"),
    "deep lists": ("    x = []\n    for _ in range(1000000): x = [x]\n    return x\n",
                   {"not plain data", "died"}, ""),
    "wide lists": ("    return [[]] * 3000000\n", {"not plain data"}, "parts"),
    "break NumPy": (
        "    np.abs = np.isfinite = np.array_equal = lambda *a, **k: True\n"
        "    np.random.default_rng = None\n    return logits * 0\n", {"difference", "exception"},
        ""),
    "break time": ("    import time\n    time.perf_counter = time.monotonic = lambda: 0\n"
                   "    return logits * 0\n", {"difference"}, ""),
    "a cached answer": (
        "    global cache\n    try: return cache\n    except NameError: pass\n"
        "    cache = np.exp(logits - logits.max(axis=axis, keepdims=True))\n"
        "    cache = cache / cache.sum(axis=axis, keepdims=True)\n    return cache\n",
        {"difference"}, ""),
    "a file from the last run": (
        "    import os, pickle\n    p = '/tmp/course-cache.pickle'\n"
        "    if os.path.exists(p): return pickle.load(open(p, 'rb'))\n"
        "    pickle.dump(logits, open(p, 'wb'))\n    return logits\n", {"exception"}, "ermi"),
    "change a file's mode": (f"    import os; os.chmod({SOLUTION!r}, 0o777)\n" + RIGHT,
                             {"exception"}, "not permitted"),
    "change a file's times": (f"    import os; os.utime({SOLUTION!r}, (1, 1))\n" + RIGHT,
                              {"exception"}, "not permitted"),
    "change a file's attributes": (
        f"    import os; os.setxattr({SOLUTION!r}, 'user.x', b'1')\n" + RIGHT, {"exception"},
        "not permitted"),
    "half a surrogate": ("    raise ValueError('\\ud800')\n", {"exception"}, "ValueError"),
    "half a surrogate for an answer": ("    return '\\udfff'\n", {"difference"}, ""),
    "an object that raises": (
        "    class Bad(Exception):\n        def __str__(self): raise ValueError\n    raise Bad\n",
        {"exception"}, "Bad"),
}


NEEDS = {  # what holds only where the machine has it; elsewhere the report says NOT bounded
    "files:": ("import it by its path", "read the solution", "read the mistakes",
               "search the disk"),
    "processes:": ("start processes", "start a program", "look through git", "open a socket",
                   "change a file's mode", "change a file's times", "change a file's attributes"),
}


@pytest.fixture(scope="module")
def not_held() -> str:
    """The bounds that this machine cannot enforce, as a report says it."""
    return "\n".join(bound for bound in graded(RIGHT)[1].bounds if "NOT" in bound)


@pytest.mark.parametrize("name", list(EARN_NOTHING))
def test_it_earns_nothing_and_the_report_says_why(name: str, not_held: str) -> None:
    for bound, names in NEEDS.items():
        if bound in not_held and name in names:
            pytest.skip(not_held)
    body, reasons, said = EARN_NOTHING[name]
    result, report = graded(body)
    assert result.verdict == Verdict.WRONG, (result, report.bounds)
    assert result.points == 0 and result.reason in reasons, (result.reason, result.message)
    assert said in result.message and result.message, result.message


FORGE = """
    import os
    from course.plain_data import encode
    frame = {frame}
    data = frame if type(frame) is bytes else encode(frame)
    for fd in range(3, 64):
        try:
            os.write(fd, len(data).to_bytes(4, 'little') + data)
        except OSError:
            pass
    os._exit(0)
"""


@pytest.mark.parametrize("frame", [
    "{'kind': 'exception', 'lines': 5, 'own': True, 'error': 'E', 'message': 'm'}",
    "{'kind': 'exception', 'error': 5, 'message': None}", "{'kind': 'exception', 'call': [1]}",
    "{'kind': 'bounds', 'value': 7}", "{'kind': ['result']}", "{'kind': 'ready'}", "[]", "5",
    "{'kind': 'result'}", "{'kind': 'hang'}", "{'kind': 'import', 'message': {'a': 1}}",
    "{'kind': 'mutation', 'message': '\\ud800'}", "b'junk'",
    "{'kind': 'result', 'value': {'rows': '\\ud800'}}",
    "(tree := b'[' + b'[],' * 3000000 + b'1]') and len(tree).to_bytes(4, 'little') + tree",
])
def test_forged_frames_earn_nothing_and_are_the_answers_fault(frame: str) -> None:
    """An error would be the grader's fault, and cost the learner nothing: it must not be forged."""
    result, report = graded(FORGE.replace("{frame}", frame))
    assert result.verdict == Verdict.WRONG and result.points == 0, result
    for name in NAMES:
        writer(name)(report).encode("utf-8")


def test_a_sandbox_that_does_not_start_is_the_graders_fault(monkeypatch: pytest.MonkeyPatch
                                                            ) -> None:
    from course.sandbox import launch

    monkeypatch.setattr(launch, "INSIDE", Path("/nonexistent.py"))
    report = grade_submission(submission(RIGHT), MANIFEST, seed=3,
                              exercises=(MANIFEST.find("1.5"),))
    assert report.exercises[0].verdict == Verdict.ERROR
    assert "did not start" in report.exercises[0].message


def test_asyncio_may_be_used() -> None:
    result, _ = graded("    import asyncio\n    async def f():\n        await asyncio.sleep(0)\n"
                       "        e = np.exp(logits - logits.max(axis=axis, keepdims=True))\n"
                       "        return e / e.sum(axis=axis, keepdims=True)\n"
                       "    return asyncio.run(f())\n")
    assert result.verdict == Verdict.DONE, result.message


def test_endless_loops_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from course import judge

    monkeypatch.setattr(judge, "START_SLACK", -8.0)  # two seconds in the place of twelve
    result, _ = graded("    while True: pass\n")
    assert (result.verdict, result.reason) == (Verdict.WRONG, "hang")
    result, _ = graded("    import signal, time\n    signal.pthread_sigmask(signal.SIG_BLOCK, "
                       "range(1, 32))\n    time.sleep(100)\n")
    assert result.reason == "hang"


def test_processor_time_is_bounded() -> None:
    result, _ = graded("    while True: pass\n", bounds=Bounds(cpu=1))
    assert "processor time" in result.message
    result, _ = graded("    import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
                       "    while True: pass\n", bounds=Bounds(cpu=1))
    assert result.verdict == Verdict.WRONG and result.reason == "died"


def test_a_thread_that_is_left_behind_ends_with_its_process() -> None:
    result, report = graded(
        "    import threading, time\n"
        "    threading.Thread(target=lambda: time.sleep(60)).start()\n" + RIGHT)
    assert result.verdict == Verdict.DONE and report.seconds < 30  # nobody waits for it


def test_a_module_that_breaks_at_its_top_takes_its_own_file_alone() -> None:
    for top in ("raise SystemExit(0)", "import os; os._exit(0)", "import nothing",
                "import sys; sys.modules.clear()", "__builtins__['len'] = None"):
        result, _ = graded(RIGHT, top)
        assert result.verdict in (Verdict.WRONG, Verdict.DONE)
        assert result.verdict == Verdict.WRONG or "modules" in top or "builtins" in top, top


def test_the_answers_tree_holds_no_answer(tmp_path: Path) -> None:
    from course.isolated import build_tree, given_files

    tree = tmp_path / "tree"
    tree.mkdir()
    build_tree(MANIFEST, submission(RIGHT), MANIFEST.find("1.5"), tree)
    files = [p.relative_to(tree) for p in tree.rglob("*") if p.is_file()]
    for solution in MANIFEST.templates.values():
        assert solution not in files
    assert not any("mistakes" in str(f) or f.suffix == ".pyc" or f.name == "judge.py"
                   for f in files)
    given = given_files(ROOT, tuple(MANIFEST.templates.values()))
    assert Path("solutions/phase1_basics/layers.py") in given
    assert Path("solutions/phase1_basics/image_input.py") not in given  # imports an answer
    untouched = (tree / MANIFEST.find("1.3").template).read_text()
    assert "NotImplementedError" in untouched


def test_what_held_is_said() -> None:
    _, report = graded(RIGHT)
    text = "\n".join(report.bounds)
    assert "RLIMIT_AS" in text and "RLIMIT_CPU" in text and "RLIMIT_FSIZE" in text
    if namespaces():
        assert "network: none" in text
    if shutil.which("unshare") is None:
        assert "NOT bounded" in text
