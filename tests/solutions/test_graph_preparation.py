"""Preparing a float model: the same function, known shapes, nothing superfluous."""

import numpy as np
import onnx
import pytest
from small_graphs import SmallGraph, normal_batches, operators, run_onnxruntime

from solutions.phase2_optimization.graph_preparation import infer_shapes, prepare
from zoo.errors import InferenceError

SHAPE = [1, 8, 8, 8]
FEEDS = normal_batches(SHAPE, 1)[0]


def network(**model):
    net = SmallGraph(SHAPE, seed=1)
    x = net.relu(net.conv(net.input, 64, 8))
    x = net.node("Reshape", x, net.constant(np.array([0, 2, 32, -1])))
    x = net.node("MatMul", x, net.constant(net.weights(64, 48)))
    return net.model(net.node("Flatten", x), **model)


def types(model):
    values = (*model.graph.value_info, *model.graph.output)
    return {value.name: value.SerializeToString() for value in values}


@pytest.mark.parametrize("ir_version", [3, 8])
def test_shapes_are_those_that_onnx_infers_with_all_weights(ir_version):
    model = network(ir_version=ir_version, weights_as_inputs=ir_version == 3)
    del model.graph.value_info[:]
    made = infer_shapes(model)
    assert types(made) == types(onnx.shape_inference.infer_shapes(model, data_prop=True))
    assert len(types(made)) == 5
    assert list(made.graph.initializer) == list(model.graph.initializer)
    assert list(made.graph.input) == list(model.graph.input)
    assert made.ir_version == model.ir_version
    assert not model.graph.value_info


def test_shapes_of_nonsense_are_refused_in_one_line():
    model = network()
    del model.opset_import[:]
    with pytest.raises(InferenceError, match="not a valid ONNX model") as error:
        infer_shapes(model)
    assert "\n" not in str(error.value)


def test_what_constants_alone_make_is_computed_once():
    net = SmallGraph(SHAPE, seed=1)
    one = net.node("Constant", value_floats=[1.0, 2.0])
    three = net.node("ReduceSum", net.node("Add", one, one))
    x = net.node("Identity", net.node("Mul", net.node("Dropout", net.input), three))
    x = net.node("Reshape", net.node("Transpose", x, perm=[0, 1, 2, 3]),
                 net.constant(np.array(SHAPE)))
    model = net.model(net.node("Tanh", x))
    made = prepare(model)
    assert operators(made) == {"Mul": 1, "Tanh": 1}
    np.testing.assert_allclose(*(run_onnxruntime(m, FEEDS)[0] for m in (model, made)), atol=1e-6)


def test_gigantic_constants_are_not_made():
    net = SmallGraph(SHAPE, seed=1)
    wide = net.node("Expand", net.constant(np.ones((1, 1, 8, 8), np.float32)),
                    net.constant(np.array([1 << 15, 8, 8, 8])))
    small = net.node("Slice", wide, *[net.constant(np.array([v])) for v in (0, 1, 0)])
    made = prepare(net.model(net.node("Add", net.input, small)))
    assert len(made.SerializeToString()) < 10_000
