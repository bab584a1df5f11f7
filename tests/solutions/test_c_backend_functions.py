"""The vector functions of generated C against float64, and how speed is measured and told."""

import shutil

import numpy as np
import pytest
from scipy import special
from small_graphs import SmallGraph

from solutions.phase2_optimization.c_backend import build, toolchain
from solutions.phase2_optimization.c_backend.__main__ import table
from solutions.phase2_optimization.c_backend.runtime_arena import onnxruntime_arena_bytes
from solutions.phase2_optimization.c_backend.speed import (
    Ratio,
    Speed,
    in_turns,
    largest_pixel,
    relative_difference,
)

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler on PATH"
)
EXACT = {
    "Relu": lambda x: np.where(np.isnan(x), x, np.maximum(x, 0)),
    "Exp": np.exp, "Sigmoid": special.expit, "Tanh": np.tanh, "Erf": special.erf,
    "Softplus": lambda x: np.logaddexp(0, x), "Abs": np.abs, "Neg": np.negative,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Gelu": lambda x: 0.5 * x * (1 + special.erf(x / np.sqrt(2))),
    "Elu": lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
    "LeakyRelu": lambda x: np.where(x < 0, 0.01 * x, x),
    "Reciprocal": lambda x: 1 / x, "Sqrt": np.sqrt, "Log": np.log,
}
POSITIVE = {"Reciprocal", "Sqrt", "Log"}


@pytest.fixture(scope="module")
def functions():
    """Every function in one network: ``x`` of 997 values for each."""
    net = SmallGraph([997], opset=20)
    names = {kind: net.node(kind, net.input) for kind in EXACT}
    return names, build(net.model(*names.values()), optimization="-O2")


@needs_compiler
@pytest.mark.parametrize("kind", EXACT)
def test_functions_are_accurate_to_a_few_units(functions, kind) -> None:
    names, module = functions
    for x in (np.linspace(-9, 9, 997), np.linspace(-0.3, 0.3, 997), np.linspace(-95, 95, 997)):
        given = np.abs(x) + 1e-6 if kind in POSITIVE else x
        given = given.astype(np.float32)
        found = module.run({"x": given})[names[kind]]
        with np.errstate(over="ignore"):
            exact = EXACT[kind](given.astype(np.float64)).astype(np.float32)
        # erf is good to 1.5e-7; equal infinities are close
        np.testing.assert_allclose(found, exact, rtol=1e-6, atol=4e-7)


@needs_compiler
def test_functions_at_the_ends(functions) -> None:
    names, module = functions
    x = np.zeros(997, np.float32)
    x[:3] = np.nan, np.inf, -np.inf
    found = module.run({"x": x})
    for kind in ("Relu", "Exp", "Sigmoid", "Tanh", "Abs", "Neg", "Sqrt", "LeakyRelu"):
        assert np.isnan(found[names[kind]][0]), kind
    ends = {kind: found[names[kind]][1:3].tolist() for kind in ("Relu", "Exp", "Sigmoid", "Tanh")}
    assert ends["Relu"] == [np.inf, 0]
    assert ends["Exp"] == [np.inf, pytest.approx(0, abs=1e-37)]
    assert ends["Sigmoid"] == [1, pytest.approx(0, abs=1e-37)]
    assert ends["Tanh"] == [1, -1]


def test_contenders_take_turns_and_the_order_turns() -> None:
    now, order = [0.0], []

    def contender(name, seconds):
        def run(feeds):
            order.append(name)
            now[0] += seconds
            return []
        return run

    runs = {"a": contender("a", 0.1), "b": contender("b", 0.3)}
    rounds = []
    found = in_turns(runs, {}, 3, rounds.append, lambda: now[0])
    assert found["a"] == pytest.approx([0.1] * 3)
    assert found["b"] == pytest.approx([0.3] * 3)
    assert order[6:] == ["a", "b", "b", "a", "a", "b"]  # after three calls of each to warm up
    assert rounds == [1, 2, 3]


def test_the_table_says_who_is_faster() -> None:
    found = Speed(1e-7, {"C": 0.5, "ONNX Runtime": 0.6}, {"ONNX Runtime": Ratio(1.2, 1.1, 1.3)})
    lines = table(found).splitlines()
    assert lines[1].split() == ["C", "0.500"]
    assert lines[2].split() == ["ONNX", "Runtime", "0.600", "1.20", "(1.10..1.30)"]


def test_differences_are_relative_and_a_nan_is_no_match() -> None:
    one, two = np.array([1.0, -4.0]), np.array([1.0, -4.4])
    assert relative_difference([two], [one]) == pytest.approx(0.1)
    assert relative_difference([np.array([np.nan, -4.0])], [one]) == np.inf
    assert relative_difference([np.zeros(3)], [np.zeros(3)]) == 0


def test_images_get_the_range_that_a_model_wants() -> None:
    assert largest_pixel("yolox-nano") == 255
    assert largest_pixel("somebody's file.onnx") == 1


def test_onnxruntime_tells_its_arena() -> None:
    net = SmallGraph([1, 3, 32, 32])
    x = net.conv(net.input, 8, 3)
    found = onnxruntime_arena_bytes(net.model(net.conv(net.relu(x), 8, 8)))
    assert found is not None
    assert 2 * 8 * 32 * 32 * 4 <= found <= 4 * 16 * 32 * 32 * 4


@pytest.mark.parametrize(("macro", "lanes"), [("__AVX512F__", 16), ("__AVX__", 8), ("", 4)])
def test_vectors_are_as_wide_as_the_processor(tmp_path, monkeypatch, macro, lanes) -> None:
    fake = tmp_path / "cc"
    fake.write_text('#!/bin/sh\ncase "$*" in\n*--version*) echo "fake 1.0";;\n'
                    '*-march=native*) exit 1;;\n'
                    f'*) echo "#define {macro or "__SSE2__"} 1";;\nesac\n')
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    found = toolchain.find_compiler()
    assert (found.version, found.native, found.lanes) == ("fake 1.0", "-mcpu=native", lanes)
