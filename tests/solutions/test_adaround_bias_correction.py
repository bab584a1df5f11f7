"""AdaRound against brute force, bias correction against its closed form, both in whole networks."""

from itertools import product

import numpy as np
import pytest
from small_graphs import SmallGraph, normal_batches, run_onnxruntime

from solutions.phase2_optimization.adaround import (
    Descent,
    output_error,
    rectified_sigmoid,
    regulariser_slope,
    round_adaptively,
    start,
)
from solutions.phase2_optimization.affine import dequantize, weight_params
from solutions.phase2_optimization.bias_correction import output_shift
from solutions.phase2_optimization.graph_preparation import prepare
from solutions.phase2_optimization.layer_inputs import observe_layers, weights_as_rows
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from solutions.phase2_optimization.quantize_graph import StaticSettings, quantize_prepared
from solutions.phase2_optimization.quantized_types import INT8, QuantizedType
from solutions.phase2_optimization.refinement import (
    rounded_weights,
    with_corrected_biases,
    with_roundings,
)
from zoo.errors import InferenceError

INT3 = QuantizedType("int3", 3, -4, 3, np.int8)  # coarse: rounding matters


def random_layer(seed, outputs=1, size=9, rank=3, groups=1):
    """Weights [groups, outputs, size], scales, and second moments of correlated inputs."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(groups, 400, rank)) @ rng.normal(size=(groups, rank, size)), 0)
    weights = rng.normal(size=(groups, outputs, size))
    scales = np.abs(weights).max(axis=-1) / 3
    return weights, scales, x.swapaxes(1, 2) @ x / 400, x


def steps_error(integers, weights, scales, moment):
    return output_error(integers - weights / scales[..., None], moment)


def by_brute_force(weights, scales, moment):
    """The least error of all roundings down and up of each output's weights."""
    real = weights / scales[..., None]
    ways = np.array(list(product((0, 1), repeat=weights.shape[-1])))
    tried = np.clip(np.floor(real)[..., None, :] + ways, -3, 3)
    return output_error(tried - real[..., None, :], moment[:, None]).min(axis=-1)


# The objective


def test_the_objective_is_the_mean_squared_output_error():
    weights, _, moment, x = random_layer(0, outputs=4, groups=2)
    difference = np.random.default_rng(1).normal(size=weights.shape)
    outputs = np.einsum("gos,grs->gor", difference, x)
    np.testing.assert_allclose(output_error(difference, moment), (outputs**2).mean(axis=-1))


def test_the_relaxation_begins_at_the_weight_itself():
    fractions = np.linspace(0.001, 0.999, 33)
    np.testing.assert_allclose(rectified_sigmoid(start(fractions)), fractions, atol=1e-9)
    assert rectified_sigmoid(np.array([-9.0, 9.0])).tolist() == [0, 1]  # it reaches both ends


def test_the_slope_is_that_of_the_regulariser():
    """Equation 24's derivative, by differences; none while warming up."""
    how, h, tiny = Descent(), np.array([0.05, 0.3, 0.5, 0.71, 0.98]), 1e-6
    assert not regulariser_slope(h, how.warm_up / 2, how).any()
    for progress, beta in ((how.warm_up, how.first_beta), (1.0, how.last_beta)):
        def value(at, beta=beta):
            return how.strength * (1 - np.abs(2 * at - 1) ** beta)
        expected = (value(h + tiny) - value(h - tiny)) / (2 * tiny)
        np.testing.assert_allclose(regulariser_slope(h, progress, how), expected, atol=1e-6)


# The search


def test_it_approaches_brute_force_on_tiny_layers():
    """Of what the best of all 512 roundings gains over the nearest, it finds a good part."""
    gained, possible = 0.0, 0.0
    for seed in range(12):
        weights, scales, moment, _ = random_layer(seed, outputs=3)
        found = round_adaptively(weights, scales, moment, -3, 3)
        nearest = steps_error(np.rint(weights / scales[..., None]), weights, scales, moment)
        error = steps_error(found, weights, scales, moment)
        best = by_brute_force(weights, scales, moment)
        assert np.all(error >= best - 1e-9) and np.all(error <= nearest * 1.0001)
        gained += float((1 - error / nearest).sum())
        possible += float((1 - best / nearest).sum())
    assert possible / 36 > 0.5  # nearest is far from the best
    assert gained / possible > 0.45


def test_it_beats_nearest_on_larger_layers():
    weights, scales, moment, _ = random_layer(5, outputs=8, size=64, rank=12)
    found = round_adaptively(weights, scales, moment, -3, 3)
    nearest = steps_error(np.rint(weights / scales[..., None]), weights, scales, moment)
    assert steps_error(found, weights, scales, moment).sum() < nearest.sum() / 2
    away = found - weights / scales[..., None]
    assert np.abs(away).max() < 1 and np.abs(away).max() > 0.6  # up or down, some not the nearest


