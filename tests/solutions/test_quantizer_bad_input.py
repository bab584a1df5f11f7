"""What a quantizer meets in the wild, odd data, odd models: it works, or says why in one line."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_graphs import (
    SmallGraph,
    fused_operators,
    normal_batches,
    operators,
    run_onnxruntime,
    run_openvino,
)

from solutions.phase2_optimization import onnx_protobuf, quantizer
from solutions.phase2_optimization.calibration import CALIBRATORS
from solutions.phase2_optimization.graph_preparation import opset_of
from solutions.phase2_optimization.onnx_rewrite import load_onnx, save_onnx
from solutions.phase2_optimization.quantize_graph import StaticSettings, quantize_static
from zoo.errors import InferenceError

SHAPE = [1, 8, 8, 8]
BATCHES = normal_batches(SHAPE)
METHODS = sorted(CALIBRATORS)


def network(shape=SHAPE, opset=17, middle=lambda net, x: x, **model):
    """Two convolutions with something between them, and a last one."""
    net = SmallGraph(shape, seed=1, opset=opset)
    x = middle(net, net.relu(net.conv(net.input, 16, 8)))
    return net.model(net.conv(net.relu(net.conv(x, 16, 16)), 4, 16, kernel=1), **model)


def assert_close(made, model, feeds, share=0.05, runs=(run_onnxruntime,)):
    for run in runs:
        for found, real in zip(run(made, feeds), run_onnxruntime(model, feeds), strict=True):
            assert found.shape == real.shape and np.isfinite(found).all()
            assert np.abs(found - real).max() <= share * np.abs(real).max()


def one_line(error):
    text = str(error.value)
    assert "\n" not in text and 10 < len(text) < 500
    return text


# Calibration data.

@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batches", [[], iter(()), ()])
def test_no_data(method, batches):
    with pytest.raises(InferenceError, match="got no data: give at least one batch"):
        quantize_static(network(), batches, StaticSettings(CALIBRATORS[method]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [None, 0.0, 5.0, -5.0, 1e-30])
def test_one_image_even_a_constant_one(method, value):
    image = BATCHES[0]["x"] if value is None else np.full(SHAPE, value, np.float32)
    made = quantize_static(network(), [image], StaticSettings(CALIBRATORS[method]))
    assert_close(made.model, network(), {"x": image}, share=0.2)


def test_a_generator_is_read_once():
    made = quantize_static(network(), (batch for batch in BATCHES))
    assert made.model == quantize_static(network(), BATCHES).model


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_refused_by_the_inputs_name(bad):
    image = BATCHES[0]["x"].copy()
    image[0, 3, 4, 5] = bad
    with pytest.raises(InferenceError, match="batch 1, input 'x' holds NaN or infinity") as error:
        quantize_static(network(), [BATCHES[0], {"x": image}])
    one_line(error)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("operator", "what"), [("Log", "NaN"), ("Sqrt", "NaN"), ("Exp", "inf")])
def test_a_tensor_that_becomes_no_number_is_named(method, operator, what):
    net = SmallGraph(SHAPE, seed=1)
    x = net.conv(net.input, 16, 8)
    if what == "inf":
        x = net.node("Mul", x, net.constant(np.float32(1000)))
    odd = net.node(operator, x)
    model = net.model(net.conv(net.relu(net.conv(odd, 16, 16)), 4, 16))
    with pytest.raises(InferenceError, match=f"{odd!r} becomes NaN or infinite on .* batch 0"):
        quantize_static(model, BATCHES, StaticSettings(CALIBRATORS[method]))


@pytest.mark.parametrize(("batch", "message"), [
    (np.zeros([1, 8, 9, 9], np.float32), r"shape \[1, 8, 9, 9\], not \[1, 8, 8, 8\]"),
    (np.zeros([8, 8, 8], np.float32), r"shape \[8, 8, 8\]"),
    (np.zeros(SHAPE), "type float64, not float32"),
    (np.zeros(SHAPE, np.uint8), "type uint8, not float32"),
    (np.full(SHAPE, "a"), "not float32"),
    (None, "shape"),
    ({"y": np.zeros(SHAPE, np.float32)}, "names y, the model wants x"),
    ({}, "the model wants x"),
])
def test_data_of_another_kind(batch, message):
    with pytest.raises(InferenceError, match=message) as error:
        quantize_static(network(), [BATCHES[0], batch])
    assert "batch 1" in one_line(error)


def test_an_empty_batch():
    with pytest.raises(InferenceError, match="is empty"):
        quantize_static(network(["n", 8, 8, 8]), [np.zeros([0, 8, 8, 8], np.float32)])


@pytest.mark.parametrize("shape", [["n", 8, "h", "w"], [None] * 4, ["n", "c", "h", "w"]])
def test_images_of_every_size_where_shapes_are_free(shape):
    model = network(shape)
    sizes = [(1, 8, 8), (2, 6, 10), (1, 16, 4)]
    rng = np.random.default_rng(1)
    batches = [{"x": rng.normal(size=(n, 8, h, w)).astype(np.float32)} for n, h, w in sizes]
    made = quantize_static(model, batches)
    for feeds in batches:
        assert_close(made.model, model, feeds, runs=(run_onnxruntime, run_openvino))


@pytest.mark.parametrize(("data", "weights"), [
    (1e-40, 1), (1, 1e-40), (1e-30, 1e-30), (1e-20, 1e20), (1e30, 1), (1e18, 1e18), (3e38, 1e-6),
])
def test_numbers_near_the_ends_of_float32(data, weights):
    net = SmallGraph(SHAPE, seed=1)
    scaled = np.float32(net.weights(16, 8, 3, 3).astype(np.float64) * weights)
    bias = np.float32(net.weights(16).astype(np.float64) * data * weights)
    x = net.node("Conv", net.input, net.constant(scaled), net.constant(bias), pads=[1] * 4)
    model = net.model(net.conv(net.conv(x, 16, 16, bias=False), 4, 16, bias=False))
    batches = [{"x": np.float32(np.clip(b["x"].astype(np.float64) * data, -3e38, 3e38))}
               for b in BATCHES]
    made = quantize_static(model, batches)
    real, found = (run_onnxruntime(m, batches[0])[0] for m in (model, made.model))
    assert np.isfinite(found).all()
    assert np.abs(found - real).max() <= 0.05 * np.abs(real).max() + 1e-25


def test_numbers_too_large_for_any_step_are_refused_by_name():
    net = SmallGraph([1, 8, 4, 4], seed=1)
    weights = np.zeros((16, 8, 1, 1), np.float32)
    weights[:, 0] = 3e38
    x = net.node("Conv", net.input, net.constant(weights), name="huge")
    model = net.model(net.conv(net.node("Concat", net.conv(x, 16, 16), x, axis=1), 4, 32))
    data = np.zeros([1, 8, 4, 4], np.float32)
    data[:, 1] = 3e38
    with pytest.raises(InferenceError, match=r"huge: .* too large") as error:
        quantize_static(model, [data])
    assert "keep it in float" in one_line(error)
    made = quantize_static(model, [data], StaticSettings(keep_float={"huge": "too large"}))
    assert_close(made.model, model, {"x": data})


# Models.

@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 18, 19, 21, 22, 23, 24, 25, 26])
def test_every_opset_from_7_on(opset, tmp_path):
    def middle(net, x):
        x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        numbers = [net.constant(np.abs(net.weights(16)) + 0.5) for _ in range(4)]
        x = net.node("BatchNormalization", net.conv(x, 16, 16), *numbers)
        return net.node("Dropout", net.relu(x))

    old = {"ir_version": 3, "weights_as_inputs": True} if opset < 9 else {}
    model = network(opset=opset, middle=middle, **old)
    made = quantize_static(model, BATCHES)
    assert opset_of(made.model) == max(opset, 13)
    assert operators(made.model)["BatchNormalization"] == operators(made.model)["Dropout"] == 0
    assert fused_operators(made.model, tmp_path)["QLinearConv"] == 3
    assert_close(made.model, model, BATCHES[0])


def test_an_opset_of_the_future_is_refused_in_one_line():
    model = network()
    model.opset_import[0].version = 999
    with pytest.raises(InferenceError) as error:
        quantize_static(model, BATCHES)
    one_line(error)


@pytest.mark.parametrize("ir_version", [3, 8])
def test_weights_among_the_inputs_become_constants(ir_version):
    model = network(opset=8, ir_version=ir_version, weights_as_inputs=True)
    made = quantize_static(model, BATCHES)
    assert [value.name for value in made.model.graph.input] == ["x"]
    assert_close(made.model, model, BATCHES[0], runs=(run_onnxruntime, run_openvino))


@pytest.mark.parametrize("role", ["weights", "bias"])
def test_weights_that_only_the_caller_knows_keep_their_layer_in_float(role):
    net = SmallGraph(SHAPE, seed=1)
    names = [net.constant(net.weights(16, 8, 3, 3)), net.constant(net.weights(16))]
    shape = [16, 8, 3, 3] if role == "weights" else [16]
    names[role == "bias"] = net.another_input("given", shape)
    x = net.node("Conv", net.input, *names, pads=[1] * 4)
    model = net.model(net.conv(net.conv(net.relu(x), 16, 16), 4, 16))
    batches = [{**batch, "given": net.weights(*shape)} for batch in BATCHES]
    made = quantize_static(model, batches)
    assert made.float_layers["Conv0"] == "its weights depend on the data"
    assert made.integer_layers == ("Conv2",)
    assert_close(made.model, model, batches[0])


def test_weights_that_layers_share_are_stored_once():
    net = SmallGraph(SHAPE, seed=1)
    weights, bias = net.constant(net.weights(16, 16, 3, 3)), net.constant(net.weights(16))
    x = net.conv(net.input, 16, 8)
    for _ in range(3):
        x = net.relu(net.node("Conv", x, weights, bias, pads=[1] * 4))
    model = net.model(net.conv(x, 4, 16))
    made = quantize_static(model, BATCHES)
    stored = [t for t in made.model.graph.initializer if list(t.dims) == [16, 16, 3, 3]]
    assert len(stored) == 1
    assert len(made.integer_layers) == 4
    assert_close(made.model, model, BATCHES[0], runs=(run_onnxruntime, run_openvino))


@pytest.mark.parametrize(("operator", "attributes"), [
    ("Softmax", {"axis": 1}), ("Erf", {}), ("HardSwish", {}), ("Elu", {}), ("Tanh", {}),
])
def test_operators_without_integers_stay_float_and_are_named(operator, attributes):
    def middle(net, x):
        return net.node(operator, x, **attributes)

    model = network(middle=middle)
    made = quantize_static(model, BATCHES)
    assert made.float_operators == {f"{operator}2": operator}
    assert made.integer_layers == ("Conv0", "Conv3")
    assert_close(made.model, model, BATCHES[0])


def test_layers_without_integers_stay_float_and_are_named():
    net = SmallGraph([5, 1, 8], seed=1)
    y, _ = net.node("GRU", net.input, net.constant(net.weights(1, 24, 8)),
                    net.constant(net.weights(1, 24, 8)), outputs=2, hidden_size=8)
    x = net.node("Squeeze", y, net.constant(np.array([1, 2])))
    stacked = net.node("MatMul", net.node("MatMul", x, net.constant(net.weights(8, 8))),
                       net.constant(net.weights(3, 8, 4)))
    left = net.node("MatMul", net.constant(net.weights(2, 5)), stacked)
    model, batches = net.model(left), normal_batches([5, 1, 8])
    made = quantize_static(model, batches)
    assert made.integer_layers == ("MatMul2",)
    assert made.float_layers == {
        "GRU0": "GRU has no integer kernel",
        "MatMul3": "stacked weights have no integer kernel",
        "MatMul4": "a constant on the left has no integer kernel",
    }
    assert_close(made.model, model, batches[0])


def test_operators_that_nobody_knows_are_named():
    net = SmallGraph(SHAPE, seed=1)
    x = net.node("Unheard", net.conv(net.input, 16, 8), domain="mine")
    with pytest.raises(InferenceError, match="mine:Unheard") as error:
        quantize_static(unchecked(net, x), BATCHES)
    one_line(error)


def unchecked(net, *outputs, functions=()):
    """A model that onnx's checker has not seen."""
    made = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    graph = helper.make_graph(net.nodes, "unchecked", net.inputs, made,
                              [numpy_helper.from_array(v, k) for k, v in net.constants.items()])
    domains = {node.domain for node in net.nodes}
    opsets = [helper.make_opsetid(domain, 1 if domain else net.opset) for domain in domains | {""}]
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=8)


