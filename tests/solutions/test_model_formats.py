"""Real files through ``load_model``, against the runtimes themselves and known answers."""

import gzip

import numpy as np
import pytest

from solutions.phase1_basics.batch_prediction import predict_in_batches
from solutions.phase1_basics.image_input import prepare_image, read_image
from solutions.phase1_basics.model_command import image_input_of
from solutions.phase1_basics.model_loader import find_model, load_model
from solutions.phase1_basics.tensor_spec import TensorSpec, check_batch
from solutions.phase1_basics.tflite_model import (
    TensorQuantization,
    TfliteModel,
    dequantize_array,
    quantize_array,
)
from zoo import registry
from zoo.errors import InferenceError

STREET = registry.ROOM.parent / "docs/street.jpg"


def public(name: str):
    """The file of a public entry; skips where it is not at hand."""
    path = registry.available(registry.find(name))
    if path is None:
        pytest.skip(f"{name} is not here: python -m zoo get {name}, or ZOO_MIRROR")
    return path


@pytest.fixture(scope="module")
def mnist():
    """Test images uint8 [10000, 28, 28] and labels."""
    images = gzip.decompress(public("mnist-test-images").read_bytes())
    labels = gzip.decompress(public("mnist-test-labels").read_bytes())
    return (np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
            np.frombuffer(labels, np.uint8, offset=8))


def prepared(images, model, entry):
    """The pictures as the registry says that the model wants them."""
    want = image_input_of(model, entry)
    return np.concatenate(
        [prepare_image(np.repeat(image[..., None], 3, axis=2), want) for image in images]
    )


def test_the_onnx_network_reads_mnist(mnist) -> None:
    """At least 98.9% of the whole test set."""
    path, entry = find_model(str(public("mnist-cnn")))
    model = load_model(path)
    right = 0
    batch = prepared(mnist[0], model, entry)
    for image, label in zip(batch, mnist[1], strict=True):
        right += int(model.predict(image[None]).argmax()) == label
    assert right / len(batch) >= 0.989


def test_onnx_equals_the_runtime(mnist) -> None:
    import onnxruntime as ort

    path = public("mnist-cnn")
    model = load_model(path)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(0).normal(size=(1, 1, 28, 28)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(batch), session.run(None, {"Input3": batch})[0])
    assert model.input_spec == (TensorSpec("Input3", (1, 1, 28, 28), "float32"),)
    assert model.output_spec == (TensorSpec("Plus214_Output_0", (1, 10), "float32"),)
    np.testing.assert_array_equal(model.predict(batch.astype(np.float64)), model.predict(batch))
    for wrong, message in (
        (batch[..., :27], r"\[1, 1, 28, 27\] does not fit Input3"),
        (batch[0], "does not fit"),
        ((batch * 50).astype(np.uint8), "dtype uint8 does not fit"),
    ):
        with pytest.raises(InferenceError, match=message):
            model.predict(wrong)


def test_the_two_files_of_the_mnist_network(mnist) -> None:
    """Same architecture, trained for 4 and for 8 epochs: each reads digits, and they agree."""
    images, labels = mnist[0][:1500], mnist[1][:1500]
    answers = []
    for name in ("mnist-state-dict", "mnist-safetensors"):
        path, entry = find_model(str(public(name)))
        model = load_model(path, device="cpu")
        batch = prepared(images, model, entry)
        answers.append(predict_in_batches(model.predict, batch, 50).argmax(axis=1))
        assert (answers[-1] == labels).mean() >= 0.975
        assert model.about.arch == "mnist_conv3"
    assert (answers[0] == answers[1]).mean() >= 0.98


def test_the_pickled_weights_as_safetensors_agree_exactly(tmp_path, mnist) -> None:
    import torch
    from safetensors.torch import save_file

    path = public("mnist-state-dict")
    state = torch.load(path, map_location="cpu", weights_only=True)
    save_file(state, tmp_path / "same.safetensors")
    batch = np.random.default_rng(0).normal(size=(16, 1, 28, 28)).astype(np.float32)
    first = load_model(path, device="cpu").predict(batch)
    second = load_model(tmp_path / "same.safetensors", "mnist_conv3", "cpu").predict(batch)
    np.testing.assert_array_equal(first, second)


def test_the_cifar_checkpoint_fits_its_network() -> None:
    """Its shortcuts have no weights; He et al., table 6: 0.27 million parameters."""
    path, entry = find_model(str(public("resnet20-cifar10")))
    model = load_model(path, device="cpu")
    assert 0.265e6 < model.about.parameters < 0.275e6
    image = prepare_image(read_image(STREET), image_input_of(model, entry))
    assert image.shape == (1, 3, 32, 32)
    logits = model.predict(np.concatenate([image, image[..., ::-1]]))
    assert logits.shape == (2, 10) and np.ptp(logits) > 1


