"""The zoo's INT8 detectors: what their cards say is so, and the quantizer makes them anew."""

import json
import re
from collections import Counter
from dataclasses import fields

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_graphs import SmallGraph, fused_operators, normal_batches

from solutions.phase2_optimization.build_zoo import (
    HELD_OUT_STREETS,
    RECIPES,
    quantize_detector,
    with_recipe,
    write_card,
)
from solutions.phase2_optimization.detections_distance import detections_distance
from solutions.phase2_optimization.detector_tasks import street_task
from solutions.phase2_optimization.evaluation_task import Task, onnx_run
from solutions.phase2_optimization.variants import VariantMaker
from zoo.evaluate import DetectionScores
from zoo.registry import MODELS, find, int8_form, sha256_of

SIZES = ("small", "middle", "large")


def entry_of(size):
    return find(f"zoo:street-{size}-int8")


def shipped(size):
    return onnx.load(MODELS / entry_of(size).file)


def metadata(model):
    return {item.key: item.value for item in model.metadata_props}


def scores_of(name):
    kept = json.loads((MODELS / "scores.json").read_text())[name]
    assert kept.pop("streets") == HELD_OUT_STREETS
    assert set(kept) == {field.name for field in fields(DetectionScores)}
    return DetectionScores(**kept)


def reals(constants):
    """Scales, and the weights of layers in float; each value once."""
    found = [values.ravel() for values in constants.values() if values.dtype == np.float32]
    return np.unique(np.concatenate(found))


def card_of(size):
    return (MODELS / entry_of(size).file).with_suffix(".md").read_text()


# As they are


@pytest.mark.parametrize("size", SIZES)
def test_the_registry_knows_which_is_whose(size):
    entry, source = entry_of(size), find(f"zoo:street-{size}")
    assert int8_form(source.name) == entry and entry.quantized_from == source.name
    assert (entry.layout, entry.strides, entry.labels, entry.input) == (
        source.layout, source.strides, source.labels, source.input)
    sums = dict(reversed(line.split()) for line in
                (MODELS / "SHA256SUMS").read_text().splitlines())
    assert sums[entry.file] == sha256_of(MODELS / entry.file)


@pytest.mark.parametrize("size", SIZES)
def test_the_model_carries_its_description(size):
    model, source = shipped(size), onnx.load(MODELS / find(f"zoo:street-{size}").file)
    onnx.checker.check_model(model)
    assert metadata(model) == metadata(source) | {"quantization": metadata(model)["quantization"]}
    assert metadata(model)["quantization"] in RECIPES
    for side in ("input", "output"):
        assert list(getattr(model.graph, side)) == list(getattr(source.graph, side))


@pytest.mark.parametrize("size", SIZES)
def test_the_card_agrees_with_the_model_and_the_scores(size, tmp_path):
    entry, text, model = entry_of(size), card_of(size), shipped(size)
    own, real = scores_of(f"street-{size}-int8"), scores_of(f"street-{size}")
    assert (f"mAP@0.5 {100 * own.map50:.1f}, mAP@0.5:0.95 {100 * own.map:.1f} on 16 streets "
            f"(float32: {100 * real.map50:.1f} and {100 * real.map:.1f})") in text
    bytes_ = [(MODELS / f"street-{size}{end}.onnx").stat().st_size for end in ("-int8", "")]
    assert f"{bytes_[0]:,} bytes as ONNX (float32: {bytes_[1]:,})" in text
    assert f'recipe "{metadata(model)["quantization"]}"' in text and f"# {entry.name}\n" in text
    integer, layers = map(int, re.search(r"(\d+) of (\d+) layers", text).groups())
    named = re.findall(r"^- `(.+?)`: ", text, re.M)
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert len(convolutions) == layers and len(named) == layers - integer
    assert set(named) <= convolutions
    assert fused_operators(model, tmp_path)["QLinearConv"] == integer  # as ONNX Runtime runs it


