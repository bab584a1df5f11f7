"""Each format that is present computes what eager PyTorch computes, for every batch size."""

import shutil

import numpy as np
import onnx
import pytest
import torch
from format_modules import (
    Noisy,
    RowLoop,
    SignBranch,
    TwoInTwoOut,
    images,
    several,
    small_net,
    small_source,
)

from solutions.phase2_optimization.formats.catalogue import FORMATS, NAMES, compile, find_format
from solutions.phase2_optimization.formats.compiled import (
    FormatOptions,
    Source,
    relative_error,
    typical_error,
)
from zoo.errors import InferenceError

QUICK = ("eager", "torchscript-traced", "torchscript-scripted", "torchscript-frozen",
         "onnxruntime-traced")
EXACT, SIXTEEN_BITS, EIGHT_BITS = 1e-5, 3e-2, 8e-2


def expected(module, batch):
    with torch.no_grad():
        found = module(*(torch.from_numpy(each) for each in batch))
    return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]


def check(name, tmp_path, tolerance, source=None):
    source = source or small_source()
    options = several(tmp_path)
    made = compile(source, name, options)
    for size in options.sizes:
        batch = images(size, seed=40 + size)
        found = made.run(batch)
        wanted = expected(source.module or small_net(), batch)
        assert found[0].dtype == np.float32
        assert relative_error(found, wanted) < tolerance, name
    assert made.size_bytes > 4 * 2_900 / (4 if "int8" in name else 1)  # the weights alone
    assert made.compile_seconds >= 0


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    """The small network as a file with a free batch axis."""
    from solutions.phase2_optimization.formats.onnx_export import export_traced

    folder = tmp_path_factory.mktemp("onnx")
    return export_traced(small_source(), several(folder), folder / "small.onnx").path


@pytest.mark.parametrize("name", QUICK)
def test_equals_eager(name, tmp_path) -> None:
    check(name, tmp_path, EXACT)


@pytest.mark.parametrize("level", ["off", "basic", "extended", "layout", "all"])
def test_onnxruntime_at_each_level(level, tmp_path, onnx_file) -> None:
    name = "onnxruntime" if level == "all" else f"onnxruntime-{level}"
    check(name, tmp_path, EXACT, Source("file", images(2), None, onnx_file))


@pytest.mark.parametrize("name", ["onnxruntime-ours", "c"])
def test_our_own_compiler(name, tmp_path, onnx_file) -> None:
    if name == "c" and not any(shutil.which(each) for each in ("gcc", "cc", "clang")):
        pytest.skip("no C compiler")
    check(name, tmp_path, EXACT, Source("file", images(2), None, onnx_file))


def test_the_size_includes_weights_beside_the_file(tmp_path, onnx_file) -> None:
    from solutions.phase2_optimization.formats.onnx_source import onnx_bytes

    whole = onnx_bytes(onnx_file)
    assert whole == onnx_file.stat().st_size
    path = tmp_path / "apart.onnx"
    onnx.save_model(onnx.load(onnx_file), path, save_as_external_data=True, location="weights",
                    size_threshold=0)
    assert path.stat().st_size < 4 * 2_900 < onnx_bytes(path)
    made = compile(Source("apart", images(2), None, path), "onnxruntime", several(tmp_path))
    assert made.size_bytes == onnx_bytes(path)
    (tmp_path / "weights").unlink()
    with pytest.raises(InferenceError, match="ONNX Runtime"):
        compile(Source("apart", images(2), None, path), "onnxruntime", several(tmp_path))


@pytest.mark.parametrize("name", ["compile", "compile-freezing", "aotinductor"])
def test_a_missing_compiler_is_named(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(InferenceError, match=r"needs a C\+\+ compiler"):
        compile(small_source(), name, several(tmp_path))


def test_onnxruntime_int8_is_near(tmp_path, onnx_file) -> None:
    check("onnxruntime-int8", tmp_path, EIGHT_BITS, Source("file", images(2), None, onnx_file))


@pytest.mark.parametrize("name, tolerance", [
    ("openvino", EXACT), ("openvino-bf16", SIXTEEN_BITS), ("openvino-int8", EIGHT_BITS)])
def test_openvino(name, tolerance, tmp_path, onnx_file) -> None:
    pytest.importorskip("openvino")
    source = Source("file", images(2), None, onnx_file)
    try:
        check(name, tmp_path, tolerance, source)
    except InferenceError as error:
        if "bfloat16" not in str(error):
            raise
        pytest.skip(str(error))


def test_bfloat16_is_really_used(tmp_path, onnx_file) -> None:
    pytest.importorskip("openvino")
    source = Source("file", images(2), None, onnx_file)
    try:
        made = compile(source, "openvino-bf16", several(tmp_path))
    except InferenceError as error:
        pytest.skip(str(error))
    error = relative_error(made.run(images(5)), expected(small_net(), images(5)))
    if error == 0 or error < 1e-6:
        pytest.skip("this processor has bfloat16, but OpenVINO chose float32 kernels")
    assert error > 1e-5  # float32 would be closer


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "export", "compile", "compile-freezing", "aotinductor", "executorch", "onnxruntime"])
def test_slow_ones_equal_eager(name, tmp_path) -> None:
    if name == "executorch":
        pytest.importorskip("executorch")
    check(name, tmp_path, EXACT)


