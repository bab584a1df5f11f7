"""Each kernel of constant folding against onnx's reference evaluator (and, where the two could
share a fault of numpy's, against ONNX Runtime)."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from solutions.phase2_optimization.constant_kernels import KERNELS, compute, reference_outputs

OPSETS = [helper.make_opsetid("", 17)]
FLOATS = np.array([[-2.5, 0.0, 1.5], [3.0, -0.5, 2.0]], np.float32)
INTS = np.array([[-7, 3, 5], [2, -4, 9]], np.int64)
FLAGS = np.array([[True, False, True], [False, False, True]])
Case = tuple[str, list[object], dict[str, object]]


def list_of(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


CASES: dict[str, Case] = {
    "abs": ("Abs", [INTS], {}), "neg": ("Neg", [FLOATS], {}),
    "ceil": ("Ceil", [FLOATS], {}), "floor": ("Floor", [FLOATS], {}),
    "sqrt": ("Sqrt", [np.abs(FLOATS)], {}), "exp": ("Exp", [FLOATS], {}),
    "sin": ("Sin", [FLOATS], {}), "cos": ("Cos", [FLOATS], {}), "not": ("Not", [FLAGS], {}),
    "identity": ("Identity", [FLOATS], {}), "size": ("Size", [INTS], {}),
    "add": ("Add", [FLOATS, FLOATS[:1]], {}), "sub": ("Sub", [INTS, INTS[1]], {}),
    "mul": ("Mul", [INTS, np.array(3)], {}), "div": ("Div", [FLOATS, FLOATS[::-1] + 9], {}),
    "div_ints": ("Div", [INTS, np.array([2, -2, 3])], {}),
    "mod": ("Mod", [INTS, np.array([3, -4, 5])], {}),
    "fmod": ("Mod", [FLOATS, np.array([2, -2, 3], np.float32)], {"fmod": 1}),
    "pow": ("Pow", [FLOATS, np.array(2, np.int64)], {}),
    "pow_ints": ("Pow", [INTS, np.array(2.0, np.float32)], {}),
    "matmul": ("MatMul", [FLOATS, FLOATS.T.copy()], {}),
    "and": ("And", [FLAGS, FLAGS[:1]], {}), "or": ("Or", [FLAGS, FLAGS[:1]], {}),
    "xor": ("Xor", [FLAGS, FLAGS[:1]], {}), "equal": ("Equal", [INTS, INTS[:1]], {}),
    "less": ("Less", [FLOATS, np.float32(1.5)], {}),
    "less_or_equal": ("LessOrEqual", [FLOATS, np.float32(1.5)], {}),
    "greater": ("Greater", [FLOATS, np.float32(1.5)], {}),
    "greater_or_equal": ("GreaterOrEqual", [FLOATS, np.float32(1.5)], {}),
    "where": ("Where", [FLAGS, FLOATS, np.float32(7)], {}),
    "cast_down": ("Cast", [FLOATS], {"to": onnx.TensorProto.INT32}),
    "cast_flag": ("Cast", [FLOATS], {"to": onnx.TensorProto.BOOL}),
    "cast_half": ("Cast", [FLOATS], {"to": onnx.TensorProto.FLOAT16}),
    "concat": ("Concat", [FLOATS, FLOATS[:, :1].copy()], {"axis": -1}),
    "shape_fill": ("ConstantOfShape", [list_of(2, 0, 3)], {}),
    "fill": ("ConstantOfShape", [list_of(2, 3)], {
        "value": numpy_helper.from_array(np.array([7], np.int32))}),
    "expand": ("Expand", [FLOATS[:, :1].copy(), list_of(3, 1, 4)], {}),
    "expand_narrow": ("Expand", [FLOATS, list_of(1, 3)], {}),
    "flatten": ("Flatten", [INTS.reshape(1, 2, 3)], {"axis": -1}),
    "flatten_all": ("Flatten", [INTS.reshape(1, 2, 3)], {"axis": 0}),
    "gather": ("Gather", [FLOATS, np.array([[2, -1]])], {"axis": 1}),
    "gather_one": ("Gather", [INTS, np.array(-2)], {}),
    "range": ("Range", [np.array(7), np.array(-2), np.array(-3)], {}),
    "range_floats": ("Range", [np.float32(0.5), np.float32(3), np.float32(0.75)], {}),
    "range_empty": ("Range", [np.array(3), np.array(3), np.array(1)], {}),
    "reduce_max": ("ReduceMax", [INTS], {"axes": [1], "keepdims": 0}),
    "reduce_min": ("ReduceMin", [FLOATS], {"axes": [-2]}),
    "reduce_prod": ("ReduceProd", [INTS], {"keepdims": 0}),
    "reduce_sum": ("ReduceSum", [INTS, list_of(0)], {"keepdims": 1}),
    "reduce_sum_noop": ("ReduceSum", [INTS], {"noop_with_empty_axes": 1}),
    "reshape": ("Reshape", [FLOATS, list_of(0, 1, -1)], {}),
    "reshape_zero": ("Reshape", [np.zeros((0, 3), np.float32), list_of(3, 0)], {"allowzero": 1}),
    "scatter": ("ScatterND", [FLOATS, np.array([[1], [0]]), FLOATS.copy()], {}),
    "scatter_points": ("ScatterND", [INTS, np.array([[[1, 2]], [[0, -3]]]),
                                     np.array([[50], [60]])], {}),
    "slice": ("Slice", [FLOATS, list_of(1), list_of(9), list_of(-1)], {}),
    "slice_back": ("Slice", [INTS, list_of(-1), list_of(-100), list_of(1), list_of(-1)], {}),
    "slice_back_part": ("Slice", [INTS, list_of(5), list_of(0), list_of(1), list_of(-2)], {}),
    "slice_two": ("Slice", [INTS, list_of(0, 1), list_of(-1, 3)], {}),
    "squeeze": ("Squeeze", [FLOATS.reshape(1, 2, 1, 3), list_of(-2)], {}),
    "squeeze_all": ("Squeeze", [FLOATS.reshape(1, 2, 1, 3)], {}),
    "unsqueeze": ("Unsqueeze", [FLOATS, list_of(-1, 0)], {}),
    "tile": ("Tile", [INTS, list_of(2, 1)], {}),
    "transpose": ("Transpose", [FLOATS.reshape(1, 2, 3)], {"perm": [2, 0, 1]}),
    "transpose_reversed": ("Transpose", [FLOATS.reshape(1, 2, 3)], {}),
}


def node_of(case: Case) -> tuple[onnx.NodeProto, list[np.ndarray]]:
    op_type, inputs, attributes = case
    arrays = [np.asarray(values) for values in inputs]
    names = [f"i{place}" for place in range(len(arrays))]
    return helper.make_node(op_type, names, ["y"], **attributes), arrays


def run_onnxruntime(node: onnx.NodeProto, arrays: list[np.ndarray]) -> np.ndarray:
    graph = helper.make_graph([node], "one", [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        for name, values in zip(node.input, arrays, strict=True)],
        [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(node.input, arrays, strict=True)))[0]


def test_every_kernel_has_a_case() -> None:
    assert {case[0] for case in CASES.values()} == set(KERNELS)


@pytest.mark.parametrize("name", CASES)
def test_kernels_compute_what_the_reference_does(name: str) -> None:
    node, arrays = node_of(CASES[name])
    (found,) = compute(node, arrays, OPSETS) or [None]
    assert found is not None
    for expected in (reference_outputs(node, arrays, OPSETS)[0], run_onnxruntime(node, arrays)):
        assert found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), [
    ("Gather", [FLOATS, np.array(5)], {}),  # there is no such row
    ("Reshape", [FLOATS, list_of(4)], {}),
    ("Cast", [np.array([1e30, np.nan], np.float32)], {"to": onnx.TensorProto.INT32}),
    ("Div", [INTS, np.array(0)], {}),
    ("Slice", [INTS, list_of(-9), list_of(-100), list_of(1), list_of(-1)], {}),
    ("Range", [np.array(0), np.array(4), np.array(0)], {}),
    ("NoSuchOperator", [FLOATS], {}),
])
def test_what_is_wrong_or_left_open_is_not_computed(
    op_type: str, inputs: list[object], attributes: dict[str, object]
) -> None:
    node, arrays = node_of((op_type, inputs, attributes))
    assert compute(node, arrays, OPSETS) is None
