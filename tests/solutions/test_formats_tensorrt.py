"""What surrounds TensorRT, without TensorRT; and the whole ladder where it is (gpu)."""

import contextlib
import json
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from fake_tensorrt import Fake
from format_modules import images, several, small_net, small_source
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase2_optimization.formats import tensorrt_format
from solutions.phase2_optimization.formats.catalogue import compile
from solutions.phase2_optimization.formats.compiled import Source, relative_error
from solutions.phase2_optimization.formats.half_precision import BFLOAT16, FLOAT16, to_half
from solutions.phase2_optimization.formats.onnx_export import export_traced
from solutions.phase2_optimization.formats.symmetric_qdq import symmetric_qdq, symmetric_scale
from solutions.phase2_optimization.formats.tensorrt_engines import (
    EngineCache,
    engine_facts,
    mismatch,
)
from solutions.phase2_optimization.formats.tensorrt_inputs import prepare_inputs
from solutions.phase2_optimization.formats.tensorrt_precision import check_device, graph_in
from solutions.phase2_optimization.formats.tensorrt_profiles import (
    ShapeRange,
    batch_profiles,
    choose_profile,
)
from solutions.phase2_optimization.quantize_graph import quantize_static
from zoo.errors import InferenceError

IMAGES = TensorSpec("images", (None, 3, 16, 16), "float32")


def ort_run(model, batch):
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), settings,
                                   providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, batch, strict=True)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trt")
    return onnx.load(export_traced(small_source(), several(folder), folder / "net.onnx").path)


# profiles

def test_one_is_a_profile_of_its_own() -> None:
    latency, throughput = batch_profiles([IMAGES], images(2), (8, 1, 32))
    assert latency[0] == ShapeRange("images", (1, 3, 16, 16), (1, 3, 16, 16), (1, 3, 16, 16))
    assert throughput[0].minimum[0] == 2
    assert throughput[0].best[0] == throughput[0].maximum[0] == 32
    assert len(batch_profiles([IMAGES], images(2), (4, 8))) == 1


def test_a_fixed_batch_takes_no_other() -> None:
    fixed = TensorSpec("images", (4, 3, 16, 16), "float32")
    assert batch_profiles([fixed], images(4), (4,))[0][0].best[0] == 4
    with pytest.raises(InferenceError, match="batches of 4 alone"):
        batch_profiles([fixed], images(4), (4, 8))


def test_other_free_axes_take_the_size_of_the_example() -> None:
    free = TensorSpec("images", (None, 3, None, None), "float32")
    assert batch_profiles([free], images(2), (1,))[0][0].best == (1, 3, 16, 16)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 64), min_size=1, max_size=5))
def test_every_size_asked_for_has_a_profile(sizes) -> None:
    profiles = batch_profiles([IMAGES], images(2), tuple(sizes))
    for size in sizes:
        chosen = choose_profile(profiles, [(size, 3, 16, 16)])
        assert profiles[chosen][0].takes((size, 3, 16, 16))
    with pytest.raises(InferenceError, match="the engine was built for images"):
        choose_profile(profiles, [(max(sizes) + 1, 3, 16, 16)])


def test_inputs_are_checked_and_made_contiguous() -> None:
    profiles = batch_profiles([IMAGES], images(2), (1, 4))
    turned = np.asfortranarray(images(3)[0].astype(np.float64))
    ready = prepare_inputs((turned,), [IMAGES], profiles)
    assert ready.profile == 1 and ready.arrays[0].flags.c_contiguous
    np.testing.assert_allclose(ready.arrays[0], images(3)[0])
    assert ready.arrays[0].dtype == np.float32
    for wrong, said in [(images(9), "was built for"), (images(1) * 2, "2 inputs given"),
                        ((images(1)[0].astype(np.uint8),), "uint8"),
                        ((images(1)[0][:, :2],), "does not fit")]:
        with pytest.raises(InferenceError, match=said):
            prepare_inputs(wrong, [IMAGES], profiles)


# the cache

def facts(model=b"model", precision="fp16", sizes=(1, 8), version="11.0.0", device="H200",
          capability=(9, 0)):
    profiles = batch_profiles([IMAGES], images(1), sizes)
    return engine_facts(model, precision, profiles, version, device, capability)


