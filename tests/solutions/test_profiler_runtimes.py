"""Layers of real networks: against torch's counter, the runtimes' own times, and each other."""

from pathlib import Path

import numpy as np
import pytest

from solutions.phase1_basics.activation_memory import activation_peak
from solutions.phase1_basics.onnx_graph import read_onnx_graph
from solutions.phase1_basics.onnx_model import OnnxModel
from solutions.phase1_basics.onnx_profile import profile_onnx
from zoo import registry
from zoo.errors import InferenceError

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
STREET = "zoo:street-small"


class Small(torch.nn.Module):
    """Convolution, transposed convolution, residual, attention by hand, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1, groups=1)
        self.depth = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = torch.nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 32 * 32, 10))

    def forward(self, x):
        x = self.conv(x)
        x = x + self.depth(x).relu()
        flat = x.flatten(2)
        weights = torch.softmax(flat @ flat.transpose(1, 2), -1)
        x = (weights @ flat).reshape(x.shape)
        return self.head(self.up(x))


def counted(model, batch) -> int:
    """FLOPs by torch's own counter, which knows matrix operators only."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(batch)
    return counter.get_total_flops()


def test_matrix_flops_of_a_torch_network_are_torchs_own() -> None:
    from solutions.phase1_basics import torch_profile

    model, batch = Small().eval(), torch.rand(2, 3, 16, 16)
    trace = torch_profile.trace_modules(model, batch)
    elementwise = {
        "(model)": 2 * (2 * 8 * 256) + 2 * 64,  # relu and addition, softmax
    }
    total = sum(trace.flops.values()) - sum(elementwise.values())
    assert total == counted(model, batch)
    assert trace.flops["conv"] == 2 * 2 * 8 * 256 * 27
    assert trace.flops["depth"] == 2 * 2 * 8 * 256 * 9
    assert trace.flops["up"] == 2 * (2 * 8 * 256) * 4 * 4
    assert trace.bytes_moved["head.1"] >= 4 * (4096 * 10 + 10 + 2 * 4096 + 2 * 10)


def test_resnet_has_the_flops_of_torchs_counter_and_of_its_onnx_file(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    from solutions.phase1_basics.torch_profile import trace_modules

    model, batch = torchvision.models.resnet18().eval(), torch.rand(1, 3, 64, 64)
    trace = trace_modules(model, batch)
    convolutions = [n for n, m in model.named_modules()
                    if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert sum(trace.flops[name] for name in convolutions) == counted(model, batch)
    path = tmp_path / "r.onnx"
    torch.onnx.export(model, (batch,), path, dynamo=False, input_names=["x"])
    graph = read_onnx_graph(path, {"x": (1, 3, 64, 64)})
    matrix = sum(x.flops for x in graph.layers if x.kind in {"Conv", "Gemm"})
    assert matrix == counted(model, batch)
    kernels = profile_onnx(path, {"x": batch.numpy()}, runs=3)
    ran = sum(x.flops for x in kernels if "Conv" in x.kind or "Gemm" in x.kind)
    assert ran == matrix  # the runtime fuses and reorders, and still multiplies as often
    torch_peak = activation_peak(trace.operations, trace.sizes, trace.results).peak_bytes
    onnx_peak = activation_peak(graph.operations, graph.sizes, graph.results).peak_bytes
    first = 64 * 32 * 32 * 4  # the first layer's output: twice at once, around a normalisation
    assert torch_peak == 2 * first
    assert onnx_peak == 2 * first


def test_liveness_of_torch_is_what_its_allocator_would_see() -> None:
    """A chain of known sizes: input, then two layers of which only neighbours live."""
    from solutions.phase1_basics.torch_profile import trace_modules

    model = torch.nn.Sequential(torch.nn.Linear(10, 1000), torch.nn.ReLU(),
                                torch.nn.Linear(1000, 5)).eval()
    trace = trace_modules(model, torch.rand(4, 10))
    found = activation_peak(trace.operations, trace.sizes, trace.results)
    assert found.peak_bytes == 2 * 4 * 4000  # before and after the ReLU
    assert found.total_bytes == 4 * 4 * (10 + 1000 + 1000 + 5)


def test_module_times_sum_to_the_prediction_on_a_scripted_clock() -> None:
    from solutions.phase1_basics.torch_profile import time_modules
    from tests.solutions.scripted import ScriptedClock

    clock = ScriptedClock()

    class Takes(torch.nn.Module):
        def __init__(self, seconds: float, *parts: torch.nn.Module) -> None:
            super().__init__()
            self.seconds, self.parts = seconds, torch.nn.ModuleList(parts)

        def forward(self, x):
            clock.advance(self.seconds)
            for part in self.parts:
                x = part(x)
            return x

    shared = Takes(0.5)
    model = Takes(1.0, Takes(2.0, Takes(4.0)), shared, shared)
    found = time_modules(model, torch.rand(1), runs=3, clock=clock)
    assert found == pytest.approx(
        {"(model)": 1.0, "parts.0": 2.0, "parts.0.parts.0": 4.0, "parts.1": 1.0})


def test_hooks_are_gone_afterwards_even_if_the_model_breaks() -> None:
    from solutions.phase1_basics.torch_profile import time_modules, trace_modules

    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(4, 4))
    for profile in (time_modules, trace_modules):
        with pytest.raises(RuntimeError):
            profile(model, torch.rand(1, 3))
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_kernels_of_the_runtime_are_all_there() -> None:
    path = registry.fetch(registry.find(STREET))
    feeds = {OnnxModel(path).inputs[0].name: np.zeros((1, 3, 192, 320), np.float32)}
    found = profile_onnx(path, feeds, runs=3)
    graph = read_onnx_graph(path, {name: value.shape for name, value in feeds.items()})
    convolutions = [x for x in found if "Conv" in x.kind]
    assert len(convolutions) == sum(x.kind == "Conv" for x in graph.layers)
    assert all(layer.seconds >= 0 for layer in found) and sum(x.seconds for x in found) > 0
    ours = sum(x.flops for x in graph.layers if x.kind == "Conv")
    ran = sum(x.flops for x in convolutions)
    assert ours <= ran <= 2 * ours  # the blocked layout rounds channels up


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07"])
def test_damaged_files_are_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(InferenceError):
        profile_onnx(path, {})
    if content != b"\x08\x07":
        with pytest.raises(InferenceError, match=r"shapes are not known|no model"):
            read_onnx_graph(path, {})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_has_ceilings_memory_and_the_same_layers() -> None:
    from solutions.phase1_basics.gpu_ceilings import measure_gpu_ceilings
    from solutions.phase1_basics.memory_profile import device_memory
    from solutions.phase1_basics.profile_run import ProfileSettings, profile_model
    from solutions.phase1_basics.profile_target import open_target

    roof = measure_gpu_ceilings("cuda", 3)
    assert roof.peak_flops > 1e12 and roof.bandwidth > 1e11
    used = device_memory(lambda: torch.ones(2**20, device="cuda"), "cuda")
    assert used.peak is not None and used.peak >= 2**22
    target = open_target("torchvision:resnet18", None, 1, 1, "cuda")
    found = profile_model(target, ProfileSettings(30))
    assert found.layers and found.devices and found.device_memory.peak
