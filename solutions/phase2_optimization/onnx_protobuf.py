"""ONNX's protobuf messages: reading and writing files, attributes of nodes, names in subgraphs."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zoo.errors import InferenceError, MissingExtraError

Model = Any  # onnx.ModelProto: onnx ships no types that mypy can use
Node = Any  # onnx.NodeProto
Graph = Any  # onnx.GraphProto
Tensor = Any  # onnx.TensorProto
Array = NDArray[Any]

SUBGRAPHS = frozenset({"If", "Loop", "Scan"})
GRAPH, GRAPHS = 5, 10  # AttributeProto.AttributeType


def require_onnx() -> Any:
    """The onnx package; raises MissingExtraError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "learn") from error
    return onnx


def load_onnx(path: Path) -> Model:
    """Read an ONNX file, external data included.

    Raises InferenceError where the file or a file of external data is missing or broken.
    """
    onnx = require_onnx()
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's, onnx's and the file system's
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InferenceError(f"{path}: cannot be read as an ONNX model: {reason}") from error


def check_place(path: Path) -> None:
    """Raise InferenceError where no model can be written; to be asked before the work is done."""
    if path.is_dir():
        raise InferenceError(f"{path} is a folder: name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InferenceError(f"{path} cannot be written: {error.strerror}") from error


def save_onnx(model: Model, path: Path) -> None:
    """Write a model; under its name only when whole. Raises InferenceError where it cannot be."""
    handle, name = -1, ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(model.SerializeToString())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise InferenceError(f"{path} cannot be written: {error.strerror}") from error
    except ValueError as error:  # protobuf's limit of 2 GB
        raise InferenceError(f"{path}: the model is too large for one file: {error}") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def copy_model(model: Model) -> Model:
    """A deep copy."""
    copy = require_onnx().ModelProto()
    copy.CopyFrom(model)
    return copy


def copied(message: Any) -> Any:
    """A deep copy of any protobuf message."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def copy_without_weights(model: Model) -> Model:
    """A deep copy of all but the main graph's initializers, which are most of a model's bytes."""
    copy = require_onnx().ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            _copy_fields(value, copy.graph, leave="initializer")
        elif field.is_repeated:
            getattr(copy, field.name).extend(value)
        else:
            setattr(copy, field.name, value)
    return copy


def _copy_fields(source: Graph, target: Graph, leave: str) -> None:
    for field, value in source.ListFields():
        if field.is_repeated and field.name != leave:
            getattr(target, field.name).extend(value)
        elif not field.is_repeated:
            setattr(target, field.name, value)


def operator(node: Node) -> str:
    """What a node does: ONNX's own operators by their name, others with their domain in front."""
    own = node.domain in ("", "ai.onnx")
    return str(node.op_type) if own else f"{node.domain}.{node.op_type}"


def attribute(node: Node, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, text decoded, or ``default``."""
    for found in node.attribute:
        if found.name == name:
            value = require_onnx().helper.get_attribute_value(found)
            return value.decode() if isinstance(value, bytes) else value
    return default


def set_attribute(node: Node, name: str, value: Any) -> None:
    """Replace or add an attribute."""
    kept = [found for found in node.attribute if found.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, require_onnx().helper.make_attribute(name, value)])


def subgraphs(node: Node) -> Iterator[Graph]:
    """The graphs that a node holds in its attributes: the branches of If, the bodies of loops."""
    for item in node.attribute:
        if item.type == GRAPH:
            yield item.g
        elif item.type == GRAPHS:
            yield from item.graphs


def captured_names(node: Node) -> set[str]:
    """Names that the subgraphs of a node read, those of outside included."""
    found: set[str] = set()
    for graph in subgraphs(node):
        found.update(value.name for value in graph.output)
        for inner in graph.node:
            found.update(filter(None, inner.input))
            found |= captured_names(inner)
    return found


def names_inside(graph: Graph) -> set[str]:
    """Every name that a graph and its subgraphs use, for values and for nodes."""
    found = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    found.update(tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        found.update((node.name, *node.input, *node.output))
        for inner in subgraphs(node):
            found |= names_inside(inner)
    return found