def test_operators_of_one_runtime_stay_float_and_are_named():
    net = SmallGraph(SHAPE, seed=1)
    x = net.node("FusedConv", net.conv(net.input, 16, 8), net.constant(net.weights(16, 16, 3, 3)),
                 domain="com.microsoft", kernel_shape=[3, 3], pads=[1] * 4, activation="Relu")
    model = unchecked(net, net.conv(net.conv(x, 16, 16), 4, 16))
    made = quantize_static(model, BATCHES)
    assert made.float_layers["FusedConv1"] == "FusedConv of com.microsoft is no operator of ONNX"
    assert made.integer_layers == ("Conv0", "Conv2")
    assert_close(made.model, model, BATCHES[0])


def test_functions_of_the_model_are_quantized_inside(tmp_path):
    net = SmallGraph(SHAPE, seed=1)
    x = net.conv(net.input, 16, 8)
    for _ in range(2):
        x = net.node("Block", x, net.constant(net.weights(16, 16, 3, 3)), domain="mine")
    steps = [helper.make_node("Conv", ["X", "W"], ["c"], pads=[1] * 4),
             helper.make_node("Relu", ["c"], ["Y"])]
    block = helper.make_function("mine", "Block", ["X", "W"], ["Y"], steps,
                                 [helper.make_opsetid("", 17)])
    model = unchecked(net, net.conv(x, 4, 16), functions=[block])
    made = quantize_static(model, BATCHES)
    assert fused_operators(made.model, tmp_path)["QLinearConv"] == 3
    assert_close(made.model, model, BATCHES[0])