def test_the_nearest_is_best_where_inputs_do_not_hang_together():
    weights, scales, _, _ = random_layer(7, outputs=6, size=20)
    found = round_adaptively(weights, scales, np.eye(20)[None], -3, 3)
    np.testing.assert_array_equal(found, np.rint(weights / scales[..., None]))


def test_integers_stay_in_range_and_dead_inputs_do_no_harm():
    weights, scales, moment, _ = random_layer(8, outputs=4, size=12)
    found = round_adaptively(weights, scales / 2, moment, -3, 3)  # half of the range is cut off
    assert found.min() == -3 and found.max() == 3
    moment[:, :5] = moment[:, :, :5] = 0
    silent = round_adaptively(weights, scales, 0 * moment, -3, 3)
    np.testing.assert_array_equal(silent, np.rint(weights / scales[..., None]))
    assert np.isfinite(round_adaptively(weights, scales, moment, -3, 3)).all()


def test_groups_do_not_mix():
    weights, scales, moment, _ = random_layer(3, outputs=4, groups=3)
    whole = round_adaptively(weights, scales, moment, -3, 3)
    for group in range(3):
        part = slice(group, group + 1)
        alone = round_adaptively(weights[part], scales[part], moment[part], -3, 3)
        np.testing.assert_array_equal(whole[part], alone)


# What the layers of a network see


LAYERS = {
    "plain": {"out": 4, "pads": [1, 0, 2, 1]},
    "strided": {"out": 4, "strides": [2, 1], "dilations": [1, 2], "pads": [0] * 4},
    "grouped": {"out": 6, "group": 2},
    "same_upper": {"out": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2], "pads": []},
    "same_lower": {"out": 2, "auto_pad": "SAME_LOWER", "strides": [2, 2], "pads": []},
}


