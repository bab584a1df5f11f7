"""The suite's parts on networks as C and on memory plans, on the smallest networks."""

import shutil

import pytest
from matplotlib.figure import Figure

from benchmarks import c_backend_rows
from benchmarks.graph_set import FILE, GraphCase
from benchmarks.suite import Context

QUIET = Context("compilation", True, lambda line: None)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on PATH")
def test_a_network_as_c_beside_its_runtimes(monkeypatch) -> None:
    monkeypatch.setattr(c_backend_rows, "QUICK_MODELS", ("zoo:digits",))
    monkeypatch.setattr(c_backend_rows, "QUICK_ROUNDS", 3)
    result = c_backend_rows.c_backend(QUIET)
    variants = [row["variant"] for row in result.rows]
    assert variants[:2] == ["C, ahead of time", "ONNX Runtime, one thread"]
    assert result.rows[0]["difference"] < 1e-4
    goals = {goal.name: goal for goal in result.goals}
    assert goals["ONNX Runtime's time over that of C, zoo:digits"].measured > 0
    assert not goals["ONNX Runtime's time over that of C, zoo:street-small"].holds, "not run"
    result.plot(Figure())


def test_a_missing_compiler_is_said(monkeypatch) -> None:
    monkeypatch.setenv("CC", "no-such-cc")
    monkeypatch.setattr(c_backend_rows, "QUICK_MODELS", ("zoo:digits",))
    result = c_backend_rows.c_backend(QUIET)
    assert "no C compiler" in str(result.rows[0]["note"])
    assert "no C compiler" in result.goals[0].note
    assert not any(goal.holds for goal in result.goals)
    result.plot(Figure())


def test_memory_plans_and_what_is_left_out(monkeypatch) -> None:
    cases = (GraphCase("zoo:digits", FILE), GraphCase("no-such-graph", FILE))
    monkeypatch.setattr(c_backend_rows, "QUICK", cases)
    result = c_backend_rows.memory_plans(QUIET)
    assert [row["graph"] for row in result.rows] == ["zoo:digits", "no-such-graph"]
    assert 1.0 <= result.rows[0]["over least"] <= 1.1
    (goal,) = result.goals
    assert goal.holds
    assert goal.note == "1 graphs; left out: no-such-graph"
    result.plot(Figure())