def test_a_batch_norm_in_training_is_no_constant():
    def middle(net, x):
        numbers = [net.constant(np.ones(16, np.float32)) for _ in range(4)]
        made = net.node("BatchNormalization", net.conv(x, 16, 16), *numbers, outputs=3,
                        training_mode=1)
        return made[0]

    model = network(middle=middle)
    made = quantize_static(model, BATCHES)
    assert operators(made.model)["BatchNormalization"] == 1
    assert_close(made.model, model, BATCHES[0])


def test_random_numbers_are_not_made_constant():
    def middle(net, x):
        noise = net.node("RandomUniformLike", net.constant(np.zeros(SHAPE[2:], np.float32)))
        return net.node("Add", x, noise)

    made = quantize_static(network(middle=middle), BATCHES)
    assert operators(made.model)["RandomUniformLike"] == 1


def test_outputs_that_are_constant_stay_outputs():
    net = SmallGraph(SHAPE, seed=1)
    three = net.node("Add", net.constant(np.float32([1])), net.constant(np.float32([2])))
    four = net.node("Constant", value=numpy_helper.from_array(np.float32([4])))
    x = net.conv(net.node("Mul", net.conv(net.input, 16, 8), three), 16, 16)
    model = net.model(net.conv(x, 4, 16), three, four)
    made = quantize_static(model, BATCHES)
    assert_close(made.model, model, BATCHES[0], runs=(run_onnxruntime, run_openvino))


