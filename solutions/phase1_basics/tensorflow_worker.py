"""TensorFlow and Keras models, in the worker process that runs them.

Imports TensorFlow, NumPy and nothing heavier, so that any Python environment with TensorFlow
will do.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[2])

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
tempfile.tempdir = os.sep  # TensorFlow asks where it could write; here it could nowhere

import tensorflow as tf

from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase1_basics.worker_side import Arrays, Loaded, serve

SERVING = "serving_default"


def load(request: dict[str, Any]) -> Loaded:
    """The model in the file or folder that the request names."""
    path, threads = str(request["path"]), int(request["threads"])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    loaders: dict[str, Callable[[str], Loaded]] = {
        "saved_model": _saved_model, "frozen_graph": _frozen_graph,
    }
    if request["format"] in ("keras", "keras_h5"):
        return _keras(path, safe_mode=not request["trust"])
    return loaders[str(request["format"])](path)


def _saved_model(path: str) -> Loaded:
    """The signature ``serving_default``, else the first one whose inputs are numbers."""
    model = tf.saved_model.load(path)
    names = sorted(model.signatures, key=lambda name: name != SERVING)
    for name in names:
        signature = model.signatures[name]
        inputs = list(signature.structured_input_signature[1].values())
        if all(spec.dtype != tf.string for spec in inputs):
            break
    else:
        raise ValueError(f"no signature that takes numbers (has: {', '.join(names) or 'none'})")
    outputs = signature.structured_outputs
    keys = [spec.name for spec in inputs]

    def run(arrays: Arrays) -> Arrays:
        given = {key: tf.constant(array) for key, array in zip(keys, arrays, strict=True)}
        found = signature(**given)
        return [found[key].numpy() for key in outputs]

    # A SavedModel of TensorFlow 1 lists its variables on the signature's graph alone.
    variables = signature.variables or getattr(model, "variables", ())
    specs = tuple(_spec(key, tensor) for key, tensor in outputs.items())
    return Loaded(run, tuple(_spec(spec.name, spec) for spec in inputs), specs,
                  f"TensorFlow {tf.__version__} (signature {name})", _count(variables))


def _frozen_graph(path: str) -> Loaded:
    """Placeholders in, tensors that nothing consumes out."""
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    wrapped = tf.compat.v1.wrap_function(
        lambda: tf.compat.v1.import_graph_def(graph_def, name=""), []
    )
    operations = wrapped.graph.get_operations()
    inputs = [op.outputs[0] for op in operations if op.type == "Placeholder"]
    outputs = [
        tensor for op in operations for tensor in op.outputs
        if not tensor.consumers() and op.type not in ("Placeholder", "Const", "NoOp")
    ]
    pruned = wrapped.prune(inputs, outputs)

    def run(arrays: Arrays) -> Arrays:
        return [tensor.numpy() for tensor in pruned(*map(tf.constant, arrays))]

    constants = sum(op.outputs[0].shape.num_elements() or 0 for op in operations
                    if op.type == "Const")
    return Loaded(run, tuple(_spec(t.op.name, t) for t in inputs),
                  tuple(_spec(t.op.name, t) for t in outputs),
                  f"TensorFlow {tf.__version__} (frozen graph)", constants)


def _keras(path: str, safe_mode: bool) -> Loaded:
    import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=safe_mode)

    def run(arrays: Arrays) -> Arrays:
        found = model(arrays[0] if len(arrays) == 1 else arrays, training=False)
        return [tensor.numpy() for tensor in tf.nest.flatten(found)]

    return Loaded(run, tuple(_spec(t.name, t) for t in model.inputs),
                  tuple(_spec(t.name, t) for t in model.outputs),
                  f"Keras {keras.__version__}", int(model.count_params()))


def _spec(name: str, tensor: Any) -> TensorSpec:
    """Of a TensorFlow or Keras tensor; unknown dimensions count as one of any size."""
    shape = getattr(tensor.shape, "dims", tensor.shape)
    sizes = (None,) if shape is None else tuple(shape)
    numbers = tuple(None if size is None else getattr(size, "value", size) for size in sizes)
    dtype = tensor.dtype
    return TensorSpec(name, numbers, dtype if isinstance(dtype, str) else dtype.name)


def _count(variables: Any) -> int | None:
    return sum(variable.shape.num_elements() or 0 for variable in variables) or None


if __name__ == "__main__":
    serve(load)