@pytest.mark.parametrize("size", SIZES)
def test_nothing_worth_mentioning_is_lost(size):
    own, real = scores_of(f"street-{size}-int8"), scores_of(f"street-{size}")
    assert own.map >= 0.99 * real.map and own.map50 >= 0.99 * real.map50
    sizes = [(MODELS / f"street-{size}{end}.onnx").stat().st_size for end in ("-int8", "")]
    assert sizes[0] < sizes[1] / 2


# Made anew


def small_task(metric=lambda run: 0.5):
    net = SmallGraph([1, 8, 12, 12], 4)
    y = net.relu(net.conv(net.input, 8, 8))
    return Task("small", net.model(net.conv(y, 6, 8, kernel=1)),
                normal_batches([1, 8, 12, 12], 6), metric, "scripted")


@pytest.mark.parametrize("best", range(len(RECIPES)))
def test_the_best_on_validation_is_kept(best):
    scores, said = iter([0.9 if place == best else 0.5 for place in range(len(RECIPES))]), []
    recipe, made = quantize_detector(small_task(lambda run: next(scores)), said.append)
    assert recipe == RECIPES[best] and len(said) == len(RECIPES)
    expected = VariantMaker(small_task()).recipes()[recipe]()
    assert made.model.SerializeToString() == expected.model.SerializeToString()  # same twice


def test_a_note_of_the_recipe_joins_what_is_there():
    model = small_task().model
    onnx.helper.set_model_props(model, {"layout": "yolox"})
    assert metadata(with_recipe(model, "careful")) == {"layout": "yolox", "quantization": "careful"}
    assert metadata(with_recipe(model, "static mse"))["quantization"] == "static mse"


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_the_quantizer_makes_it_anew(size, tmp_path):
    """The same operators on the same numbers, as near as processors round alike.

    Ranges differ in their last digits between processors, so a scale may, too, and a weight on the
    border of two steps may fall the other way, as AdaRound's near ties do.
    """
    entry, source, before = entry_of(size), find(f"zoo:street-{size}"), shipped(size)
    recipe = metadata(before)["quantization"]
    task = street_task(source)
    made = VariantMaker(task).recipes()[recipe]()
    after = with_recipe(made.model, recipe)
    assert Counter(n.op_type for n in before.graph.node) == Counter(
        n.op_type for n in after.graph.node)
    old, new = ({t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
                for model in (before, after))
    for ending, most in (("/weight/integer", 1), ("/bias/integer", None)):
        layers = {name for name in old if name.endswith(ending)}
        assert layers and layers == {name for name in new if name.endswith(ending)}
        for name in layers:
            away = np.abs(old[name].astype(np.int64) - new[name])
            assert old[name].dtype == new[name].dtype, name
            if most is not None:
                assert away.max() <= most and away.mean() < 1e-3, name
            else:
                assert away.max() <= 0.005 * np.abs(old[name]).max(), name
    missing = [value for value in reals(old) if not np.isclose(value, reals(new), rtol=1e-3).any()]
    assert not missing
    given, found = (onnx_run(model)(task.example) for model in (before, after))
    assert detections_distance(given, found) < 1e-3
    for one in (entry, source):
        (tmp_path / one.file).write_bytes((MODELS / one.file).read_bytes())
    scores = scores_of(f"street-{size}-int8"), scores_of(f"street-{size}")
    write_card(entry, source, recipe, made, scores, tmp_path)
    written = (tmp_path / entry.file).with_suffix(".md").read_text()
    assert sorted(written.splitlines()) == sorted(card_of(size).splitlines())


@pytest.mark.slow
def test_the_zoos_own_scoring_finds_what_the_scores_say():
    """Over fewer streets than the card's: near it, and near the float model on the same ones."""
    from solutions.phase2_optimization.detector_tasks import score_on_streets
    from solutions.phase2_optimization.evaluation_task import onnx_run

    entry, source = entry_of("small"), find("zoo:street-small")
    own = score_on_streets(entry, onnx_run(shipped("small")), 2).map
    real = score_on_streets(source, onnx_run(onnx.load(MODELS / source.file)), 2).map
    assert own >= 0.98 * real > 0.3
