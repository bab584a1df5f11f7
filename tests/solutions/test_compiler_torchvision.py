"""The benchmark's networks, small, through the optimizer: every output as before, no more nodes.

The portable graph is checked with ONNX Runtime's own optimizer off, as a runtime without one would
see it; the graph for ONNX Runtime with it on as well, since that is how people run it.
"""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx

from benchmarks.graph_set import NETWORKS, Network, export
from benchmarks.graph_variants import count_nodes, random_feeds
from benchmarks.onnx_sessions import FULL, OFF, relative_difference, session
from solutions.phase2_optimization.pass_manager import optimize
from solutions.phase2_optimization.pass_order import ONNXRUNTIME_STAGES, PORTABLE_STAGES
from zoo import registry
from zoo.errors import InferenceError

SMALL = {"vit_b_16": 224, "ssdlite320_mobilenet_v3_large": 320}  # these take no other size
FILES = ("zoo:street-middle", "mnist-cnn", "yolox-nano")


def _check(model) -> None:
    feeds = random_feeds(model, 1.0)
    expected = session(model, OFF).run(None, feeds)
    assert all(np.ptp(values.astype(np.float64)) > 0 for values in expected)  # says something
    before = model.SerializeToString()
    portable = optimize(model, PORTABLE_STAGES)
    fused = optimize(model, ONNXRUNTIME_STAGES)
    assert model.SerializeToString() == before
    for found, levels in ((portable, (OFF,)), (fused, (OFF, FULL))):
        assert not [report for report in found.passes if report.undone]
        for level in levels:
            outputs = session(found.model, level).run(None, feeds)
            assert relative_difference(outputs, expected) < 1e-4
    assert count_nodes(portable.model) <= count_nodes(model)
    onnx.checker.check_model(portable.model, full_check=True)
    again = optimize(portable.model, PORTABLE_STAGES)
    assert count_nodes(again.model) == count_nodes(portable.model)  # a fixed point


@pytest.mark.parametrize("name", FILES)
def test_networks_from_files(name: str) -> None:
    try:
        path = registry.fetch(registry.find(name))
    except InferenceError as error:
        pytest.skip(str(error))
    _check(onnx.load(path))


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", [network.name for network in NETWORKS])
def test_networks_of_torchvision(name: str, exporter: str, tmp_path) -> None:
    pytest.importorskip("torchvision")
    if (name, exporter) == ("ssdlite320_mobilenet_v3_large", "dynamo"):
        pytest.skip("torch.export does not follow its data-dependent control flow")
    path = tmp_path / "model.onnx"
    export(Network(name, SMALL.get(name, 64)), exporter, path)
    _check(onnx.load(path))
