"""What every test of a fusion does: run passes over a small model, compare what it computes."""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from tests.solutions.small_graphs import operators, run_onnxruntime, run_reference


def rewritten(model, *passes):
    """The model after the passes, and how many places they changed."""
    graph = OnnxGraph(model)
    changed = sum(one(graph) for one in passes)
    return graph.to_model(), changed


def feeds_of(model, seed=3, sizes=3):
    """Normal values for every input; ``sizes`` where the model leaves an axis open."""
    rng = np.random.default_rng(seed)
    constants = {tensor.name for tensor in model.graph.initializer}
    shapes = {value.name: [dim.dim_value or sizes for dim in value.type.tensor_type.shape.dim]
              for value in model.graph.input if value.name not in constants}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def assert_fires(model, *passes, gone=(), made=(), places=1, reference=True, tolerance=1e-5):
    """The passes change ``places`` places, operators go and come, and the outputs stay."""
    after, changed = rewritten(model, *passes)
    assert changed == places, operators(after)
    left = operators(after)
    assert not [name for name in gone if left[name]], left
    assert not [name for name in made if not left[name]], left
    assert_same(model, after, reference, tolerance)
    return after


def assert_same(before, after, reference=True, tolerance=1e-5, seed=3):
    """Both compute the same in ONNX Runtime, unoptimized, and in the reference evaluator."""
    feeds = feeds_of(before, seed)
    expected = run_onnxruntime(before, feeds, optimize=False)
    assert all(np.abs(value).max() > 1e-3 and np.ptp(value) > 1e-3 for value in expected)
    runs = [run_onnxruntime(after, feeds, optimize=False)]
    if reference:
        runs.append(run_reference(after, feeds))
    for found in runs:
        for old, new in zip(expected, found, strict=True):
            scale = np.abs(old).max()
            np.testing.assert_allclose(new, old, rtol=tolerance, atol=tolerance * scale)


def assert_stays(model, *passes):
    """The passes change nothing."""
    after, changed = rewritten(model, *passes)
    assert changed == 0
    assert operators(after) == operators(model)