@pytest.mark.parametrize("kind", list(LAYERS))
def test_moments_are_those_of_the_convolution(kind):
    """Mean and mean square of any such convolution's outputs follow from what was kept."""
    net = SmallGraph([2, 4, 7, 9], 5)
    options = {k: v for k, v in LAYERS[kind].items() if v != []}
    if "auto_pad" in options:
        weights = net.constant(net.weights(options.pop("out"), 4, 3, 3))
        y = net.node("Conv", net.input, weights, **options)
    else:
        y = net.conv(net.input, channels=4, bias=False, **options)
    model = net.model(y)
    batches = [{"x": np.abs(b["x"])} for b in normal_batches([2, 4, 7, 9], 3)]
    name = model.graph.node[0].name
    seen = observe_layers(model, batches, [name], moments=True)[name]
    weights = OnnxGraph(model).constants[model.graph.node[0].input[1]]
    rows = weights_as_rows(model.graph.node[0], weights)
    outputs = np.concatenate([run_onnxruntime(model, b)[0] for b in batches])
    means = outputs.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(output_shift(0 * rows, rows, seen.mean).ravel(), means, rtol=1e-3,
                               atol=1e-5)
    np.testing.assert_allclose(output_error(rows, seen.moment).ravel(),
                               (outputs.astype(np.float64) ** 2).mean(axis=(0, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize("transposed", [0, 1])
def test_moments_are_those_of_the_linear_layer(transposed):
    net = SmallGraph([5, 6], 2)
    model = net.model(net.gemm(net.input, 6, 4, transB=transposed))
    batches, node = normal_batches([5, 6]), model.graph.node[0]
    seen = observe_layers(model, batches, [node.name], moments=True)[node.name]
    rows = weights_as_rows(node, OnnxGraph(model).constants[node.input[1]])
    bias = OnnxGraph(model).constants[node.input[2]]
    outputs = np.concatenate([run_onnxruntime(model, b)[0] for b in batches]) - bias
    np.testing.assert_allclose(output_error(rows, seen.moment).ravel(), (outputs**2).mean(axis=0),
                               rtol=1e-4)


# Whole networks


def small_net(seed=1):
    net = SmallGraph([4, 3, 8, 8], seed)
    y = net.relu(net.conv(net.input, 8, 3))
    y = net.relu(net.conv(y, 8, 8, group=8))
    y = net.conv(y, 8, 8, kernel=1)
    return prepare(net.model(net.gemm(net.node("Flatten", net.node("GlobalAveragePool", y)), 8, 5)))


def coarse():
    return StaticSettings(weights=INT3)


def with_weights(model, settings):
    """The float network with the layers' rounded weights and the settings' biases."""
    graph = OnnxGraph(model)
    for node in graph.nodes:
        if node.op_type in ("Conv", "Gemm"):
            rounded = rounded_weights(graph, node, settings)
            bias = settings.biases.get(node.name)
            node.input[1] = graph.set_constant(f"{node.name}/rounded", rounded)
            if bias is not None:
                node.input[2] = graph.set_constant(f"{node.name}/moved", bias)
    return graph.to_model()


def mean_error(model, other, batches):
    pairs = [(run_onnxruntime(model, b)[0], run_onnxruntime(other, b)[0]) for b in batches]
    return float(np.mean([np.square(a - b).mean() for a, b in pairs]))


def test_a_network_with_adapted_roundings_is_nearer_to_float():
    model, batches = small_net(), normal_batches([4, 3, 8, 8], 8)
    settings = with_roundings(model, batches, coarse())
    assert len(settings.rounded) == 4
    unseen = normal_batches([4, 3, 8, 8], 8, seed=99)
    nearest = mean_error(model, with_weights(model, coarse()), unseen)
    assert mean_error(model, with_weights(model, settings), unseen) < 0.7 * nearest


def test_the_quantized_network_holds_the_found_integers():
    model, batches = small_net(), normal_batches([4, 3, 8, 8], 2)
    settings = with_roundings(model, batches, StaticSettings())
    stored = OnnxGraph(quantize_prepared(model, batches, settings).model).constants
    plain = OnnxGraph(quantize_prepared(model, batches, StaticSettings()).model).constants
    moved = 0
    for name, rounded in settings.rounded.items():
        np.testing.assert_array_equal(stored[f"{name}/weight/integer"], rounded.integers)
        moved += int((stored[f"{name}/weight/integer"] != plain[f"{name}/weight/integer"]).sum())
    assert moved > 10


def test_corrected_biases_are_the_closed_form():
    """E[y] with rounded weights and the moved bias is E[y] of the float layer."""
    model, batches = small_net(), [{"x": np.abs(b["x"])}
                                   for b in normal_batches([4, 3, 8, 8], 4)]
    settings = with_corrected_biases(model, batches, coarse())
    assert len(settings.biases) == 4
    first = next(n for n in model.graph.node if n.op_type == "Conv")
    graph = OnnxGraph(model)
    eps = dequantize(*_stored(graph, first)) - graph.constants[first.input[1]]
    windows = np.concatenate([_windows(b["x"]) for b in batches])  # [n, 27]
    shift = windows.mean(axis=0) @ eps.reshape(8, -1).T
    np.testing.assert_allclose(settings.biases[first.name],
                               graph.constants[first.input[2]] - shift, rtol=1e-4, atol=1e-5)
    assert np.abs(shift).max() > 0.02


def _stored(graph, node):
    from solutions.phase2_optimization.affine import quantize

    weights = graph.constants[node.input[1]]
    params = weight_params(weights, 0, INT3)
    return quantize(weights, params), params


def _windows(x):
    """3x3 windows of a padded picture by hand: [positions, channels * 9]."""
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    return np.stack([padded[n, :, i : i + 3, j : j + 3].ravel()
                     for n in range(x.shape[0]) for i in range(8) for j in range(8)])


def test_correction_brings_the_means_back():
    model = small_net()
    batches = [{"x": np.abs(b["x"])} for b in normal_batches([4, 3, 8, 8], 8)]
    settings = with_corrected_biases(model, batches, coarse())

    def shift(other):
        pairs = [(run_onnxruntime(model, b)[0], run_onnxruntime(other, b)[0]) for b in batches]
        return float(np.abs(np.mean([b - a for a, b in pairs], axis=(0, 1))).max())

    assert shift(with_weights(model, settings)) < shift(with_weights(model, coarse())) / 3
    quantized = [quantize_prepared(model, batches, how).model
                 for how in (StaticSettings(), with_corrected_biases(model, batches,
                                                                     StaticSettings()))]
    assert mean_error(model, quantized[1], batches) < mean_error(model, quantized[0], batches)


def test_layers_that_cannot_be_integer_are_left_alone():
    """Stacked weights, a turned left side, a data-dependent product, and what is kept in float."""
    net = SmallGraph([2, 6, 6], 3)
    stacked = net.node("MatMul", net.input, net.constant(net.weights(2, 6, 5, fan=6)))
    flat = net.node("Reshape", stacked, net.constant(np.array([12, 5])))
    turned = net.gemm(flat, 12, 4, transA=1)
    kept = net.gemm(turned, 4, 4)
    last = net.gemm(kept, 4, 3)
    model = prepare(net.model(net.node("MatMul", last, net.node("Transpose", last))))
    batches = normal_batches([2, 6, 6], 3)
    names = [n.name for n in model.graph.node if n.op_type == "Gemm"]
    settings = StaticSettings(keep_float={names[1]: "by hand"})
    settings = with_corrected_biases(model, batches, with_roundings(model, batches, settings))
    assert set(settings.rounded) == set(settings.biases) == {names[2]}
    quantize_prepared(model, batches, settings)


@pytest.mark.parametrize("refine", [with_roundings, with_corrected_biases])
def test_refining_needs_data(refine):
    with pytest.raises(InferenceError, match="no data"):
        refine(small_net(), [], StaticSettings())
    assert INT8 is StaticSettings().weights