@pytest.mark.parametrize("names", [["", "", "", "", ""], ["Conv_2", "", "Conv_4", "", ""]])
def test_nodes_get_names_of_their_own(names):
    model = network()
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    made = quantize_static(model, BATCHES)
    assert len(set(made.integer_layers) | set(made.float_layers)) == 3
    assert_close(made.model, model, BATCHES[0])


def test_quantized_models_are_refused():
    made = quantize_static(network(), BATCHES)
    with pytest.raises(InferenceError, match=r"quantized already .*QuantizeLinear") as error:
        quantize_static(made.model, BATCHES)
    assert "start from the float one" in one_line(error)


def branch(name, nodes, result, tensors=()):
    return helper.make_graph(
        nodes, name, [], [helper.make_tensor_value_info(result, 1, None)], list(tensors))


def test_models_quantized_inside_a_branch_are_refused():
    net = SmallGraph(SHAPE, seed=1)
    step = numpy_helper.from_array(np.float32(0.1), "step")
    inside = [helper.make_node("QuantizeLinear", ["x", "step"], ["q"]),
              helper.make_node("DequantizeLinear", ["q", "step"], ["real"])]
    plain = [helper.make_node("Identity", ["x"], ["same"])]
    y = net.node("If", net.constant(np.bool_(True)), else_branch=branch("b", plain, "same"),
                 then_branch=branch("a", inside, "real", [step]))
    with pytest.raises(InferenceError, match="quantized already"):
        quantize_static(net.model(net.conv(y, 16, 8)), BATCHES)


def if_network():
    """A branch that computes with one tensor of integer layers, another that gives one out."""
    net = SmallGraph(SHAPE, seed=1)
    first = net.relu(net.conv(net.input, 16, 8))
    second = net.conv(first, 16, 16)
    weights = numpy_helper.from_array(net.weights(16, 16, 1, 1), "inner weights")
    computed = [helper.make_node("Conv", [first, "inner weights"], ["a"], name="inner")]
    positive = net.node("Greater", net.node("ReduceSum", net.input, keepdims=0),
                        net.constant(np.float32(0)))
    y = net.node("If", positive, then_branch=branch("then", computed, "a", [weights]),
                 else_branch=branch("else", [helper.make_node("Identity", [second], ["b"])], "b"))
    return net.model(net.conv(net.conv(y, 16, 16), 4, 16))


