"""Real networks, optimized for any runtime and for ONNX Runtime: the same outputs, fewer nodes."""

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from solutions.phase2_optimization.compiler import ONNXRUNTIME_STAGES, PORTABLE_STAGES, optimize
from solutions.phase2_optimization.model_names import named_model
from solutions.phase2_optimization.output_check import difference
from zoo.errors import InferenceError
from zoo.registry import available, find

STAGES = {"portable": PORTABLE_STAGES, "onnxruntime": ONNXRUNTIME_STAGES}


def outputs(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def check(model: onnx.ModelProto, stages: str, shape: tuple[int, ...]) -> int:
    """Optimize, compare the outputs for two batches; how many nodes are left."""
    made = optimize(model, STAGES[stages])
    assert not [report for report in made.passes if report.undone]
    rng = np.random.default_rng(0)
    for batch in (1, 3):
        feeds = {model.graph.input[0].name: rng.normal(size=(batch, *shape)).astype(np.float32)}
        pairs = zip(outputs(model, feeds), outputs(made.model, feeds), strict=True)
        for old, new in pairs:
            assert np.abs(old).max() > 0 and difference(old, new, 3e-4) == ""
    return made.nodes_after


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize(("name", "shape"), [
    ("zoo:street-small", (3, 192, 320)), ("zoo:digits", (1, 20, 20)),
])
def test_the_zoo_keeps_its_outputs(name: str, shape: tuple[int, ...], stages: str) -> None:
    model = named_model(name).model
    assert check(model, stages, shape) <= len(model.graph.node)


def test_a_public_network_loses_its_constants() -> None:
    entry = find("yolox-nano")
    if available(entry) is None:
        pytest.skip("yolox-nano is not here and there is no network")
    model = named_model("yolox-nano").model
    made = optimize(model, verify=True)
    assert made.nodes_after <= 365 < made.nodes_before
    assert not any(report.undone for report in made.passes)


def test_a_quantized_detector_keeps_its_integers() -> None:
    model = named_model("zoo:street-small-int8").model
    made = optimize(model, ONNXRUNTIME_STAGES, verify=True)
    assert "quantized" in made.notes[0] and not any(r.undone for r in made.passes)
    count = [sum(n.op_type == "QuantizeLinear" for n in m.graph.node) for m in (model, made.model)]
    assert count[0] == count[1] > 5


def test_names_that_nobody_knows() -> None:
    with pytest.raises(InferenceError, match="no architecture named 'resnet5'"):
        named_model("resnet5")
    with pytest.raises(InferenceError, match="export it first"):
        named_model("mnist-safetensors")


def transformer() -> object:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.VisionTransformer(32, 16, 2, 3, 48, 96, num_classes=10)


def windowed() -> object:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.SwinTransformer([4, 4], 24, [1, 1], [2, 4], [4, 4], num_classes=10)


def shuffled() -> object:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.shufflenet_v2_x0_5(num_classes=10)


def export(build: Callable[[], object], exporter: str, path: Path) -> onnx.ModelProto:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = build().eval()
    for weights in network.parameters():
        if not weights.any():  # transformers start with a last layer of zeros
            torch.nn.init.normal_(weights, std=0.2)
    images = torch.randn(2, 3, 32, 32)
    if exporter == "dynamo":
        name = next(iter(inspect.signature(network.forward).parameters))
        torch.onnx.export(network, (images,), str(path), dynamo=True, external_data=False,
                          verbose=False, dynamic_shapes={name: {0: torch.export.Dim("batch")}})
    else:
        torch.onnx.export(network, (images,), str(path), dynamo=False, opset_version=17,
                          input_names=["x"], dynamic_axes={"x": {0: "batch"}})
    return onnx.load(str(path))


# what onnxslim 0.1.98 and onnxsim 0.8.1 at best leave of these graphs
@pytest.mark.slow
@pytest.mark.parametrize(("build", "exporter", "peers"), [
    (transformer, "torchscript", 107), (transformer, "dynamo", 89),
    (windowed, "torchscript", 85), (windowed, "dynamo", 83), (shuffled, "torchscript", 186),
])
def test_exports_with_a_free_batch(
    build: Callable[[], object], exporter: str, peers: int, tmp_path: Path
) -> None:
    model = export(build, exporter, tmp_path / "m.onnx")
    assert check(model, "portable", (3, 32, 32)) <= peers
    check(model, "onnxruntime", (3, 32, 32))
