"""Better weights for a quantized graph: roundings by AdaRound, biases by bias correction.

Each function looks at the prepared float model and calibration data once and gives back settings
with what it found, so the techniques can be combined and compared:

    settings = with_roundings(model, batches, settings)
    settings = with_corrected_biases(model, batches, settings)
    quantize_prepared(model, batches, settings)
"""

from dataclasses import replace

from solutions.phase2_optimization.adaround import round_adaptively
from solutions.phase2_optimization.affine import dequantize, quantize, weight_params
from solutions.phase2_optimization.bias_correction import correct_bias
from solutions.phase2_optimization.layer_inputs import (
    observe_layers,
    rows_as_weights,
    weights_as_rows,
)
from solutions.phase2_optimization.observation import Batches
from solutions.phase2_optimization.onnx_rewrite import Array, Model, Node, OnnxGraph
from solutions.phase2_optimization.placement import LAYERS, known_types, layer_axis, place
from solutions.phase2_optimization.quantize_graph import StaticSettings
from solutions.phase2_optimization.stored_integers import Rounded

MOST_WORK = 1 << 28  # outputs * size^2 of a layer: some ten seconds of AdaRound


def with_roundings(model: Model, batches: Batches, settings: StaticSettings) -> StaticSettings:
    """Settings whose weights are rounded by AdaRound.

    Layers that stay in float are left out, and those so large that it would take minutes. Raises
    InferenceError where there are no data.
    """
    graph = OnnxGraph(model)
    nodes = _layers(graph, model, settings)
    seen = observe_layers(model, batches, [node.name for node in nodes], moments=True)
    found = {}
    for node in nodes:
        if node.name not in seen:
            continue
        weights = graph.constants[node.input[1]]
        params = weight_params(weights, layer_axis(node, weights), settings.weights)
        rows = weights_as_rows(node, weights)
        if rows.size * rows.shape[-1] > MOST_WORK:
            continue
        scales = params.scale.reshape(rows.shape[:2])
        most = settings.weights.high
        found_rows = round_adaptively(rows, scales, seen[node.name].moment, -most, most)
        integers = rows_as_weights(node, found_rows, weights.shape)
        found[node.name] = Rounded(integers.astype(settings.weights.storage), params)
    return replace(settings, rounded=found)


def with_corrected_biases(
    model: Model, batches: Batches, settings: StaticSettings
) -> StaticSettings:
    """Settings whose biases make up for what rounding the weights does to the means.

    Raises InferenceError where there are no data.
    """
    graph = OnnxGraph(model)
    layers = _layers(graph, model, settings)
    nodes = [node for node in layers if len(node.input) > 2 and node.input[2]]
    seen = observe_layers(model, batches, [node.name for node in nodes], moments=False)
    found = {}
    for node in nodes:
        real = rounded_weights(graph, node, settings)
        bias = correct_bias(graph, node, real, seen[node.name])
        if bias is not None:
            found[node.name] = bias
    return replace(settings, biases=found)


def rounded_weights(graph: OnnxGraph, node: Node, settings: StaticSettings) -> Array:
    """The real numbers that a layer's quantized weights stand for."""
    weights = graph.constants[node.input[1]]
    known = settings.rounded.get(node.name)
    if known is not None:
        return dequantize(known.integers, known.params)
    params = weight_params(weights, layer_axis(node, weights), settings.weights)
    return dequantize(quantize(weights, params), params)


def _layers(graph: OnnxGraph, model: Model, settings: StaticSettings) -> list[Node]:
    """Layers with constant weights that become integer."""
    plan = place(graph, known_types(model), dict(settings.keep_float), settings.integer_outputs)
    return [
        node for node in graph.nodes
        if node.op_type in LAYERS and node.name in plan.integer
        and node.input[1] in graph.constants
    ]