def loop_network():
    """A loop that adds a tensor of an integer layer three times."""
    net = SmallGraph(SHAPE, seed=1)
    x = net.relu(net.conv(net.input, 16, 8))
    state = [1, 16, 8, 8]
    nodes = [helper.make_node("Add", ["state", x], ["next"]),
             helper.make_node("Identity", ["go on"], ["go on still"])]
    body = helper.make_graph(nodes, "body", [
        helper.make_tensor_value_info("round", TensorProto.INT64, []),
        helper.make_tensor_value_info("go on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("state", 1, state),
    ], [helper.make_tensor_value_info("go on still", TensorProto.BOOL, []),
        helper.make_tensor_value_info("next", 1, state)])
    y = net.node("Loop", net.constant(np.int64(3)), net.constant(np.bool_(True)), x, body=body)
    return net.model(net.conv(net.conv(y, 16, 16), 4, 16))


@pytest.mark.parametrize(("build", "kind"), [(if_network, "If"), (loop_network, "Loop")])
def test_what_is_inside_a_subgraph_stays_float(build, kind):
    model = build()
    made = quantize_static(model, BATCHES)
    node = next(node for node in model.graph.node if node.op_type == kind)
    assert made.float_layers[node.name] == f"{kind}: what is inside a subgraph is not quantized"
    assert len(made.integer_layers) >= 2
    for feeds in [*BATCHES[:2], {"x": -BATCHES[0]["x"]}]:
        assert_close(made.model, model, feeds, share=0.08)


def test_float16_inputs_that_are_cast():
    net = SmallGraph(SHAPE, seed=1, kind=TensorProto.FLOAT16)
    x = net.conv(net.node("Cast", net.input, to=TensorProto.FLOAT), 16, 8)
    model = net.model(net.conv(net.relu(x), 4, 16))
    batches = [{"x": batch["x"].astype(np.float16)} for batch in BATCHES]
    made = quantize_static(model, batches)
    assert made.integer_layers == ("Conv1",)
    assert_close(made.model, model, batches[0])
    with pytest.raises(InferenceError, match="type float32, not float16"):
        quantize_static(model, BATCHES)


def test_layers_in_float16_stay_as_they_are():
    net = SmallGraph(SHAPE, seed=1, kind=TensorProto.FLOAT16)
    weights = net.constant(net.weights(4, 8, 3, 3).astype(np.float16))
    model = net.model(net.node("Conv", net.input, weights), kind=TensorProto.FLOAT16)
    made = quantize_static(model, [{"x": BATCHES[0]["x"].astype(np.float16)}])
    assert made.float_layers == {"Conv0": "it does not compute in float32"}
    assert operators(made.model) == {"Conv": 1}


def test_a_model_without_layers_passes_through():
    net = SmallGraph(SHAPE)
    made = quantize_static(net.model(net.node("Tanh", net.input)), BATCHES)
    assert made.integer_layers == () and np.isnan(made.integer_share)
    assert operators(made.model) == {"Tanh": 1}


def knot(place):
    """A model whose nodes wait for each other, beside its output or on the way to it."""
    model = network()
    if place == "way":
        model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    else:
        model.graph.node.extend([helper.make_node("Add", ["u", model.graph.node[0].output[0]],
                                                  ["v"], name="knot"),
                                 helper.make_node("Relu", ["v"], ["u"])])
    return model


@pytest.mark.parametrize("place", ["way", "beside"])
def test_cycles_are_refused(place):
    with pytest.raises(InferenceError, match="the graph has a cycle through node") as error:
        quantize_static(knot(place), BATCHES)
    one_line(error)


@pytest.mark.parametrize("model", [onnx.ModelProto(), None])
def test_models_that_are_none(model):
    if model is None:
        model = network()
        model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(InferenceError) as error:
        quantize_static(model, BATCHES)
    one_line(error)


# Files.

def test_external_data_is_read_and_its_loss_is_told(tmp_path):
    path = tmp_path / "float.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    made = quantize_static(load_onnx(path), BATCHES)
    assert_close(made.model, network(), BATCHES[0])
    save_onnx(made.model, tmp_path / "int8.onnx")
    (tmp_path / "weights.bin").write_bytes((tmp_path / "weights.bin").read_bytes()[:100])
    with pytest.raises(InferenceError, match=r"float\.onnx: cannot be read"):
        load_onnx(path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InferenceError, match=r"float\.onnx: cannot be read") as error:
        load_onnx(path)
    one_line(error)
    assert_close(load_onnx(tmp_path / "int8.onnx"), network(), BATCHES[0])
    without = onnx.load(path, load_external_data=False)
    with pytest.raises(InferenceError) as error:
        quantize_static(without, BATCHES)
    one_line(error)


def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path):
    whole = network().SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in [0, 1, 5, *range(10, len(whole) - 1, len(whole) // 23), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InferenceError) as error:
            quantize_static(load_onnx(path), BATCHES)
        one_line(error)


@pytest.mark.parametrize("moment", ["before", "in the middle", "at the end"])
def test_an_interrupted_write_leaves_the_old_model_and_nothing_else(tmp_path, monkeypatch, moment):
    path = tmp_path / "model.onnx"
    save_onnx(network(), path)
    before, made = path.read_bytes(), quantize_static(network(), BATCHES).model

    class Pen:
        """A file whose writer is stopped."""

        def __init__(self, handle, mode):
            self.file = open(handle, mode)  # noqa: SIM115, PTH123

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            if moment != "before":
                self.file.write(data[: len(data) // 2] if moment == "in the middle" else data)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(onnx_protobuf.os, "fdopen", Pen)
        save_onnx(made, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


# The command.

@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """The command with these arguments: its exit code, what it printed, its complaint."""
    save_onnx(network(), tmp_path / "float.onnx")
    np.save(tmp_path / "data.npy", np.concatenate([b["x"] for b in BATCHES]))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["quantizer", *map(str, arguments)])
        code = quantizer.main()
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_command_writes_a_model_and_says_what_it_did(command, tmp_path):
    code, out, err = command("float.onnx", "--data", "data.npy", "--method", "static minmax",
                             "--out", "sub/int8.onnx")
    assert (code, err) == (0, "")
    assert "98% of the multiplications" in out and "result float" in out
    assert_close(load_onnx(tmp_path / "sub" / "int8.onnx"), network(), BATCHES[0])
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["int8.onnx"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize(("arguments", "message", "prepare"), [
    (["float.onnx", "--method", "magic", "-o", "a.onnx"], "no method 'magic': there are", None),
    (["gone.onnx", "-o", "a.onnx"], "gone.onnx: no such file", None),
    (["float.onnx", "--data", "gone.npy", "-o", "a.onnx"], "gone.npy", None),
    (["float.onnx", "-o", "."], "is a folder", None),
    (["float.onnx", "-o", "data.npy/a.onnx"], "cannot be written", None),
    (["float.onnx"], "--out", None),
    (["float.onnx", "-o", "a.onnx"], "cannot be read as an ONNX model", cut),
    (["float.onnx", "-o", "a.onnx"], "", lambda path: path.write_bytes(b"")),
    (["float.onnx", "-o", "a.onnx"], "cannot be read", lambda path: path.write_bytes(b"hello")),
    (["float.onnx", "--data", "data.npy", "--method", "static mse", "-o", "a.onnx"], "NaN",
     lambda path: np.save(path.with_name("data.npy"), np.full([8, *SHAPE[1:]], np.nan, "f"))),
    (["float.onnx", "--data", "data.npy", "-o", "a.onnx"], "arrays of [0] rows",
     lambda path: np.save(path.with_name("data.npy"), np.zeros([0, *SHAPE[1:]], "f"))),
    (["float.onnx", "--data", "data.npy", "-o", "a.onnx"], "shape",
     lambda path: np.save(path.with_name("data.npy"), np.zeros([8, 3, 9, 9], "f"))),
    (["float.onnx", "-o", "a.onnx"], "quantized already",
     lambda path: save_onnx(quantize_static(network(), BATCHES).model, path)),
    (["float.onnx", "-o", "a.onnx"], "acyclic", lambda path: save_onnx(knot("beside"), path)),
])
def test_the_commands_complaints_are_one_line(command, tmp_path, arguments, message, prepare):
    if prepare is not None:
        prepare(tmp_path / "float.onnx")
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "a.onnx").exists()


def test_an_interrupted_command_writes_nothing(command, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("solutions.phase2_optimization.variants.quantize_prepared", interrupted)
    code, out, err = command("float.onnx", "--method", "static minmax", "-o", "a.onnx")
    assert (code, out, err.strip()) == (130, "", "interrupted")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npy", "float.onnx"]
