"""Networks compiled to C against ONNX Runtime: small operators, the shipped models, bad input."""

import shutil
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
from small_graphs import SmallGraph, run_onnxruntime

from solutions.phase2_optimization.c_backend import build, generate
from solutions.phase2_optimization.c_backend.speed import relative_difference
from solutions.phase2_optimization.onnx_rewrite import load_onnx
from zoo.errors import InferenceError
from zoo.registry import fetch, find

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler on PATH"
)
FAST = "-O1"  # builds sooner; the code is the same


def check(model: onnx.ModelProto, batch: int = 1, seed: int = 0, scale: float = 1.0) -> None:
    """Equal outputs for two different inputs, one after another in the same arena."""
    module = build(model, batch, optimization=FAST)
    rng = np.random.default_rng(seed)
    for _ in range(2):
        feeds = {name: scale * rng.normal(size=shape).astype(np.float32)
                 for name, shape in module.inputs.items()}
        expected = run_onnxruntime(model, feeds)
        found = list(module.run(feeds).values())
        assert [f.shape for f in found] == [e.shape for e in expected]
        assert all(np.ptp(e) > 0 for e in expected), "a constant would pass"
        assert relative_difference(found, expected) < 1e-5


def convolutions() -> dict[str, onnx.ModelProto]:
    """Convolutions of every kind, several heads in one network to build once."""
    net = SmallGraph([2, 3, 11, 13], seed=1)
    heads = []
    for out, kernel, options in (
        (5, 3, {}), (19, 3, {"strides": [2, 2]}), (33, 1, {"pads": [0] * 4}),
        (8, 5, {"strides": [1, 2]}), (4, 3, {"dilations": [2, 2], "pads": [2] * 4}),
        (3, 3, {"pads": [0, 0, 2, 1]}), (6, 3, {"group": 3}),
        (3, 3, {"group": 3, "strides": [2, 1]}), (9, 2, {"pads": [0] * 4, "bias": False}),
    ):
        heads.append(net.conv(net.input, out, 3, kernel, **options))
    first = net.model(*heads)
    net = SmallGraph([1, 40, 7, 9], seed=2)
    heads = []
    for out, kernel, options in (
        (24, 3, {}), (70, 1, {"pads": [0] * 4}), (16, 3, {"strides": [2, 2]}),
        (40, 3, {"group": 40}), (40, 5, {"group": 40, "strides": [2, 2]}),
        (40, 3, {"group": 4}), (20, 3, {"group": 10}), (80, 3, {"group": 40}),
        (18, 7, {}), (17, 3, {"pads": [2, 0, 1, 1]}),
    ):
        heads.append(net.conv(net.input, out, 40, kernel, **options))
    return {"few channels, batch of 2": first, "forty channels": net.model(*heads)}


@pytest.mark.parametrize("kind", ["few channels, batch of 2", "forty channels"])
def test_convolutions(kind) -> None:
    check(convolutions()[kind], batch=2 if "2" in kind else 1)


def test_what_follows_a_convolution_is_fused() -> None:
    net = SmallGraph([1, 6, 8, 8], seed=3, opset=20)
    same = net.conv(net.input, 20, 6)
    outputs = []
    for kind, options in (
        ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("HardSwish", {}),
        ("LeakyRelu", {"alpha": 0.1}),
        ("HardSigmoid", {"alpha": 0.3}), ("Elu", {"alpha": 0.7}), ("Softplus", {}), ("Gelu", {}),
        ("Abs", {}), ("Neg", {}), ("Exp", {}), ("Erf", {}),
    ):
        outputs.append(net.node(kind, net.conv(net.input, 20, 6), **options))
    low, high = net.constant(np.float32(-0.2)), net.constant(np.float32(0.4))
    outputs.append(net.node("Clip", net.conv(net.input, 20, 6), low, high))
    swish = net.conv(net.input, 20, 6)
    outputs.append(net.node("Mul", swish, net.node("Sigmoid", swish)))
    residual = net.node("Add", net.conv(net.input, 20, 6), same)
    outputs.append(net.relu(residual))
    outputs.append(net.node("Sub", same, net.relu(net.conv(net.input, 20, 6))))
    both = [net.conv(net.input, 20, 6), net.conv(net.input, 20, 6, strides=[1, 1])]
    outputs.append(net.relu(net.node("Add", *both)))  # one of the two takes the sum in
    twice = net.conv(net.input, 20, 6)
    outputs.append(net.node("Mul", twice, twice))
    channels = net.constant(net.rng.normal(size=(20, 1, 1)).astype(np.float32))
    outputs.append(net.node("Mul", net.node("Tanh", net.conv(net.input, 20, 6)), channels))
    outputs.append(net.node("PRelu", net.node("Tanh", net.conv(net.input, 20, 6)), channels))
    model = net.model(*outputs)
    generated = generate(model)
    assert generated.source.count("/* Conv + Add + Relu ->") == 2
    assert generated.source.count("/* Conv + ") == len(outputs)
    check(model)