def test_the_coral_mobilenet_takes_floats_and_gives_probabilities() -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = public("mobilenet-v1-quant")
    model = load_model(path)
    assert model.input_spec == (TensorSpec("input", (1, 160, 160, 3), "float32"),)
    assert isinstance(model, TfliteModel)
    want = image_input_of(model, None)
    batch = prepare_image(read_image(STREET), want)
    assert -1 <= batch.min() < -0.5 and 0.5 < batch.max() <= 1
    found = model.predict(batch)
    bare = Interpreter(str(path))
    bare.allocate_tensors()
    pixels = np.rint(batch * 128 + 128).astype(np.uint8)  # by hand: scale 1/128, zero point 128
    bare.set_tensor(bare.get_input_details()[0]["index"], pixels)
    bare.invoke()
    raw = bare.get_tensor(bare.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, raw / 256, atol=1e-6)
    assert found.shape == (1, 1001) and 0.9 < found.sum() < 1.1
    twice = model.predict(np.concatenate([batch, batch[:, :, ::-1]]))
    np.testing.assert_array_equal(twice[0], found[0])
    assert np.abs(twice[0] - twice[1]).max() > 0


def onnx_file(path, nodes, inputs, outputs):
    """An ONNX file of some nodes; inputs and outputs as name -> (type, shape)."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper

    def infos(table):
        return [helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape)
                for name, (kind, shape) in table.items()]

    graph = helper.make_graph([helper.make_node(*node) for node in nodes], "g", infos(inputs),
                              infos(outputs))
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_two_inputs_two_outputs_and_a_fault_inside_the_runtime(tmp_path) -> None:
    path = onnx_file(
        tmp_path / "two.onnx", [("Add", ["a", "b"], ["sum"]), ("Mul", ["a", "b"], ["product"])],
        {"a": ("FLOAT", ["n", 3]), "b": ("FLOAT", ["m", 3])},
        {"sum": ("FLOAT", None), "product": ("FLOAT", None)},
    )  # fmt: skip
    model = load_model(path)
    one, two = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), 2, np.float32)
    total, product = model.run(one, two)
    np.testing.assert_array_equal(total, one + 2)
    np.testing.assert_array_equal(product, one * 2)
    with pytest.raises(InferenceError, match="ONNX Runtime"):
        model.run(one, np.ones((5, 3), np.float32))
    with pytest.raises(InferenceError, match=r"ONNX Runtime: .*b"):
        model.predict(one)


def test_inputs_of_strings_are_told(tmp_path) -> None:
    path = onnx_file(tmp_path / "text.onnx", [("Identity", ["words"], ["same"])],
                     {"words": ("STRING", ["n"])}, {"same": ("STRING", ["n"])})
    model = load_model(path)
    with pytest.raises(InferenceError, match="arrays cannot hold string"):
        model.predict(np.zeros(3, np.float32))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantization_there_and_back(dtype) -> None:
    rng = np.random.default_rng(1)
    limits = np.iinfo(dtype)
    one = TensorQuantization(np.float32([0.05]), np.array([3]), 0, dtype)
    many = TensorQuantization(
        np.float32([0.02, 0.05, 0.1]), np.array([0, 1, 2]), 1, dtype
    )
    for how in (one, many):
        integers = rng.integers(limits.min, limits.max + 1, (4, 3, 5)).astype(dtype)
        back = quantize_array(dequantize_array(integers, how), how)
        np.testing.assert_array_equal(back, integers)
    for number in range(3):
        real = dequantize_array(np.full((1, 3, 1), 7, dtype), many)[0, number, 0]
        assert real == pytest.approx((7 - number) * many.scale[number])
    huge = quantize_array(np.array([-1e9, 1e9], np.float32), one)
    assert huge.tolist() == [limits.min, limits.max]


def test_a_batch_is_checked_against_its_spec() -> None:
    spec = TensorSpec("x", (None, 3), "float32")
    batch = np.ones((5, 3), np.float32)
    assert check_batch(batch, spec) is batch
    assert check_batch(batch.astype(np.float16), spec).dtype == np.float32
    assert check_batch(np.ones((2, 3), np.int64), TensorSpec("x", (2, 3), "int32")).dtype == "int32"
    for wrong in (batch[0], batch.T, batch.astype(np.uint8), batch.astype(bool)):
        with pytest.raises(InferenceError, match="does not fit x: float32"):
            check_batch(wrong, spec)


def test_what_is_no_model_and_what_cannot_be_run_is_told(tmp_path) -> None:
    (tmp_path / "engine.plan").write_bytes(b"ftrt" + bytes(200))
    for name, content, message in (
        ("page.onnx", b"<!DOCTYPE html><html>", "page.onnx"),
        ("empty.pth", b"", "empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InferenceError, match=message):
            load_model(tmp_path / name)
    with pytest.raises(InferenceError, match="TensorRT engine"):
        load_model(tmp_path / "engine.plan", trust=True)
    with pytest.raises(InferenceError, match="no such file"):
        load_model(tmp_path / "absent.onnx")
    with pytest.raises(InferenceError, match=r"only .*CPUExecutionProvider"):
        load_model(public("mnist-cnn"), device="cuda:7")
    with pytest.raises(InferenceError, match="run on the CPU"):
        load_model(public("mobilenet-v1-quant"), device="cuda")


def test_a_missing_file_says_how_to_get_one() -> None:
    with pytest.raises(InferenceError, match=r"--make resnet50\.pth") as told:
        find_model("resnet50.pth")
    assert "\n" not in str(told.value)
    with pytest.raises(InferenceError, match="did you mean"):
        find_model("mnist-cn")
    with pytest.raises(InferenceError, match="not a model"):
        find_model("people-video")
