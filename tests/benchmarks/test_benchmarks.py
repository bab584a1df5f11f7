"""The frame of the benchmarks: timing, goals, files, the page."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import suite as suite_module
from benchmarks.__main__ import suite_names
from benchmarks.measure import Spread, interleave
from benchmarks.page import write_page
from benchmarks.suite import Context, Goal, at_least, at_most, unmeasured, within
from zoo.errors import InferenceError


class ScriptedClock:
    """Advances by the work that the variants claim to do."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_variants_take_turns_and_ratios_are_taken_within_rounds() -> None:
    clock, order = ScriptedClock(), []
    load = {"factor": 1.0}

    def variant(name: str, seconds: float):
        def call() -> None:
            order.append(name)
            clock.work(seconds * load["factor"])
            if name == "b":
                load["factor"] *= 1.0 if len(order) % 2 else 3.0  # the machine gets slower

        return call

    timed = interleave({"a": variant("a", 1.0), "b": variant("b", 2.0)}, rounds=4, clock=clock)
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert len(timed.seconds["a"]) == 4
    assert timed.spread("a").median > 1.0
    assert timed.ratio("b", "b").median == 1.0


def test_a_steady_machine_gives_the_true_ratio() -> None:
    clock = ScriptedClock()
    timed = interleave(
        {"slow": lambda: clock.work(0.3), "fast": lambda: clock.work(0.1)}, 5, calls=7, clock=clock
    )
    assert timed.spread("slow").median == pytest.approx(0.3)
    assert timed.ratio("slow", "fast").median == pytest.approx(3.0)
    assert timed.ratio("slow", "fast").low == pytest.approx(timed.ratio("slow", "fast").high)


def test_spread_is_the_quartiles() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert str(Spread(3.0, 2.0, 4.0, 5)) == "3 (2..4)"


def test_goals_hold_or_not() -> None:
    assert at_least("x", 2.0, 2.0).holds and not at_least("x", 1.99, 2.0).holds
    assert at_most("x", 2.0, 2.0).holds and not at_most("x", 2.01, 2.0).holds
    assert within("x", 0.8, 0.75, 0.95).holds and not within("x", 0.96, 0.75, 0.95).holds
    for bound in (at_least, at_most):
        assert not bound("x", float("nan"), 1.0).holds
    absent = unmeasured("x", "at least 2", "no GPU")
    assert (absent.holds, absent.measured, absent.note) == (False, None, "no GPU")


def test_deep_goals_come_from_the_last_full_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(suite_module, "RECORDS", tmp_path)
    context = Context("thing", True, print)
    assert context.deep_goal("x", "at least 2").note == "no full run on record"
    record = {
        "date": "2026-01-02T03:04:05",
        "commit": "0123456789abcdef",
        "goals": [vars(Goal("x", "at least 2", 3.0, True))],
    }
    (tmp_path / "thing.json").write_text(json.dumps(record))
    goal = context.deep_goal("x", "at least 2")
    assert goal.holds and goal.measured == 3.0
    assert "2026-01-02" in goal.note and "0123456789" in goal.note
    assert not context.deep_goal("y", "at least 2").holds


def test_the_page_shows_every_suite(tmp_path) -> None:
    with pytest.raises(InferenceError, match="no results"):
        write_page(tmp_path)
    for name, holds in (("one", True), ("two", False)):
        document = {
            "suite": name, "about": "About <b>it</b>.", "quick": True, "date": "2026-01-02T03:04",
            "commit": "abc", "seconds": 1.0, "machine": {"processor": "p", "cores": 2},
            "goals": [vars(Goal("speed", "at least 1", 2.0 if holds else None, holds, "why"))],
            "rows": [{"variant": "a", "ms": 1.23456, "peer": None}], "facts": {},
        }  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    text = write_page(tmp_path).read_text()
    assert "<h2>one</h2>" in text and "<h2>two</h2>" in text
    assert "holds" in text and "missed" in text and "1.235" in text
    assert "<b>it</b>" not in text
    (tmp_path / "three.json").write_text("{")
    with pytest.raises(InferenceError, match=r"three\.json is not JSON"):
        write_page(tmp_path)


def test_every_suite_has_a_line_about_it_and_a_run() -> None:
    import importlib

    assert {"demo", "zoo"} <= set(suite_names())
    for name in suite_names():
        module = importlib.import_module(f"benchmarks.suites.{name}")
        assert (module.__doc__ or "").strip() and callable(module.run), name


def test_bad_command_lines_are_one_line(tmp_path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "benchmarks", *words, "--out", str(tmp_path)],
            capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ),
        )  # fmt: skip

    for words in (("nosuch",), ("report",), ("zoo", "--quick", "--record")):
        done = run(*words)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
