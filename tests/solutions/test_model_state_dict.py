"""Weights by name: unwrapped, stripped, compared; every difference counted and named."""

from collections import OrderedDict

import numpy as np
import pytest

from solutions.phase1_basics.model_loader import arch_of_file, load_model
from solutions.phase1_basics.state_dict import (
    compare_state_dict,
    strip_prefixes,
    unwrap_state_dict,
)
from zoo.errors import InferenceError

WEIGHTS = {"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.zeros(2, np.float32)}


@pytest.mark.parametrize(
    "checkpoint",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "best_prec1": 0.9},
        {"epoch": 3, "model": {"state_dict": WEIGHTS}, "optimizer": {"lr": 0.1}},
        {"net": WEIGHTS},
        {**WEIGHTS, "epoch": 3},
    ],
)
def test_weights_are_found_wherever_trainers_put_them(checkpoint) -> None:
    assert list(unwrap_state_dict(checkpoint)) == list(WEIGHTS)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [({}, "none"), ([1], "a list instead"), ({"epoch": 1}, "epoch"), (None, "a NoneType")],
)
def test_what_holds_no_weights_is_told(checkpoint, message) -> None:
    with pytest.raises(InferenceError, match=message):
        unwrap_state_dict(checkpoint)


def test_prefixes_go_only_where_all_carry_them_and_nobody_wants_them() -> None:
    wanted = list(WEIGHTS)
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        given = {prefix + name: value for name, value in WEIGHTS.items()}
        assert list(strip_prefixes(given, wanted)) == wanted
    mixed = {"module.fc.weight": 1, "fc.bias": 2}
    assert strip_prefixes(mixed, wanted) == mixed
    own = {"model.fc.weight": 1, "model.fc.bias": 2}
    assert strip_prefixes(own, ["model.fc.weight", "model.fc.bias"]) == own


def test_differences_are_counted_and_only_the_first_are_listed() -> None:
    wanted = {f"layer{number}.weight": (3, 3) for number in range(100)}
    given = {"layer0.weight": (3, 3), "layer1.weight": (4, 3), "extra": (1,)}
    difference = compare_state_dict(given, wanted)
    assert len(difference.missing) == 98 and difference.unexpected == ("extra",)
    text = str(difference)
    assert "98 missing: layer2.weight, layer3.weight, layer4.weight, layer5.weight, ..." in text
    assert "1 unexpected: extra" in text
    assert "1 of wrong shape: layer1.weight (4x3 instead of 3x3)" in text
    assert "layer50" not in text
    assert not compare_state_dict(wanted, wanted)
    counter = {"norm.num_batches_tracked": ()}
    assert not compare_state_dict(wanted, wanted | counter)  # files older than the counter


def test_architectures_are_known_by_file_name(tmp_path) -> None:
    names = {
        "resnet50.pth": "resnet50", "resnet50-0676ba61.pth": "resnet50",
        "ResNet18_finetuned.pt": "resnet18", "wide_resnet50_2-95faca4d.pth": "wide_resnet50_2",
        "resnext50_32x4d-7cdf4587.pth": "resnext50_32x4d",
        "mobilenet_v3_small-047dcff4.pth": "mobilenet_v3_small",
        "resnet20-12fca82f.th": "cifar_resnet20", "mnist_conv3.pt": "mnist_conv3",
        "vgg11_bn.pth": "vgg11_bn", "vit_b_16.pth": "vit_b_16",
    }  # fmt: skip
    for name, arch in names.items():
        assert arch_of_file(tmp_path / name) == arch
    for name in ("model.pth", "resnet5000.pth", "best.pt"):
        with pytest.raises(InferenceError, match="--arch"):
            arch_of_file(tmp_path / name)


@pytest.fixture(scope="module")
def resnet18():
    import torch
    import torchvision

    torch.manual_seed(3)
    return torchvision.models.resnet18(num_classes=7).eval()


def test_a_wrapped_checkpoint_predicts_as_the_network_itself(tmp_path, resnet18) -> None:
    import torch

    path = tmp_path / "resnet18-best.pth"
    state = OrderedDict((f"module.{n}", w) for n, w in resnet18.state_dict().items())
    torch.save({"epoch": 7, "state_dict": state}, path)
    model = load_model(path, device="cpu")
    batch = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        expected = resnet18(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(model.predict(batch), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(batch.copy()[::-1])[::-1], expected, atol=1e-5)
    batch.flags.writeable = False
    np.testing.assert_allclose(model.run(batch)[0], expected, atol=1e-5)
    assert model.input_spec[0].shape == (None, 3, 224, 224)
    assert model.output_spec[0].shape == (None, 7)
    assert model.about.arch == "resnet18"
    assert model.about.parameters == sum(w.numel() for w in resnet18.parameters())


def test_safetensors_and_pickle_of_one_network_agree_exactly(tmp_path, resnet18) -> None:
    import torch
    from safetensors.torch import save_file

    torch.save(resnet18.state_dict(), tmp_path / "a.pth")
    save_file(resnet18.state_dict(), tmp_path / "a.safetensors")
    batch = np.random.default_rng(1).normal(size=(1, 3, 224, 224)).astype(np.float32)
    first, second = (
        load_model(tmp_path / name, "resnet18", "cpu").predict(batch)
        for name in ("a.pth", "a.safetensors")
    )
    np.testing.assert_array_equal(first, second)


def test_weights_for_another_network_are_refused_in_one_line(tmp_path, resnet18) -> None:
    import torch

    path = tmp_path / "resnet18.pth"
    torch.save(resnet18.state_dict(), path)
    with pytest.raises(InferenceError, match=r"does not fit resnet34: .* missing: layer1") as told:
        load_model(path, "resnet34", "cpu")
    assert len(str(told.value)) < 700
    with pytest.raises(InferenceError, match="did you mean resnet18"):
        load_model(path, "resnet81", "cpu")
    weights = resnet18.state_dict()
    del weights["layer4.1.bn2.weight"]
    torch.save(weights, path)
    with pytest.raises(InferenceError, match=r"1 missing: layer4\.1\.bn2\.weight$"):
        load_model(path, None, "cpu")


@pytest.mark.gpu
def test_a_gpu_computes_what_the_cpu_computes(tmp_path, resnet18) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18.state_dict(), path)
    batch = np.random.default_rng(2).normal(size=(4, 3, 224, 224)).astype(np.float32)
    on_gpu, on_cpu = load_model(path), load_model(path, device="cpu")
    assert on_gpu.about.device.startswith("cuda") and on_cpu.about.device == "cpu"
    np.testing.assert_allclose(on_gpu.predict(batch), on_cpu.predict(batch), atol=1e-2)