def test_an_engine_is_built_once(tmp_path) -> None:
    cache, built = EngineCache(tmp_path / "new"), []

    def build():
        built.append(1)
        return b"engine"

    assert cache.get_or_build(facts(), build) == (b"engine", "there was none")
    assert cache.get_or_build(facts(), build) == (b"engine", "")
    assert len(built) == 1
    for other in (facts(b"another"), facts(precision="bf16"), facts(sizes=(1, 16))):
        assert other.key != facts().key
        assert cache.get_or_build(other, build).built == "there was none"


@pytest.mark.parametrize("change, said", [
    ({"version": "11.1.0"}, "tensorrt '11.0.0', here it is '11.1.0'"),
    ({"device": "RTX 4090"}, "device 'H200', here it is 'RTX 4090'"),
    ({"capability": (8, 9)}, "capability '9.0'"),
])
def test_an_engine_from_elsewhere_is_refused_and_built_anew(change, said, tmp_path) -> None:
    cache = EngineCache(tmp_path)
    cache.get_or_build(facts(), lambda: b"old")
    assert facts(**change).key == facts().key  # the same file: it is looked at, not missed
    found = cache.get_or_build(facts(**change), lambda: b"new")
    assert found.data == b"new" and said in found.built
    assert cache.get_or_build(facts(**change), lambda: b"never") == (b"new", "")


@pytest.mark.parametrize("harm, said", [
    (lambda folder: next(folder.glob("*.engine")).write_bytes(b"engin"), "it is damaged"),
    (lambda folder: next(folder.glob("*.json")).write_text("{"), "cannot be read"),
    (lambda folder: next(folder.glob("*.json")).write_text("[]"), "description is damaged"),
    (lambda folder: next(folder.glob("*.json")).write_text('{"facts": 3}'), "is damaged"),
    (lambda folder: next(folder.glob("*.json")).unlink(), "there was none"),
    (lambda folder: next(folder.glob("*.engine")).unlink(), "there was none"),
])
def test_a_damaged_engine_is_built_anew(harm, said, tmp_path) -> None:
    cache = EngineCache(tmp_path)
    cache.get_or_build(facts(), lambda: b"engine")
    harm(tmp_path)
    found = cache.get_or_build(facts(), lambda: b"fresh")
    assert found.data == b"fresh" and said in found.built


def test_a_failed_build_leaves_nothing(tmp_path) -> None:
    def fail():
        raise InferenceError("no memory")

    with pytest.raises(InferenceError, match="no memory"):
        EngineCache(tmp_path).get_or_build(facts(), fail)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(InferenceError, match="cannot be written"):
        EngineCache(tmp_path / "file").get_or_build(facts(), lambda: b"engine")


def test_the_timing_cache_belongs_to_version_and_device(tmp_path) -> None:
    cache = EngineCache(tmp_path)
    assert cache.timing_cache(facts()) == b""
    cache.keep_timing_cache(facts(), b"measured")
    assert cache.timing_cache(facts(model=b"another")) == b"measured"
    assert cache.timing_cache(facts(version="10.9.0")) == b""
    assert cache.timing_cache(facts(device="NVIDIA A100 / 80")) == b""
    assert mismatch({}, facts()).startswith("it was built for model None")
    assert json.loads(facts().profiles)


# precision

@pytest.mark.parametrize("kind, tolerance", [(FLOAT16, 4e-3)])
def test_float16_computes_nearly_the_same(kind, tolerance, model) -> None:
    half = to_half(model, kind)
    onnx.checker.check_model(half, full_check=True)
    wanted = ort_run(model, images(5))
    found = ort_run(half, images(5))
    assert found[0].dtype == np.float32
    assert 1e-6 < relative_error(found, wanted) < tolerance


