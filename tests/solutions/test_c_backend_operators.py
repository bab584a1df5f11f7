"""Random convolutions, pools, matrices and elementwise graphs as C, against ONNX Runtime.

Many are put into one network, so that the compiler runs once for all of them.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import SmallGraph, run_onnxruntime

from solutions.phase2_optimization.c_backend import build
from solutions.phase2_optimization.c_backend.blocks import Blocks, pack
from solutions.phase2_optimization.c_backend.copying import Axis, contiguous, joined
from solutions.phase2_optimization.c_backend.speed import relative_difference
from solutions.phase2_optimization.c_backend.toolchain import find_compiler
from solutions.phase2_optimization.c_backend.window import Window, tiles

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler on PATH"
)
HEADS = 14  # random operators of one network


def random_head(net: SmallGraph, rng: np.random.Generator, size: tuple[int, int]) -> str:
    """A convolution or pool of random geometry, sometimes with something after it."""
    channels = int(rng.choice([1, 3, 8, 16, 17, 24, 40]))
    x = net.conv(net.input, channels, 5, 1, pads=[0] * 4)
    if rng.random() < 0.5:  # else it is one kernel with what comes before
        x = net.relu(x)
    kernel = [int(rng.integers(1, min(5, side) + 1)) for side in size]
    dilations = [int(rng.integers(1, 3)) if 2 * k <= s else 1 for k, s in zip(kernel, size,
                                                                              strict=True)]
    pads = [int(rng.integers(0, k)) for k in kernel * 2]
    options = {"strides": [int(s) for s in rng.integers(1, 4, 2)], "pads": pads}
    kind = rng.choice(["Conv", "Conv", "group", "depthwise", "MaxPool", "AveragePool"])
    if "Pool" in kind:
        if kind == "AveragePool":
            options["count_include_pad"] = int(rng.integers(2))
        return net.node(kind, x, kernel_shape=kernel, **options)
    group = {"Conv": 1, "depthwise": channels}.get(kind) or max(
        g for g in range(1, channels + 1) if channels % g == 0 and g <= 8)
    outputs = group * int(rng.integers(1, 1 + max(1, 40 // group)))
    weights = net.constant(net.weights(outputs, channels // group, *kernel))
    bias = net.constant(rng.normal(size=outputs).astype(np.float32))
    y = net.node("Conv", x, weights, bias, group=group, dilations=dilations, kernel_shape=kernel,
                 **options)
    after = rng.choice(["", "Relu", "Sigmoid", "HardSwish"])
    return net.node(after, y) if after else y


def random_network(seed: int, batch: int):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(3, 14)), int(rng.integers(3, 37)))
    net = SmallGraph([batch, 5, *size], seed=seed)
    return net.model(*(random_head(net, rng, size) for _ in range(HEADS)))


def agree(model, seed: int, lanes: int | None = None) -> None:
    compiler = find_compiler()
    if lanes is not None:
        compiler = replace(compiler, lanes=lanes)
    module = build(model, compiler=compiler, optimization="-O1")
    rng = np.random.default_rng(seed)
    feeds = {name: rng.normal(size=shape).astype(np.float32)
             for name, shape in module.inputs.items()}
    for found, expected in zip(module.run(feeds).values(), run_onnxruntime(model, feeds),
                               strict=True):
        assert found.shape == expected.shape
        assert relative_difference([found], [expected]) < 5e-6


@needs_compiler
@pytest.mark.parametrize("seed", [1, 2])
def test_random_windows(seed) -> None:
    agree(random_network(seed, batch=seed), seed)


@needs_compiler
@pytest.mark.parametrize("lanes", [4, 8])
def test_narrower_vectors(lanes) -> None:
    """What a processor without AVX-512 gets."""
    agree(random_network(3, batch=1), 3, lanes)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 22))
def test_more_random_windows(seed) -> None:
    agree(random_network(seed, batch=1 + seed % 2), seed, [4, 8, 16][seed % 3])


UNARY = ["Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Exp", "Softplus", "HardSwish", "Erf"]
BINARY = ["Add", "Sub", "Mul", "Max", "Min"]
SHAPES = [[2, 18, 3, 5], [1, 18, 1, 1], [2, 18, 1, 1], [18, 1, 1], [3, 5], [1], [2, 1, 3, 1]]


def random_elementwise(seed: int):
    """A graph of operators on tensors of shapes that broadcast, many of them read twice."""
    rng = np.random.default_rng(seed)
    net = SmallGraph([2, 18, 3, 5], seed=seed)
    tensors = [net.input, net.relu(net.conv(net.input, 18, 18)), net.conv(net.input, 18, 18)]
    tensors += [net.another_input(f"in{i}", shape) for i, shape in enumerate(SHAPES[2:4])]
    tensors += [net.constant(rng.normal(size=shape).astype(np.float32)) for shape in SHAPES]
    for _ in range(24):
        if rng.random() < 0.4:
            new = net.node(str(rng.choice(UNARY)), str(rng.choice(tensors[:5] + tensors[-3:])))
            new = net.node("Tanh", new)  # Exp of Exp grows beyond float32
        else:
            one, other = rng.choice(tensors, 2)
            new = net.node(str(rng.choice(BINARY)), str(one), str(other))
        tensors.append(new)
    read = {name for node in net.nodes for name in node.input}
    made = [node.output[0] for node in net.nodes]
    return net.model(*[name for name in made if name not in read or rng.random() < 0.1])


@needs_compiler
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_elementwise_graphs(seed) -> None:
    agree(random_elementwise(seed), seed)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 40))
def test_more_random_elementwise_graphs(seed) -> None:
    agree(random_elementwise(seed), seed)


# Parts -------------------------------------------------------------------------------------------

@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(1, 70), st.integers(1, 6), st.sampled_from([4, 8, 16]))
def test_blocks_hold_every_channel_once(channels, pixels, lanes) -> None:
    image = np.arange(1.0, 1 + channels * pixels).reshape(channels, pixels)
    layout = Blocks(channels, lanes)
    packed = pack(image, lanes)
    assert len(packed) == layout.width * pixels
    assert np.count_nonzero(packed) == image.size, "the filling is 0"
    for channel in range(channels):
        start, step = layout.position(channel, pixels), layout.pixel_step(channel)
        assert np.array_equal(packed[start : start + step * pixels : step], image[channel])


SIDE = st.integers(1, 40)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SIDE, SIDE, st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.integers(0, 5),
       st.integers(1, 12))
def test_tiles_cover_a_row_once(size, out, kernel, stride, dilation, pad, longest) -> None:
    window = Window((1, size), (1, out), (1, kernel), (1, stride), (1, dilation), (0, pad))
    covered = []
    for tile in tiles(window, longest):
        pixels = range(tile.start, tile.start + tile.pixels * tile.repeat)
        covered += pixels
        assert tile.pixels <= longest
        assert tile.repeat == 1 or tile.whole, "a tile at the border stands for itself"
        inside = all(window.inside(p, tap) for p in pixels for tap in range(kernel))
        assert inside == tile.whole
    assert covered == list(range(out))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.permutations([2, 3, 4, 1]), st.permutations([0, 1, 2, 3]))
def test_joined_loops_touch_the_same_places(shape, order) -> None:
    source = contiguous([shape[axis] for axis in np.argsort(order)])
    axes = [Axis(n, read, write) for n, read, write in
            zip(shape, [source[axis] for axis in order], contiguous(shape), strict=True)]

    def places(nest):
        found = [(0, 0)]
        for axis in nest:
            found = [(r + i * axis.read, w + i * axis.write)
                     for r, w in found for i in range(axis.turns)]
        return found

    assert places(joined(axes)) == places(axes)
    assert sorted(w for _, w in places(axes)) == list(range(24))
