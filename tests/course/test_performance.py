"""Speed by ratio: brute force for the statistics, scripted and real answers for the verdicts."""

import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course.grading import grade_submission
from course.judge import Judge
from course.manifest import load_manifest
from course.performance import MOST_ROUNDS, Timed, judge_speed, median_interval
from course.runner import Job, Runner, plain_launch
from course.submission import Submission
from course.template_source import generate, replace_symbol
from course.verdict import Verdict

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("count", [5, 6, 9, 12])
def test_the_median_is_enclosed_as_often_as_promised(count: int) -> None:
    """All 2^n patterns of samples below and above the median are equally likely."""
    values = list(range(count))
    low, _ = median_interval(values)
    if count < 6:
        assert low == -np.inf
        return
    k = int(low) + 1
    missed = sum(1 for signs in itertools.product((0, 1), repeat=count)
                 if sum(signs) < k or sum(signs) > count - k)
    assert missed / 2**count <= 0.05
    tighter = sum(1 for signs in itertools.product((0, 1), repeat=count)
                  if sum(signs) < k + 1 or sum(signs) > count - k - 1)
    assert tighter / 2**count > 0.05  # no narrower pair would do


def verdicts(ratio: float, noise: float, runs: int = 200) -> dict[str, float]:
    """How often each verdict comes for a true ratio under multiplicative noise; the bound is 2."""
    found: dict[str, int] = {}
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        verdict = judge_speed(lambda n, rng=rng: Timed(
            ratio * float(rng.lognormal(0, noise)), float(rng.lognormal(0, noise))), 2.0)
        found[verdict.verdict] = found.get(verdict.verdict, 0) + 1
    return {name: count / runs for name, count in found.items()}


def test_clear_cases_are_clear_under_noise() -> None:
    assert verdicts(1.0, 0.2).get("fast", 0) > 0.98
    assert verdicts(4.0, 0.2).get("slow", 0) > 0.98
    assert verdicts(1.0, 0.6).get("slow", 0) < 0.01  # a noisy machine does not condemn


def test_the_bound_itself_is_slow_in_at_most_one_of_forty_gradings() -> None:
    """All looks together, as promised; log-normal noise leaves the median of the ratios at 2."""
    found = verdicts(2.0, 0.3, runs=1000)
    assert found.get("slow", 0) <= 0.025 and found.get("fast", 0) <= 0.025
    assert verdicts(2.5, 0.2, runs=300)["slow"] > 0.8  # and yet it sees what is slower


def test_doubt_leads_to_more_rounds() -> None:
    alternating = itertools.cycle((1.0, 3.0))
    found = judge_speed(lambda n: Timed(next(alternating), 1.0), 2.0)
    assert found.verdict == "benefit of the doubt" and found.rounds == MOST_ROUNDS
    assert "times the reference's time" in found.text
    quick = judge_speed(lambda n: Timed(1.0, 1.0), 2.0)
    assert quick.rounds == 9


@pytest.fixture
def timed_course(tmp_path: Path) -> Path:
    """A checkout whose 1.13 asks for speed."""
    root = tmp_path / "root"
    root.mkdir()
    for name in ("zoo", "solutions", "course"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "tests/exercises", root / "tests/exercises")
    path = root / "tests/exercises/phase1_basics/exclusive_time.py"
    path.write_text(path.read_text() + '''

@scenario("1.13", seeds=1, relative=1e-9, at_most=3.0)
def many_spans(impl, rng):
    """Two thousand layers in a row, in at most 3 times the reference's time."""
    starts = rng.permutation(2000).tolist()
    found = impl.exclusive_times([impl.Span(f"l{s % 50}", s, s + 1) for s in starts])
    return {name: float(v) for name, v in sorted(found.items())}
''')
    for template in load_manifest(ROOT).templates:
        (root / template).parent.mkdir(exist_ok=True)
        (root / template).write_text(generate(load_manifest(ROOT), template, answers=True))
    return root


def test_a_slow_answer_is_slow_and_says_the_ratio(timed_course: Path) -> None:
    manifest = load_manifest(timed_course)
    exercise = manifest.find("1.13")
    judge = Judge(manifest, seed=1, paths=(timed_course,))
    assert judge.check(exercise).verdict == Verdict.DONE
    path = timed_course / exercise.template
    right = path.read_text()
    answer = (ROOT / "tests/course/alternatives/1-13_by_search.py").read_text()
    body = answer[answer.index("def exclusive_times"):]
    path.write_text(replace_symbol(right, "exclusive_times", body))
    for runner in (None, "isolated"):
        if runner is None:
            result = Judge(manifest, seed=1, paths=(timed_course,)).check(exercise)
        else:
            submission = Submission("slow", {exercise.template: path.read_text()})
            report = grade_submission(submission, manifest, seed=1, exercises=(exercise,))
            result = report.exercises[0]
        assert (result.verdict, result.reason, result.points) == (Verdict.SLOW, "slow", 0)
        assert "times the reference's time" in result.message
        assert "at most 3 times" in result.message


def test_a_timed_answer_cannot_work_ahead(timed_course: Path) -> None:
    """The seed of a timed round is nowhere in the child before the round, and it stands still
    while the reference runs: threads win nothing."""
    job = Job("1.13", "m", Path("t"), Path("s"), (("many_spans", 123456789),), (), timed_course,
              paced=True)
    seen: list[str] = []

    def spy(argv: Sequence[str], *rest: Any) -> Any:
        seen.extend(argv)
        return plain_launch([sys.executable, "-c", "pass"], *rest)

    list(Runner(spy).run(job))
    assert "many_spans" in seen[-1] and "123456789" not in seen[-1]


def test_a_timed_answer_stands_still_while_the_reference_runs(timed_course: Path) -> None:
    manifest = load_manifest(timed_course)
    exercise = manifest.find("1.13")
    path = timed_course / exercise.template
    path.write_text(path.read_text().replace("    own: dict[str, float] = {}\n", (
        "    import threading, time\n"
        "    def tick():\n"
        "        while True:\n"
        "            ticks.append(time.monotonic())\n"
        "            time.sleep(0.002)\n"
        "    global ticks\n"
        "    if 'ticks' not in globals():\n"
        "        ticks = [time.monotonic()]\n"
        "        threading.Thread(target=tick, daemon=True).start()\n"
        "    seen = [*ticks, time.monotonic()]\n"
        "    return {'gap': max(b - a for a, b in zip(seen, seen[1:]))}\n"
        "    own: dict[str, float] = {}\n")))
    judge = Judge(manifest, paths=(timed_course,))
    check = next(c for c in judge.scenarios(exercise) if c.name == "many_spans")
    with tempfile.TemporaryDirectory() as scratch:
        job = judge._job(exercise, [(check, 1), (check, 2)], Path(scratch))
        outcomes = Runner().run(replace(job, paced=True))
        assert next(outcomes).kind == "result"
        time.sleep(0.5)  # the reference's turn
        found = next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
    assert found.value["gap"] > 0.4


def test_a_timed_answer_must_stay_right(timed_course: Path) -> None:
    manifest = load_manifest(timed_course)
    exercise = manifest.find("1.13")
    path = timed_course / exercise.template
    text = path.read_text()
    path.write_text(text.replace("    own: dict[str, float] = {}\n", (
        "    global calls\n    calls = globals().get('calls', 0) + (len(spans) > 1000)\n"
        "    if calls > 4: return {}\n    own: dict[str, float] = {}\n")))
    judge = Judge(manifest, seed=1, seeds=1, paths=(timed_course,))
    result = judge.check(exercise)
    assert result.verdict == Verdict.WRONG and "right every time" in result.message