def test_everything_between_the_casts_has_16_bits(model) -> None:
    for kind in (FLOAT16, BFLOAT16):
        half = to_half(model, kind)
        inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True, data_prop=True)
        types = {value.name: value.type.tensor_type.elem_type
                 for value in inferred.graph.value_info}
        outputs = {name for node in half.graph.node for name in node.output}
        inner = outputs - {value.name for value in half.graph.output}
        assert {types[name] for name in inner} - {TensorProto.INT64} == {kind.number}
        assert [value.type.tensor_type.elem_type for value in half.graph.input] == [1]
        assert inferred.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_bfloat16_by_the_reference_evaluator() -> None:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "x"], ["y"])],
        "g", [helper.make_tensor_value_info("x", 1, [None, 3])],
        [helper.make_tensor_value_info("y", 1, [None, 3])],
        [onnx.numpy_helper.from_array(np.array([1.5, -2.25, 3.0], np.float32), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    from onnx.reference import ReferenceEvaluator

    x = np.array([[1.0, 2.0, -4.0]], np.float32)
    found = ReferenceEvaluator(to_half(model, BFLOAT16)).run(None, {"x": x})[0]
    np.testing.assert_array_equal(np.asarray(found, np.float32), x * [1.5, -2.25, 3.0] + x)


def test_scales_of_a_resize_keep_their_precision() -> None:
    scales = np.array([1, 1, 1.9, 1.9], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")], "g",
        [helper.make_tensor_value_info("x", 1, [1, 2, 10, 10])],
        [helper.make_tensor_value_info("y", 1, [1, 2, 19, 19])],
        [onnx.numpy_helper.from_array(scales, "scales")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    half = to_half(model, FLOAT16)
    assert half.graph.initializer[0].data_type == TensorProto.FLOAT
    x = (np.random.default_rng(0).standard_normal((1, 2, 10, 10)).astype(np.float32),)
    assert relative_error(ort_run(half, x), ort_run(model, x)) < 2e-3


def test_what_16_bits_cannot_hold_is_named(model) -> None:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", 1, [2])], [helper.make_tensor_value_info("y", 1, [2])],
        [onnx.numpy_helper.from_array(np.array([1e6, 1], np.float32), "w")])
    heavy = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(InferenceError, match="more than float16 holds"):
        to_half(heavy, FLOAT16)
    to_half(heavy, BFLOAT16)
    old = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=9)
    with pytest.raises(InferenceError, match="needs opset 13, this model has 11"):
        to_half(old, FLOAT16)
    with pytest.raises(InferenceError, match="no precision 'fp8'"):
        graph_in(model, "fp8")
    assert graph_in(model, "fp32") is model


def test_an_old_gpu_is_told_so() -> None:
    check_device("fp16", "T4", (7, 5))
    with pytest.raises(InferenceError, match=r"T4 has compute capability 7\.5: bf16 needs 8\.0"):
        check_device("bf16", "T4", (7, 5))


def test_explicit_quantization_becomes_symmetric(model) -> None:
    quantized = quantize_static(model, [images(2, seed)[0] for seed in range(8)]).model
    changed = symmetric_qdq(quantized)
    onnx.checker.check_model(changed, full_check=True)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in changed.graph.initializer}
    pairs = [n for n in changed.graph.node if n.op_type.endswith("quantizeLinear")
             or n.op_type == "QuantizeLinear"]
    assert len(pairs) > 4
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
    assert not any(values.dtype in (np.uint8, np.int32) for values in constants.values())
    error = relative_error(ort_run(changed, images(6)), ort_run(model, images(6)))
    assert 1e-5 < error < 0.1


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.floats(1e-4, 10), st.integers(0, 255))
def test_the_symmetric_range_covers_the_old_one(scale, zero) -> None:
    wide = float(symmetric_scale(np.float32(scale), np.uint8(zero), 0, 255))
    scale = float(np.float32(scale))
    assert wide * 127 >= max(zero, 255 - zero) * scale * (1 - 1e-6)
    assert wide * 127 <= 255 * scale * (1 + 1e-6)


def test_strong_typing_is_asked_for_where_it_has_to_be() -> None:
    from types import SimpleNamespace

    creation_flags = tensorrt_format.creation_flags
    ten = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1))
    assert creation_flags(ten) == 2
    assert creation_flags(SimpleNamespace(NetworkDefinitionCreationFlag=object())) == 0


