"""False alarms: files that real tools write, and real files, are all accepted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile_models as hostile
import numpy as np
import pytest

from solutions.phase1_basics.model_format import ModelFormat
from solutions.phase1_basics.model_safety import check_model
from solutions.phase1_basics.safetensors_file import read_safetensors
from solutions.phase1_basics.torch_file import load_state_dict_file

torch = pytest.importorskip("torch")
MODELS = Path(__file__).parents[2] / "zoo" / "models"
REAL = {
    "yolox_nano.onnx": "onnx", "mnist.onnx": "onnx", "resnet20-12fca82f.th": "pytorch_legacy",
    "burn_mnist.pt": "pytorch_zip", "burn_mnist.safetensors": "safetensors",
    "mobilenet_v1_0.5_160_quant.tflite": "tflite", "saved_model_half_plus_two": "saved_model",
}


@pytest.mark.parametrize(("name", "model_format"), REAL.items())
def test_real_files(name: str, model_format: str) -> None:
    folder = os.environ.get("ZOO_MIRROR")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"{name} is not in ZOO_MIRROR")
    assert check_model(Path(folder) / name) == model_format


def test_one_model_in_two_formats() -> None:
    """Names and shapes agree; the values (trained on their own) are what the libraries read."""
    library = pytest.importorskip("safetensors.numpy")
    folder = os.environ.get("ZOO_MIRROR")
    if not folder or not (Path(folder) / "burn_mnist.pt").exists():
        pytest.skip("burn_mnist is not in ZOO_MIRROR")
    pickled = load_state_dict_file(Path(folder) / "burn_mnist.pt")
    plain = read_safetensors(Path(folder) / "burn_mnist.safetensors")
    oracle = library.load_file(Path(folder) / "burn_mnist.safetensors")
    unrestricted = torch.load(Path(folder) / "burn_mnist.pt", "cpu", weights_only=True)
    assert set(pickled) == set(plain) == set(oracle)
    for name, tensor in pickled.items():
        assert tuple(tensor.shape) == plain[name].shape
        np.testing.assert_array_equal(plain[name], oracle[name])
        assert torch.equal(tensor, unrestricted[name])


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.[os][na][nf]*")), ids=lambda path: path.name)
def test_the_projects_own_models(path: Path) -> None:
    assert check_model(path) in (ModelFormat.ONNX, ModelFormat.SAFETENSORS)


def test_the_edge_path_stays_light() -> None:
    """Checking ONNX needs neither torch nor onnx nor HDF5."""
    code = ("import sys; import solutions.phase1_basics.model_safety; "
            "print({'torch', 'onnx', 'h5py', 'tensorflow'} & set(sys.modules))")
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True, cwd=Path(__file__).parents[2])
    assert answer.stdout.strip() == "set()"


ARCHITECTURES = ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5",
                 "mnasnet0_5"]


def _state_dicts(name: str) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """One architecture's weights in the ways that people save them."""
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        shapes = torchvision.models.get_model(name).state_dict()
    state = type(shapes)((key, torch.zeros(value.shape, dtype=value.dtype)[..., :9])
                         if value.dim() > 1 else (key, torch.zeros(value.shape, dtype=value.dtype))
                         for key, value in shapes.items())
    state._metadata = shapes._metadata
    wrapped = {f"module.{key}": value for key, value in state.items()}
    for protocol in range(2, 6):
        for zipped in (True, False):
            options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
            yield f"protocol {protocol} {zipped}", state, options
    yield "DataParallel", wrapped, {}
    yield "nested", {"state_dict": wrapped, "epoch": 3, "best": np.float32(0.5)}, {}
    yield "half", {key: value.half() for key, value in state.items()}, {}
    yield "bfloat16", {key: value.bfloat16() for key, value in state.items()}, {}
    yield "plain dict", dict(state), {}
    yield "parameters", {key: torch.nn.Parameter(value, value.is_floating_point())
                         for key, value in state.items()}, {}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_state_dicts_saved_each_way(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    for kind, value, options in _state_dicts(name):
        path.write_bytes(hostile.torch_bytes(value, **options))
        assert check_model(path) in ("pytorch_zip", "pytorch_legacy"), kind
        assert len(load_state_dict_file(path)) == len(value), kind


def test_models_that_the_onnx_package_brings() -> None:
    """Its test models use every operator, type and attribute kind."""
    onnx = pytest.importorskip("onnx")
    paths = sorted(Path(onnx.__file__).parent.rglob("*.onnx"))
    if not paths:
        pytest.skip("this onnx package brings no models")
    for path in paths:
        assert check_model(path) == "onnx", path


def test_onnx_exports(tmp_path: Path) -> None:
    """Both of PyTorch's exporters, external data included, and onnx's own writer."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten())
    inputs, path = (torch.zeros(1, 3, 8, 8),), tmp_path / "m.onnx"
    for options in ({"dynamo": False}, {"dynamo": True, "external_data": True},
                    {"dynamo": True, "external_data": False}):
        torch.onnx.export(module.eval(), inputs, path, verbose=False, **options)
        assert check_model(path) == "onnx", options
    model = onnx.load(path)
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, location="weights.bin",
              size_threshold=0, convert_attribute=True)
    assert (tmp_path / "weights.bin").stat().st_size > 0
    assert check_model(tmp_path / "e.onnx") == "onnx"
