"""When a trace is not the program, ``check_trace`` says so, and why."""

import numpy as np
import onnx
import pytest
import torch
from format_modules import (
    RowLoop,
    SignBranch,
    SmallNet,
    images,
    several,
    small_net,
    small_source,
)
from torch import nn

from solutions.phase2_optimization.formats.compiled import FormatOptions, Source
from solutions.phase2_optimization.formats.onnx_export import (
    choose_opset,
    export_dynamo,
    export_traced,
    verify_export,
)
from solutions.phase2_optimization.formats.torchscript import trace_module
from solutions.phase2_optimization.formats.trace_check import check_trace, operators_of, probes
from zoo.errors import InferenceError


def checked(module, example, sizes=()):
    trace = trace_module(module, tuple(torch.from_numpy(each) for each in example))
    return check_trace(module, trace, probes(example, sizes))


def test_a_branch_on_values_is_found() -> None:
    ones = np.ones((2, 3), np.float32)
    found = checked(SignBranch(), (ones,))
    assert not found.is_the_program and not found.same_operators
    assert found.worst_error > 0.5
    assert "format_modules.py line" in found.warned[0]
    assert "differs" in found.reason and "line" in found.reason


def test_a_loop_over_rows_is_found_when_the_sizes_differ() -> None:
    found = checked(RowLoop(), (np.ones((3, 2), np.float32),), sizes=(3, 6))
    assert not found.is_the_program
    again = checked(RowLoop(), (np.ones((3, 2), np.float32),), sizes=(3,))
    assert again.is_the_program  # for three rows it is


def test_a_branch_that_no_value_of_the_example_took_changes_operators_alone() -> None:
    class Same(nn.Module):
        def forward(self, values):
            if values.mean() > 0:
                return values + values
            return values * 2

    found = checked(Same(), (np.ones((2, 3), np.float32),))
    assert found.worst_error == 0 and not found.same_operators and not found.is_the_program


def test_a_plain_network_is_its_trace() -> None:
    found = checked(small_net(), images(2), sizes=(1, 2, 7))
    assert found.is_the_program and found.same_operators and found.worst_error < 1e-6
    assert not found.warned


def test_dropout_left_in_training_is_found() -> None:
    class Training(SmallNet):
        def forward(self, images):
            return nn.functional.dropout(super().forward(images), 0.5, training=True)

    torch.manual_seed(0)
    assert not checked(Training().eval(), images(4)).is_the_program


def test_one_input_is_enough_to_check_a_trace() -> None:
    """A picture alone, reversed along its batch: torch takes no array that runs backwards."""
    example = (np.ones((1, 3, 4, 4), np.float32),)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    trace = trace_module(module, tuple(torch.from_numpy(a) for a in example))
    assert check_trace(module, trace, probes(example)).is_the_program


def test_operators_include_those_of_submodules() -> None:
    trace = trace_module(small_net(), (torch.from_numpy(images(2)[0]),))
    found = operators_of(trace)
    assert "aten::_convolution" in found and "aten::linear" in found


def test_probes_keep_indices_in_range() -> None:
    floats, indices = np.ones((2, 3), np.float32), np.array([[1, 2], [3, 4]])
    for changed in probes((floats, indices), sizes=(2, 5)):
        assert set(np.unique(changed[1])) <= {1, 2, 3, 4}
    assert any(len(changed[0]) == 5 for changed in probes((floats, indices), sizes=(2, 5)))


def free_axes(path):
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    return [bool(each.dim_param) for each in shape.dim]


@pytest.mark.parametrize("export", [
    export_traced, pytest.param(export_dynamo, marks=pytest.mark.slow)])
def test_both_exporters_free_the_batch_and_keep_the_numbers(export, tmp_path) -> None:
    found = export(small_source(), several(tmp_path, 1, 5), tmp_path / "a" / "net.onnx")
    assert free_axes(found.path) == [True, False, False, False]
    assert found.error < 1e-5 and found.opset == 18
    assert verify_export(found.path, small_net(), [images(3), images(9)]) < 1e-5
    fixed = export(small_source(), several(tmp_path, 2), tmp_path / "fixed.onnx")
    assert free_axes(fixed.path) == [False] * 4


def test_the_opset_is_chosen(tmp_path) -> None:
    options = FormatOptions(tmp_path, (2,), opset=15)
    assert export_traced(small_source(), options, tmp_path / "net.onnx").opset == 15
    with pytest.raises(InferenceError, match="opset 9: from 13"):
        choose_opset(9, 20)
    with pytest.raises(InferenceError, match="to 20"):
        export_traced(small_source(), FormatOptions(tmp_path, (2,), opset=21), tmp_path / "b.onnx")


def test_a_wrong_export_is_seen(tmp_path) -> None:
    path = export_traced(small_source(), several(tmp_path), tmp_path / "net.onnx").path
    other = small_net()
    with torch.no_grad():
        other.linear.bias += 1
    assert verify_export(path, other, [images(2)]) > 0.1


@pytest.mark.slow
def test_the_newer_exporter_refuses_a_branch_on_values(tmp_path) -> None:
    source = Source("branch", (np.ones((2, 3), np.float32),), SignBranch())
    with pytest.raises(InferenceError, match="dynamo exporter"):
        export_dynamo(source, FormatOptions(tmp_path, (2, 4)), tmp_path / "net.onnx")