def test_pools_resizes_and_concatenations() -> None:
    net = SmallGraph([2, 12, 9, 10], seed=4)
    x = net.conv(net.input, 32, 12)
    outputs = [
        net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        net.node("MaxPool", x, kernel_shape=[2, 3], strides=[1, 2], ceil_mode=1),
        net.node("MaxPool", net.input, kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
        net.node("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        net.node("AveragePool", x, kernel_shape=[3, 2], pads=[1, 0, 0, 1], count_include_pad=1,
                 strides=[2, 2]),
        net.node("GlobalAveragePool", x),
    ]
    scales = net.constant(np.array([1, 1, 2, 3], np.float32))
    for source in (x, net.input):
        outputs.append(net.node("Resize", source, "", scales, mode="nearest",
                                coordinate_transformation_mode="asymmetric", nearest_mode="floor"))
    other = net.conv(net.input, 20, 12)
    outputs.append(net.node("Concat", x, other, axis=1))  # blocks fit
    outputs.append(net.node("Concat", other, x, net.input, axis=1))  # they do not
    outputs.append(net.node("Concat", x, x, axis=2))
    gate = net.node("Sigmoid", net.conv(net.node("GlobalAveragePool", x), 32, 32, 1))
    outputs.append(net.node("Mul", x, gate))
    check(net.model(*outputs), batch=2)


def test_shapes_matrices_and_reductions() -> None:
    net = SmallGraph([2, 6, 4, 5], seed=5)
    shape = net.constant(np.array([2, -1], np.int64))
    flat = net.node("Reshape", net.input, shape)
    one, two = net.constant(np.array([1], np.int64)), net.constant(np.array([2], np.int64))
    ends, back = net.constant(np.array([-9], np.int64)), net.constant(np.array([-2], np.int64))
    third = net.constant(np.array([3], np.int64))
    steps = net.constant(np.array([2, 4], np.int64))
    pads = net.constant(np.array([0, 1, 2, 0, 0, 0, 1, 3], np.int64))
    weights = net.constant(net.weights(5, 7))
    outputs = [
        net.gemm(flat, 120, 23), net.gemm(flat, 120, 10, transB=1, alpha=0.5, beta=2.0),
        net.relu(net.gemm(flat, 120, 16)),
        net.node("MatMul", net.input, weights),
        net.node("Transpose", net.input, perm=[0, 2, 3, 1]),
        net.node("Slice", net.input, one, third, two),
        net.node("Slice", net.input, third, ends, two, back),
        *net.node("Split", net.input, steps, outputs=2, axis=1),
        net.node("Pad", net.input, pads, net.constant(np.float32(0.5))),
        net.node("Softmax", net.input, axis=1), net.node("Softmax", flat, axis=-1),
        net.node("ReduceMean", net.input, axes=[2, 3], keepdims=1),
        net.node("ReduceMean", net.input, axes=[-1], keepdims=0),
        net.node("Flatten", net.node("Add", net.input, net.input), axis=2),
        net.node("Squeeze", net.node("Unsqueeze", net.node("Exp", net.input), one), one),
    ]
    check(net.model(*outputs), batch=2)


def test_broadcasts_and_shared_tensors() -> None:
    net = SmallGraph([1, 4, 3, 5], seed=6)
    row = net.another_input("row", [1, 1, 1, 5])
    one = net.another_input("one", [1])
    column = net.constant(net.weights(3, 1))
    summed = net.node("Add", net.input, row)
    outputs = [
        summed, net.node("Sub", row, summed), net.node("Mul", column, net.input),
        net.node("Div", net.input, net.node("Exp", one)),
        net.node("Max", net.input, net.constant(np.float32(0.1))),
        net.node("Min", net.input, row), net.node("Mul", summed, summed),
        net.node("Sub", net.constant(np.float32(2)), net.input),
        net.node("Add", row, column),
    ]
    check(net.model(*outputs))


def test_outputs_that_are_inputs_constants_or_each_other() -> None:
    net = SmallGraph([1, 3, 4, 4], seed=7)
    y = net.conv(net.input, 5, 3)
    shape = net.constant(np.array([1, 80], np.int64))
    z = net.node("Reshape", y, shape)
    model = net.model(y, z, net.relu(y))
    check(model)
    again = net.node("Identity", net.input)
    module = build(net.model(again, net.node("Tanh", net.input)), optimization=FAST)
    image = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
    assert np.array_equal(module.run({"x": image})[again], image)


@pytest.mark.parametrize("name", ["zoo:digits", "zoo:route-sign"])
def test_shipped_models(name) -> None:
    check(load_onnx(fetch(find(name))), batch=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zoo:street-small", "zoo:street-middle", "zoo:street-large"])
def test_detectors(name) -> None:
    check(load_onnx(fetch(find(name))))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist-cnn", "yolox-nano"])
def test_public_models(name) -> None:
    try:
        path = fetch(find(name))
    except InferenceError as error:
        pytest.skip(str(error))
    check(load_onnx(path), scale=255 if name == "yolox-nano" else 1)


def test_the_same_model_gives_the_same_file() -> None:
    model = load_onnx(fetch(find("zoo:street-small")))
    one, two = generate(model), generate(model)
    assert (one.source, one.weights) == (two.source, two.weights)
    assert "inputs[0]  images, 1 x 3 x 192 x 320" in one.source
    assert f"weights   {len(one.weights) // 4} floats" in one.source


def test_groups_that_lie_alike_share_a_kernel() -> None:
    net = SmallGraph([1, 128, 6, 6])
    generated = generate(net.model(net.conv(net.input, 128, 128, group=32)))
    assert generated.source.count("static void conv_") == 1
    assert generated.source.count("    conv_") == 8, "16 outputs each"


# Bad input ---------------------------------------------------------------------------------------

def small(seed: int = 0) -> onnx.ModelProto:
    net = SmallGraph([1, 3, 6, 6], seed=seed)
    return net.model(net.relu(net.conv(net.input, 4, 3)))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "c_backend"


def test_unknown_operators_are_named_together() -> None:
    net = SmallGraph([1, 3, 6, 6])
    x = net.node("LRN", net.input, size=3)
    x = net.node("Sin", x)
    with pytest.raises(InferenceError, match=r"does not know: LRN, Sin$"):
        build(net.model(x))


def test_other_types_and_open_dimensions_are_refused() -> None:
    net = SmallGraph([1, 3, 6, 6])
    cast = net.node("Cast", net.input, to=onnx.TensorProto.INT32)
    with pytest.raises(InferenceError, match="does not know: Cast"):
        build(net.model(cast, kind=onnx.TensorProto.INT32))
    wide = SmallGraph(["batch", 3, "height", 6])
    with pytest.raises(InferenceError, match=r"dimension 2 \(height\) open"):
        build(wide.model(wide.relu(wide.input)))


def test_inputs_are_checked() -> None:
    module = build(small(), optimization=FAST)
    with pytest.raises(InferenceError, match="input 'x' is missing"):
        module.run({})
    with pytest.raises(InferenceError, match=r"float64 \(1, 3, 6, 6\): the network was built for"):
        module.run({"x": np.zeros((1, 3, 6, 6))})
    with pytest.raises(InferenceError, match=r"\(2, 3, 6, 6\)"):
        module.run({"x": np.zeros((2, 3, 6, 6), np.float32)})
    image = np.random.default_rng(0).normal(size=(6, 6, 3, 1)).astype(np.float32).T
    plain = module.run({"x": np.ascontiguousarray(image)})
    assert all(np.array_equal(a, b) for a, b in zip(
        module.run({"x": image}).values(), plain.values(), strict=True))


def test_a_nan_stays_one() -> None:
    model = small()
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[1, 0, 1, 1] = np.nan
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(weights, model.graph.initializer[0].name))
    module = build(model, optimization=FAST)
    (found,) = module.run({"x": np.ones((1, 3, 6, 6), np.float32)}).values()
    assert np.isnan(found[0, 1]).all()
    assert np.isfinite(found[0, [0, 2, 3]]).all()


def test_names_that_end_comments_do_no_harm() -> None:
    net = SmallGraph([1, 3, 6, 6], name="x*/ int evil; /*\n#error")
    model = net.model(net.relu(net.conv(net.input, 4, 3)))
    module = build(model, optimization=FAST)
    (found,) = module.run({net.input: np.ones((1, 3, 6, 6), np.float32)}).values()
    assert np.isfinite(found).all()


def test_a_missing_compiler_is_named(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InferenceError, match="no C compiler: cc, gcc, clang not found on PATH"):
        build(small())
    monkeypatch.setenv("CC", "no-such-cc")
    with pytest.raises(InferenceError, match="no C compiler: no-such-cc not found"):
        build(small())


def test_a_broken_compiler_leaves_nothing(tmp_path, own_cache, monkeypatch) -> None:
    broken = tmp_path / "cc"
    real = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    broken.write_text(f'#!/bin/sh\ncase "$*" in *--version*|*-dM*) exec {real} "$@";; esac\n'
                      "echo half > model.so\necho 'model.c:1: error: out of luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(InferenceError, match=r"does not build the model: model.c:1: error: out of"):
        build(small())
    assert list(own_cache.iterdir()) == []
    broken.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(InferenceError, match="does not work: exit code 3"):
        build(small())


def test_two_builds_at_once_and_a_damaged_cache(own_cache) -> None:
    model, found, faults = small(), [], []

    def work() -> None:
        try:
            found.append(build(model, optimization=FAST).folder)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(set(found)) == 1
    assert [path.name for path in own_cache.iterdir()] == [found[0].name]
    stamp = (found[0] / "model.so").stat().st_mtime_ns
    build(model, optimization=FAST)
    assert (found[0] / "model.so").stat().st_mtime_ns == stamp, "taken from the cache"
    (found[0] / "weights.bin").write_bytes(b"")
    image = {"x": np.ones((1, 3, 6, 6), np.float32)}
    (output,) = build(model, optimization=FAST).run(image).values()
    assert relative_difference([output], run_onnxruntime(model, image)) < 2e-6


def test_an_interrupted_build_leaves_nothing(own_cache, monkeypatch) -> None:
    from solutions.phase2_optimization.c_backend import toolchain

    def interrupted(command, folder) -> None:
        (folder / "model.so").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(toolchain, "_compile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(small())
    assert list(own_cache.iterdir()) == []


def test_several_threads_share_a_module() -> None:
    module = build(small(), optimization=FAST)
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(1, 3, 6, 6)).astype(np.float32) for _ in range(4)]
    expected = [next(iter(module.run({"x": image}).values())) for image in images]
    wrong = []

    def work(number: int) -> None:
        for _ in range(50):
            (found,) = module.run({"x": images[number]}).values()
            if not np.array_equal(found, expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_command(tmp_path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(small(), path)
    command = [sys.executable, "-m", "solutions.phase2_optimization.c_backend"]
    source = tmp_path / "net.c"
    done = subprocess.run([*command, str(path), "--rounds", "2", "--source", str(source)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime" in done.stdout
    assert "equal" in done.stdout
    assert "ONNX Runtime's arena" in done.stdout
    assert "void run(" in source.read_text()
    assert source.with_suffix(".bin").stat().st_size > 0
    done = subprocess.run([*command, "no-such-model"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