class Stream:
    cuda_stream = 7

    def synchronize(self) -> None:
        pass


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A stand-in for TensorRT, and a GPU that is the CPU."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    stand_in = Fake()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(tensorrt_format, "DEVICE", "cpu")
    return stand_in


def onnx_source_of(model, tmp_path):
    onnx.save(model, tmp_path / "net.onnx")
    return Source("net", images(2), None, tmp_path / "net.onnx")


@pytest.mark.parametrize("name, tolerance", [
    ("tensorrt", 1e-5), ("tensorrt-fp16", 1e-2), ("tensorrt-int8", 0.1)])
def test_engines_run_by_address_and_profile(name, tolerance, fake, model, tmp_path) -> None:
    source = onnx_source_of(model, tmp_path)
    options = several(tmp_path, 1, 4, 8)
    first = compile(source, name, options)
    again = compile(source, name, options)
    assert fake.builds == 1
    assert "there was none" in first.detail and "from the cache" in again.detail
    for rows in (4, 1, 8, 1, 2):
        wanted = ort_run(model, images(rows, rows))
        for made in (first, again):
            assert relative_error(made.run(images(rows, rows)), wanted) < tolerance
    with pytest.raises(InferenceError, match="was built for images"):
        first.run(images(9))
    timing, = (tmp_path / "cache/tensorrt").glob("*.timing")
    assert timing.read_bytes() == b"+1"


def test_another_version_builds_anew_with_its_own_timings(fake, model, tmp_path) -> None:
    source, options = onnx_source_of(model, tmp_path), several(tmp_path, 2)
    compile(source, "tensorrt", options)
    fake.__version__ = "11.5.0"
    made = compile(source, "tensorrt", options)
    assert "tensorrt '11.4.0', here it is '11.5.0'" in made.detail and fake.builds == 2
    compile(source, "tensorrt", several(tmp_path, 2, 4))
    assert fake.builds == 3
    stored = {path.name: path.read_bytes() for path in tmp_path.rglob("*.timing")}
    assert sorted(stored.values()) == [b"+1", b"+1+1"]  # measured again is told apart by version


def test_what_tensorrt_refuses_is_said(fake, model, tmp_path, monkeypatch) -> None:
    options = several(tmp_path, 2)
    fake.fails = True
    with pytest.raises(InferenceError, match="could not build"):
        compile(onnx_source_of(model, tmp_path), "tensorrt", options)
    assert not list((tmp_path / "cache").rglob("*.engine"))
    own = onnx.ModelProto()
    own.CopyFrom(model)
    own.graph.node[0].domain = "own"
    own.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(InferenceError, match="cannot read the graph: no importer for Conv"):
        compile(onnx_source_of(own, tmp_path), "tensorrt", options)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(InferenceError, match="bf16 needs 8"):
        compile(onnx_source_of(model, tmp_path), "tensorrt-bf16", options)
    fake.__version__ = "8.6.1"
    with pytest.raises(InferenceError, match="10 or newer"):
        compile(onnx_source_of(model, tmp_path), "tensorrt", options)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fake.__version__ = "10.9.0"
    with pytest.raises(InferenceError, match="no CUDA GPU"):
        compile(onnx_source_of(model, tmp_path), "tensorrt", options)


@pytest.mark.gpu
@pytest.mark.parametrize("precision, tolerance", [
    ("fp32", 2e-3), ("fp16", 1e-2), ("bf16", 5e-2), ("int8", 0.1)])
def test_the_whole_ladder(precision, tolerance, tmp_path, monkeypatch) -> None:
    pytest.importorskip("tensorrt")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    options = several(tmp_path, 1, 4, 8)
    first = tensorrt_format.compile_engine(small_source(), options, precision)
    assert "there was none" in first.detail
    again = tensorrt_format.compile_engine(small_source(), options, precision)
    assert "from the cache" in again.detail
    for made in (first, again):
        for rows in (1, 4, 8, 2):
            with torch.no_grad():
                wanted = [small_net()(torch.from_numpy(images(rows)[0])).numpy()]
            assert relative_error(made.run(images(rows)), wanted) < tolerance
    with pytest.raises(InferenceError, match="was built for"):
        made.run(images(9))
    assert list((tmp_path / "cache").rglob("*.timing"))