@pytest.mark.slow
def test_core_ml_is_written(tmp_path) -> None:
    pytest.importorskip("coremltools")
    made = compile(small_source(), "coreml", several(tmp_path))
    assert made.size_bytes > 4 * 2_900
    with pytest.raises(InferenceError, match="macOS"):
        made.run(images(1))


@pytest.mark.parametrize("name", ["torchscript-frozen", "onnxruntime-traced"])
def test_several_inputs_and_outputs(name, tmp_path) -> None:
    torch.manual_seed(0)
    module = TwoInTwoOut().eval()
    rng = np.random.default_rng(1)

    def batch(rows):
        return (rng.standard_normal((rows, 4)).astype(np.float32),
                rng.integers(0, 7, (rows, 3)))

    made = compile(Source("two", batch(3), module), name, FormatOptions(tmp_path, (2, 3)))
    for rows in (2, 3):
        given = batch(rows)
        assert relative_error(made.run(given), expected(module, given)) < EXACT


@pytest.mark.parametrize("module", [SignBranch(), RowLoop()])
@pytest.mark.parametrize("name", ["torchscript-traced", "onnxruntime-traced"])
def test_what_a_trace_cannot_hold_is_refused(name, module, tmp_path) -> None:
    source = Source("branch", (np.ones((2, 3), np.float32),), module)
    with pytest.raises(InferenceError, match="the trace is not the program"):
        compile(source, name, FormatOptions(tmp_path, (2, 4)))


@pytest.mark.parametrize("name", ["torchscript-scripted", "torchscript-frozen"])
def test_scripting_keeps_the_branches(name, tmp_path) -> None:
    source = Source("branch", (np.ones((2, 3), np.float32),), SignBranch().eval())
    made = compile(source, name, FormatOptions(tmp_path, (2,)))
    for values in (source.example[0], -source.example[0]):
        wanted = values * 2 if values.sum() > 0 else values - 1
        np.testing.assert_allclose(made.run((values,))[0], wanted)


def test_an_onnx_file_is_no_program(tmp_path, onnx_file) -> None:
    source = Source("file", images(2), None, onnx_file)
    for each in FORMATS:
        if each.starts_from == "module" and each.name in QUICK:
            with pytest.raises(InferenceError, match="no PyTorch program"):
                compile(source, each.name, several(tmp_path))


def test_absent_packages_are_named_in_one_line(tmp_path, monkeypatch, onnx_file) -> None:
    import sys

    needs = {"openvino": "openvino", "executorch": "executorch", "coreml": "coremltools",
             "tensorrt": "tensorrt"}
    for name, package in needs.items():
        for loaded in [each for each in sys.modules if each.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, package, None)
        source = Source("both", images(2), small_net(), onnx_file)
        with pytest.raises(InferenceError, match=f"{package} is not installed.*pip install"):
            compile(source, name, several(tmp_path))


def test_names_are_unique_and_lead_to_functions() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(callable(each.load()) for each in FORMATS)
    with pytest.raises(InferenceError, match="no format 'tensorflow'"):
        find_format("tensorflow")


def test_relative_error_is_of_the_largest_number() -> None:
    one = np.array([[0.0, 2.0]])
    assert relative_error([one + 0.02], [one]) == pytest.approx(0.01)
    assert relative_error([one], [one]) == 0
    assert relative_error([np.array([[np.nan, 2.0]])], [one]) == np.inf
    assert relative_error([np.array([np.nan, 1.0])], [np.array([np.nan, 1.0])]) == 0
    assert relative_error([np.array([True])], [np.array([False])]) == 1
    with pytest.raises(InferenceError, match="shapes"):
        relative_error([one, one], [one])
    with pytest.raises(InferenceError, match="shapes"):
        relative_error([one[0]], [one])


def test_typical_error_is_a_root_mean_square() -> None:
    one = np.array([[3.0, -4.0, 0.0, 0.0]])
    found = one + np.array([[0.0, 0.0, 0.5, 0.0]])
    assert typical_error([found], [one]) == pytest.approx(0.1)
    assert relative_error([found], [one]) == pytest.approx(0.125)
    assert typical_error([one, 2 * one], [one, one]) == pytest.approx(1)
    assert typical_error([one * np.nan], [one]) == np.inf
    assert typical_error([one * np.nan], [one * np.nan]) == typical_error([one], [one]) == 0


def test_options_need_sizes() -> None:
    for wrong in ({"sizes": ()}, {"sizes": (0,)}, {"threads": 0}):
        with pytest.raises(InferenceError, match="at least 1"):
            FormatOptions(None, **wrong)


def test_printing_is_a_graph_break_with_its_line() -> None:
    from solutions.phase2_optimization.formats.graph_breaks import explain_breaks

    found = explain_breaks(Noisy(), (torch.ones(2, 3),))
    assert found.graphs == 2 and len(found.breaks) == 1
    assert "format_modules.py line" in found.breaks[0].place
    assert "2 graphs, 1 breaks" in str(found)
    whole = explain_breaks(small_net(), tuple(map(torch.from_numpy, images(2))))
    assert whole.graphs == 1 and not whole.breaks and str(whole) == "one graph"
    assert whole.operators > 3
