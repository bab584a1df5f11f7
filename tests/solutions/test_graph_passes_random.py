"""Random graphs, optimized: the same outputs by onnx's reference evaluator, for other batches, too;
nothing undone, and nothing left for a second run."""

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from random_graphs import RandomGraph

from solutions.phase2_optimization.output_check import difference
from solutions.phase2_optimization.pass_manager import optimize

NUMBER = st.integers(0, 29)
PROGRAMS = st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=4, max_size=16)
FEW = settings(max_examples=60, deadline=None, derandomize=True,
               suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@FEW
@given(PROGRAMS)
def test_outputs_stay(program: list[tuple[int, int, int, int]]) -> None:
    graph = RandomGraph().run(program)
    model = graph.model()
    onnx.checker.check_model(model)
    made = optimize(model)
    assert [report.undone for report in made.passes if report.undone] == []
    onnx.checker.check_model(made.model, full_check=True)
    for feeds in (graph.feeds, {"x": graph.feeds["x"][:1] * 2}, {"x": np.zeros((3, 3, 4), "f4")}):
        try:
            before = ReferenceEvaluator(model).run(None, feeds)
        except Exception:  # this batch does not fit the constants of the graph
            continue
        after = ReferenceEvaluator(made.model).run(None, feeds)
        for one, other in zip(before, after, strict=True):
            assert difference(one, other) == ""


@FEW
@given(PROGRAMS)
def test_an_optimized_graph_is_left_alone(program: list[tuple[int, int, int, int]]) -> None:
    first = optimize(RandomGraph().run(program).model())
    second = optimize(first.model)
    assert second.nodes_after == first.nodes_after <= first.nodes_before
