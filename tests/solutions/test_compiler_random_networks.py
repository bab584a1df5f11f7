"""Random convolutional networks, optimized for any runtime and for ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_convnets import CONVOLUTIONAL
from random_graphs import RandomGraph

from solutions.phase2_optimization.output_check import difference, runner
from solutions.phase2_optimization.pass_manager import optimize
from solutions.phase2_optimization.pass_order import ONNXRUNTIME_STAGES, PORTABLE_STAGES

NUMBER = st.integers(0, 59)
PROGRAMS = st.lists(st.tuples(NUMBER, st.integers(0, 3), NUMBER, NUMBER), min_size=5, max_size=14)
LARGEST = 1e-3  # below that an output is what cancellation left over


@pytest.mark.parametrize("stages", [PORTABLE_STAGES, ONNXRUNTIME_STAGES],
                         ids=["portable", "onnxruntime"])
@settings(max_examples=40, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(program=PROGRAMS, channels=st.sampled_from([1, 3, 4, 8, 16]))
def test_outputs_stay(
    stages: tuple[object, ...], program: list[tuple[int, int, int, int]], channels: int
) -> None:
    graph = RandomGraph(channels, 9, 8).run(program, CONVOLUTIONAL)
    model = graph.model()
    optimized = optimize(model, stages)
    assert [report for report in optimized.passes if report.undone] == []
    made = optimized.model
    for feeds in (graph.feeds, {"x": graph.feeds["x"][:1] + 1}):
        pairs = zip(runner(model, None)(feeds), runner(made, None)(feeds), strict=True)
        for before, after in pairs:
            if np.abs(before).max(initial=0) > LARGEST:
                assert difference(before, after) == ""


def test_channels_with_gaps_come_back_where_a_convolution_stays_plain() -> None:
    """Two tensors of 8 channels in blocks of 16, for a convolution that is not worth blocking."""
    graph = RandomGraph(1, 8, 8)
    rng = np.random.default_rng(0)
    weights = [graph.constant(rng.normal(0, 0.3, shape), np.float32)
               for shape in ((8, 1, 3, 3), (8, 16, 3, 3))]
    first = graph.node("Conv", "x", weights[0], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    twice = graph.node("Concat", first, first, axis=1)
    graph.floats.append(graph.node("Conv", twice, weights[1], kernel_shape=[3, 3]))
    model = graph.model()
    made = optimize(model, ONNXRUNTIME_STAGES)
    assert [report for report in made.passes if report.undone] == []
    (before,), (after,) = (runner(one, None)(graph.feeds) for one in (model, made.model))
    assert np.abs(before).max() > 0.1 and difference(before, after) == ""
