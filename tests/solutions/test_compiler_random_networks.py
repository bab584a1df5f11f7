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
    made = optimize(model, stages).model
    for feeds in (graph.feeds, {"x": graph.feeds["x"][:1] + 1}):
        pairs = zip(runner(model, None)(feeds), runner(made, None)(feeds), strict=True)
        for before, after in pairs:
            if np.abs(before).max(initial=0) > LARGEST:
                assert difference(before, after) == ""
