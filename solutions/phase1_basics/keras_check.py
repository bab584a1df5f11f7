"""Keras: a description in JSON that names classes, some of which run what they are given.

A ``Lambda`` layer carries marshalled byte code. A ``module`` and a ``class_name`` may name any
Python object, and an ``activation`` any function in Keras, ``keras.utils.get_file`` among them.
So everything that is named must be on a list: classes that compute, activations that compute.
Nothing may be registered under a package of its own, and nothing may name a file.
"""

import json
from pathlib import Path
from typing import Any

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.hdf5_check import check_hdf5
from solutions.phase1_basics.protobuf_wire import LENGTH, WireReader
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from solutions.phase1_basics.zip_archive import ZipArchive
from zoo.errors import InferenceError

JSON_LIMIT = 32 << 20  # bytes
RUNS_CODE = {
    "Lambda": "runs byte code", "__lambda__": "is byte code", "TFSMLayer": "loads another model",
    "TorchModuleWrapper": "loads a pickle", "FlaxLayer": "runs byte code",
    "JaxLayer": "runs byte code", "__typespec__": "names any type",
    "TFOpLambda": "names any function", "SlicingOpLambda": "names any function",
    "ClassMethod": "names any function",
}
FUNCTIONS = {
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign",
    "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink",
    "threshold", "softmax_v2",
    "binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy",
    "mean_squared_error", "mean_absolute_error", "mse", "mae", "huber", "log_cosh", "hinge",
    "kl_divergence", "poisson", "cosine_similarity", "accuracy", "binary_accuracy",
    "categorical_accuracy", "sparse_categorical_accuracy",
}
MODULES = {
    "keras", "keras.activations", "keras.constraints", "keras.dtype_policies",
    "keras.initializers", "keras.layers", "keras.losses", "keras.metrics", "keras.models",
    "keras.optimizers", "keras.optimizers.schedules", "keras.quantizers", "keras.random",
    "keras.regularizers", "builtins",
    # what `x * y` and keras.ops.relu(x) leave in a model: arithmetic on tensors
    "keras.src.ops.linalg", "keras.src.ops.math", "keras.src.ops.nn", "keras.src.ops.numpy",
}
FOLDERS = ("activations", "constraints", "dtype_policies", "engine", "initializers", "layers",
           "losses", "metrics", "models", "optimizers", "quantizers", "random", "regularizers")
FILE_KEYS = {"vocabulary", "idf_weights", "filepath", "file"}


def check_keras(file: FileBytes, trust: bool = False) -> None:
    """A ``.keras`` archive: its zip, its description, its weights.

    Raises UnsafeModelError that names the class, function or file; InferenceError where damaged.
    ``trust`` allows classes that run code.
    """
    archive = ZipArchive(file)
    config = parse_json(archive.read("config.json", JSON_LIMIT), file.path)
    if not trust:
        check_config(config, file.path)
    for name in archive.entries:
        if not (name in ("config.json", "metadata.json") or name.endswith(".weights.h5")
                or name.startswith("assets/")):
            raise UnsafeModelError(f"model {file.path}: the entry {name!r} is no part of a model")
        if name.endswith(".weights.h5"):
            check_hdf5(file.path, archive, name)


def check_keras_h5(file: FileBytes, trust: bool = False) -> None:
    """An HDF5 file of Keras: its description where it holds one, and every dataset."""
    text = check_hdf5(file.path)
    if text is not None and not trust:
        check_config(parse_json(text, file.path), file.path)


def check_keras_metadata(folder: Path, trust: bool = False) -> None:
    """The descriptions of layers that Keras 2 left beside a SavedModel."""
    path = folder / "keras_metadata.pb"
    if trust or not path.exists():
        return
    with FileBytes(path) as file:
        reader = WireReader(file)
        for node in reader.fields(reader.whole(), "Keras metadata"):
            if node.wire_type != LENGTH:
                continue
            for field in reader.fields(node.span, "a saved object"):
                if field.wire_type == LENGTH and field.number == 5:
                    raw = file.read(field.span.start, field.span.end - field.span.start, "JSON")
                    if raw.lstrip().startswith(b"{"):
                        check_config(parse_json(raw, path), path)


def parse_json(raw: bytes, path: Path) -> Any:
    """JSON within bounds. Raises InferenceError where it is none, or nested too deeply."""
    if len(raw) > JSON_LIMIT:
        raise InferenceError(f"model {path}: a description of {len(raw)} bytes")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InferenceError(f"model {path}: its description is no JSON: {error}") from error


def check_config(config: Any, path: Path) -> None:
    """Raise UnsafeModelError for anything in a description that could run code or read files."""
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            _check_object(value, path)
            pending += value.values()


def _check_object(value: dict[str, Any], path: Path) -> None:
    """One object of the description."""
    kind, module = value.get("class_name"), value.get("module")
    registered = value.get("registered_name")
    if "class_name" in value:
        _check_class(kind, value.get("config"), path)
    if module is not None and not is_keras_module(module):
        raise UnsafeModelError(f"model {path}: {kind} of the module {module!r} is not Keras's own")
    if module == "builtins" and kind != "function":
        raise UnsafeModelError(f"model {path}: {kind} of the module 'builtins' is not Keras's own")
    if registered is not None and (not isinstance(registered, str) or ">" in registered):
        raise UnsafeModelError(f"model {path}: {registered!r} is a custom object")
    for key in FILE_KEYS & set(value):
        if isinstance(value[key], str):
            raise UnsafeModelError(f"model {path}: {key} names the file {value[key][:200]!r}")
    for key in ("activation", "recurrent_activation", "fn_name", "function"):
        name = value.get(key)
        if isinstance(name, str) and name not in FUNCTIONS:
            raise UnsafeModelError(f"model {path}: {name[:200]!r} is no activation of Keras's")


def _check_class(kind: Any, config: Any, path: Path) -> None:
    if not isinstance(kind, str) or ">" in kind or "." in kind:
        raise UnsafeModelError(f"model {path}: {str(kind)[:200]!r} is a custom object")
    if kind in RUNS_CODE:
        raise UnsafeModelError(f"model {path}: {kind} {RUNS_CODE[kind]}")
    if kind == "function" and (not isinstance(config, str) or config not in FUNCTIONS):
        raise UnsafeModelError(f"model {path}: the function {str(config)[:200]!r} is not allowed")


def is_keras_module(module: Any) -> bool:
    """Whether a module holds Keras's own computing classes."""
    if not isinstance(module, str):
        return False
    parts = module.split(".")
    within = parts[2:] if parts[:2] == ["keras", "src"] else parts[1:]
    return module in MODULES or (
        parts[0] == "keras" and bool(within) and within[0] in FOLDERS
        and all(part.isidentifier() and not part.startswith("__") for part in parts)
    )
