"""TensorFlow and Keras models, run by whatever environment has TensorFlow."""

import importlib.util
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.worker_model import TENSORFLOW_PYTHON, tensorflow_python
from zoo import registry
from zoo.errors import InferenceError

MAKE = """
import sys
import numpy as np
import tensorflow as tf
import keras

keras.utils.set_random_seed(0)
folder = sys.argv[1]
inputs = keras.Input((8, 8, 3))
hidden = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
hidden = keras.layers.GlobalAveragePooling2D()(hidden)
outputs = keras.layers.Dense(5, activation="softmax")(hidden)
model = keras.Model(inputs, outputs)
model.save(folder + "/plain.keras")
model.save(folder + "/plain.h5")
model.export(folder + "/exported", verbose=False)
other = keras.Input((5,))
pair = [keras.layers.Add()([outputs, other]), outputs * other]  # a layer, and an operator
two = keras.Model([inputs, other], pair)
two.save(folder + "/two.keras")
images = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
np.savez(folder + "/known.npz", images=images, scores=model(images, training=False).numpy())

frozen = tf.function(lambda x: tf.nn.relu(x) * 3.0 + 1.0).get_concrete_function(
    tf.TensorSpec([None, 4], tf.float32, name="x"))
tf.io.write_graph(frozen.graph.as_graph_def(), folder, "frozen.pb", as_text=False)
"""


def interpreter() -> str:
    """An interpreter with TensorFlow; skips where there is none."""
    found = tensorflow_python()
    here = TENSORFLOW_PYTHON not in os.environ and importlib.util.find_spec("tensorflow") is None
    if here or not Path(found).exists():
        pytest.skip(f"no TensorFlow: make tensorflow, and name its interpreter in "
                    f"{TENSORFLOW_PYTHON}")
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """The same Keras network in three formats, one with two inputs, and a frozen graph."""
    folder = tmp_path_factory.mktemp("tensorflow")
    done = subprocess.run(
        [interpreter(), "-c", MAKE, str(folder)], capture_output=True, text=True, timeout=200,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_half_plus_two_gives_two_and_a_half_for_one() -> None:
    interpreter()
    path = registry.available(registry.find("half-plus-two"))
    if path is None:
        pytest.skip("half-plus-two is not here: python -m zoo get half-plus-two")
    model = load_model(path)
    assert model.predict(np.array([[1]], np.float32)).tolist() == [[2.5]]
    values = np.random.default_rng(0).normal(size=(7, 1)).astype(np.float32)
    np.testing.assert_allclose(model.predict(values), values / 2 + 2, rtol=1e-6)
    assert model.input_spec[0].shape == (None, 1) and model.input_spec[0].name == "x"
    assert "TensorFlow" in model.about.runtime
    model.close()


@pytest.mark.parametrize("name", ["plain.keras", "plain.h5", "exported"])
def test_keras_networks_give_what_keras_gave(models, name) -> None:
    known = np.load(models / "known.npz")
    model = load_model(models / name)
    np.testing.assert_allclose(model.predict(known["images"]), known["scores"], atol=1e-6)
    assert model.input_spec[0].shape == (None, 8, 8, 3)
    assert model.output_spec[0].shape == (None, 5)
    assert model.about.parameters == 3 * 3 * 3 * 4 + 4 + 4 * 5 + 5
    with pytest.raises(InferenceError, match="does not fit"):
        model.predict(known["images"][..., :2])
    model.close()


def test_two_inputs_and_two_outputs_keep_their_order(models) -> None:
    known = np.load(models / "known.npz")
    model = load_model(models / "two.keras")
    other = np.arange(15, dtype=np.float32).reshape(3, 5)
    total, product = model.run(known["images"], other)
    np.testing.assert_allclose(total, known["scores"] + other, atol=1e-5)
    np.testing.assert_allclose(product, known["scores"] * other, atol=1e-5)
    with pytest.raises(InferenceError, match="1 inputs given, not 2"):
        model.predict(known["images"])
    model.close()


def test_a_frozen_graph_runs_from_placeholders_to_its_end(models) -> None:
    model = load_model(models / "frozen.pb")
    values = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(model.predict(values), np.maximum(values, 0) * 3 + 1, rtol=1e-6)
    model.close()
