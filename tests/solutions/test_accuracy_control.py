"""Accuracy control against every subset of layers; sensitivity against quantizing by hand."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import SmallGraph, normal_batches, run_onnxruntime

from solutions.phase2_optimization import accuracy_control
from solutions.phase2_optimization.accuracy_control import KEPT, quantize_to_accuracy
from solutions.phase2_optimization.detections_distance import detections_distance
from solutions.phase2_optimization.graph_preparation import prepare
from solutions.phase2_optimization.observation import open_session
from solutions.phase2_optimization.quantize_graph import StaticSettings, quantize_prepared
from solutions.phase2_optimization.sensitivity import (
    Sensitivity,
    harmless_outputs,
    layer_sensitivity,
    quantized_layers,
    relative_error,
)
from zoo.errors import InferenceError

SHAPE = [1, 8, 6, 6]
BATCHES = normal_batches(SHAPE, 3)


def chain(layers, seed=0):
    """Convolutions of one size, one behind the other."""
    net = SmallGraph(SHAPE, seed)
    y = net.input
    for _ in range(layers):
        y = net.relu(net.conv(y, 8, 8))
    return prepare(net.model(net.node("GlobalAveragePool", y)))


def names_of(model):
    return [node.name for node in model.graph.node if node.op_type == "Conv"]


def integer_names(quantized):
    """The layers whose weights are integers, read from the ONNX graph itself."""
    made = {node.output[0]: node for node in quantized.graph.node}
    return {node.name for node in quantized.graph.node if node.op_type == "Conv"
            and made.get(node.input[1]) is not None
            and made[node.input[1]].op_type == "DequantizeLinear"}


def scripted(monkeypatch, model, damage, ranked, macs=None):
    """A metric that loses so much for each integer layer, and a ranking, right or wrong."""
    names = names_of(model)
    lost = dict(zip(names, damage, strict=True))
    work = dict(zip(names, macs or [1] * len(names), strict=True))
    ranking = [Sensitivity(names[i], lost[names[i]], work[names[i]]) for i in ranked]
    monkeypatch.setattr(accuracy_control, "layer_sensitivity", lambda *a, **k: ranking)
    tried = []

    def metric(made):
        tried.append(integer_names(made))
        return 1.0 - sum(lost[name] for name in tried[-1])

    return metric, lost, tried


def fewest(lost, floor):
    """By brute force: how few layers in float reach the floor."""
    for count in range(len(lost) + 1):
        for kept in combinations(lost, count):
            if 1.0 - sum(v for k, v in lost.items() if k not in kept) >= floor:
                return count
    raise AssertionError("every layer in float gives 1.0")


# With scripted metrics


MODEL = chain(6)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([0.0, 1 / 64, 1 / 16, 1 / 8, 1 / 4]), min_size=6, max_size=6),
       st.sampled_from([0.0, 0.5, 0.75, 0.9, 0.98, 1.0]))
def test_the_fewest_layers_stay_in_float(damage, floor):
    with pytest.MonkeyPatch.context() as patch:
        ranked = sorted(range(6), key=lambda i: -damage[i])
        metric, lost, _ = scripted(patch, MODEL, damage, ranked)
        found = quantize_to_accuracy(MODEL, BATCHES, metric, floor)
    kept = [name for name in names_of(MODEL) if name not in integer_names(found.quantized.model)]
    assert found.reached and found.score == 1.0 - sum(v for k, v in lost.items() if k not in kept)
    assert len(kept) == fewest(lost, floor) == len(found.reasons())
    assert set(kept) == {n for n, why in found.quantized.float_layers.items()
                         if why.startswith(KEPT)}


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.permutations(range(6)), st.lists(st.integers(0, 8), min_size=6, max_size=6))
def test_a_misleading_ranking_costs_no_layer_that_could_be_integer(ranked, damage):
    """Whatever the order was, in the end no single layer can be given back."""
    with pytest.MonkeyPatch.context() as patch:
        metric, lost, _ = scripted(patch, MODEL, [d / 64 for d in damage], ranked)
        found = quantize_to_accuracy(MODEL, BATCHES, metric, 0.9)
    integer = integer_names(found.quantized.model)
    total = 1.0 - sum(lost[name] for name in integer)
    assert total >= 0.9
    for name in set(lost) - integer:
        assert total - lost[name] < 0.9


def test_nothing_is_kept_where_nothing_hurts(monkeypatch):
    metric, _, tried = scripted(monkeypatch, MODEL, [0.001] * 6, range(6))
    found = quantize_to_accuracy(MODEL, BATCHES, metric, 0.99)
    assert found.reached and found.reasons() == [] and found.sensitivity == ()
    assert len(tried) == len(found.steps) == 1  # no layer was looked at alone


def test_the_report_says_which_and_why(monkeypatch):
    damage = [0.0, 0.3, 0.001, 0.2, 0.0, 0.0]
    metric, lost, tried = scripted(monkeypatch, MODEL, damage, [1, 3, 2, 0, 4, 5])
    said = []
    found = quantize_to_accuracy(MODEL, BATCHES, metric, 0.99, say=said.append)
    names = names_of(MODEL)
    first, second = found.reasons()
    assert first == (f"{names[1]}: {KEPT}: error 0.3 when quantized alone, rank 1 of 6; "
                     "quantized, too, the metric is 0.699, below 0.99")
    assert second.startswith(f"{names[3]}: ") and "rank 2 of 6" in second and "0.799" in second
    assert said[0] == "all quantized: 0.499, below 0.99"
    scores = {step.float_layers: step.score for step in found.steps}
    assert len(scores) == len(tried)  # no model was made and scored twice
    for kept, score in scores.items():
        assert score == pytest.approx(1.0 - sum(v for k, v in lost.items() if k not in kept))
    assert all(step.kept == (step.score >= 0.99) for step in found.steps)


def test_a_layer_that_was_not_tried_is_said_to_be_so(monkeypatch):
    metric, _, _ = scripted(monkeypatch, MODEL, [0.1] * 6, range(6), macs=range(6))
    found = quantize_to_accuracy(MODEL, BATCHES, metric, 0.99, give_back=2)
    reasons = dict(line.split(": ", 1) for line in found.reasons())
    untried = [name for name, why in reasons.items() if "not tried in integers" in why]
    assert len(reasons) == 6 and untried  # four had no turn, one was the climb's last step
    tried = {name for step in found.steps for name in reasons
             if len(step.float_layers) == 5 and name not in step.float_layers}
    assert set(untried) == set(reasons) - tried


def test_the_innocent_with_the_most_work_is_given_back_first(monkeypatch):
    """Either of two layers may be integer, not both: the larger one becomes so."""
    damage = [0.04, 0.04, 0.5, 0.0, 0.0, 0.0]
    metric, _, _ = scripted(monkeypatch, MODEL, damage, [0, 1, 2, 3, 4, 5],
                            macs=[10, 1000, 1, 1, 1, 1])
    found = quantize_to_accuracy(MODEL, BATCHES, metric, 0.95)
    names = names_of(MODEL)
    assert integer_names(found.quantized.model) == {names[1], *names[3:]}


@pytest.mark.parametrize("floor", [1.01, float("nan")])
def test_a_floor_that_not_even_float_reaches(monkeypatch, floor):
    metric, _, _ = scripted(monkeypatch, MODEL, [0.1] * 6, range(6))
    with pytest.raises(InferenceError, match=r"every layer in float the metric is 1, below the"):
        quantize_to_accuracy(MODEL, BATCHES, metric, floor)


def test_what_the_caller_keeps_stays_and_keeps_its_reason(monkeypatch):
    names = names_of(MODEL)
    metric, _, _ = scripted(monkeypatch, MODEL, [0.5, 0.3, 0, 0, 0, 0], [1, 0, 2, 3, 4, 5])
    given_settings = StaticSettings(keep_float={names[0]: "by hand"})
    found = quantize_to_accuracy(MODEL, BATCHES, metric, 0.99, given_settings)
    assert found.quantized.float_layers[names[0]] == "by hand"
    assert [line.split(":")[0] for line in found.reasons()] == [names[1]]


# With the real thing


def fragile_net():
    """Four convolutions; what the second one sees has one channel of a thousand times the size."""
    net = SmallGraph(SHAPE, 3)
    first = net.weights(8, 8, 3, 3)
    first[5] *= 3000
    second = net.weights(8, 8, 3, 3)
    second[:, 5] /= 3000
    y = net.relu(net.node("Conv", net.input, net.constant(first), pads=[1] * 4))
    y = net.relu(net.node("Conv", y, net.constant(second), pads=[1] * 4))
    y = net.relu(net.conv(y, 8, 8))
    return prepare(net.model(net.node("GlobalAveragePool", net.relu(net.conv(y, 8, 8)))))


def closeness(model):
    probes = normal_batches(SHAPE, 4, seed=50)
    expected = [run_onnxruntime(model, feeds) for feeds in probes]

    def metric(made):
        session = open_session(made, threads=1)
        return 1 - float(np.mean([relative_error(real, session.run(None, feeds))
                                  for real, feeds in zip(expected, probes, strict=True)]))

    return metric


def test_a_real_network_against_every_subset():
    model = fragile_net()
    metric, names = closeness(model), names_of(model)
    floor = 0.995
    assert metric(quantize_prepared(model, BATCHES, StaticSettings()).model) < floor
    found = quantize_to_accuracy(model, BATCHES, metric, floor)
    possible = [
        kept for count in range(len(names) + 1) for kept in combinations(names, count)
        if metric(quantize_prepared(
            model, BATCHES, StaticSettings(keep_float=dict.fromkeys(kept, "tried"))).model) >= floor
    ]
    kept = set(names) - integer_names(found.quantized.model)
    assert 0 < len(kept) < len(names)
    assert len(kept) == min(len(one) for one in possible)
    assert found.score == pytest.approx(metric(found.quantized.model))


# Sensitivity


def test_sensitivity_is_what_quantizing_one_layer_does():
    model = fragile_net()
    names = names_of(model)
    found = layer_sensitivity(model, BATCHES, StaticSettings())
    assert sorted(one.name for one in found) == sorted(names)
    assert [one.error for one in found] == sorted((one.error for one in found), reverse=True)
    whole = quantize_prepared(model, BATCHES, StaticSettings())
    assert sorted(quantized_layers(whole)) == sorted(names)
    for one in found:
        others = {name: "float" for name in names if name != one.name}
        made = quantize_prepared(model, BATCHES, StaticSettings(
            keep_float=others, ranges=whole.ranges,
            integer_outputs=frozenset([one.name] if one.name in whole.integer_layers else []),
        )).model
        errors = []
        for feeds in BATCHES:
            real = run_onnxruntime(model, feeds)[0].astype(np.float64)
            errors.append(np.square(run_onnxruntime(made, feeds)[0] - real).sum()
                          / np.square(real).sum())
        assert one.error == pytest.approx(np.mean(errors), rel=1e-3)
        assert one.macs == 8 * 8 * 9 * 36
    # the maker of the tensor with the outlier, and its reader
    assert {one.name for one in found[:2]} == set(names[:2])
    assert found[1].error > 100 * found[2].error


def test_sensitivity_reports_its_progress_and_uses_the_distance_given():
    steps = []
    found = layer_sensitivity(chain(2), BATCHES, StaticSettings(),
                              lambda expected, made: 7.0, lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)] and {one.error for one in found} == {7.0}


def test_relative_error_in_closed_form():
    real, other = np.array([3.0, 4.0]), np.array([3.0, 4.5])
    assert relative_error([real], [other]) == pytest.approx(0.25 / 25)
    assert relative_error([real, real], [real, other]) == pytest.approx(0.25 / 50)
    assert relative_error([np.zeros(2)], [np.zeros(2)]) == 0
    assert relative_error([np.zeros(2)], [other]) == 1
    assert relative_error([real], [np.zeros(3)]) == 1  # as many boxes as that were not there
    assert relative_error([real], [np.array([3.0, np.nan])]) == 1
    masked = np.array([3.0, 4.0, -np.inf, np.nan])
    assert relative_error([masked], [masked]) == 0
    assert relative_error([masked], [masked + np.array([0, 0.5, 0, 0])]) == pytest.approx(0.25 / 25)
    assert relative_error([np.array([True, False])], [np.array([True, True])]) == 1


def test_outputs_that_do_no_harm_may_be_integers():
    """Beside an output of steady size, one with a channel a hundred times larger."""
    net = SmallGraph(SHAPE, 1)
    body = net.relu(net.conv(net.input, 8, 8))
    steady = net.conv(body, 8, 8)
    weights = net.weights(8, 8, 1, 1)
    weights[0] *= 1000
    spread = net.node("Conv", body, net.constant(weights))
    small = net.node("Slice", spread, *(net.constant(np.array([n])) for n in (1, 8, 1)))
    model = prepare(net.model(net.node("Sigmoid", steady), net.node("Sigmoid", small)))
    last = names_of(model)[1:]
    assert harmless_outputs(model, BATCHES, StaticSettings()) <= {last[0]}
    everything = harmless_outputs(model, BATCHES, StaticSettings(), lambda a, b: 0.0)
    assert everything == set(last)
    nothing = harmless_outputs(
        model, BATCHES, StaticSettings(), lambda a, b: float(not np.array_equal(a[0], b[0])
                                                             or not np.array_equal(a[1], b[1])))
    assert nothing == frozenset()
    flat = chain(1)  # its last convolution is averaged: no harm in integers, or float anyway
    assert harmless_outputs(flat, BATCHES, StaticSettings()) <= set(names_of(flat))


# Boxes and scores


def cells(*rows):
    return [np.array([rows], np.float64)]


def test_detections_distance_in_closed_form():
    """One object of score 0.5: box moved by a width, then its score halved; then nothing."""
    real = cells([0.0, 0.0, np.log(2), 0.0, 0.5, 1.0], [3.0, 3.0, 0.0, 0.0, 0.0, 1.0])
    moved = cells([2.0, 0.0, np.log(2), 0.0, 0.5, 1.0], [9.0, 9.0, 1.0, 1.0, 0.0, 1.0])
    weaker = cells([0.0, 0.0, np.log(2), 0.0, 0.25, 1.0], [3.0, 3.0, 0.0, 0.0, 0.0, 1.0])
    assert detections_distance(real, real) == 0
    assert detections_distance(real, moved) == pytest.approx(1)  # cells without objects: nothing
    assert detections_distance(real, weaker) == pytest.approx(0.25)
