"""An ONNX graph that can be edited: who makes a tensor, who reads it, which tensors are constant.

ONNX stores a graph as a list of nodes that name their tensors; every rewrite needs the two
directions of those names. ``OnnxGraph`` keeps the constants as arrays, answers both questions, and
writes everything back with :meth:`OnnxGraph.to_model`.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zoo.errors import InferenceError, MissingExtraError

Model = Any  # onnx.ModelProto: onnx ships no types that mypy can use
Node = Any  # onnx.NodeProto
Array = NDArray[Any]

SUBGRAPHS = frozenset({"If", "Loop", "Scan"})


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


class OnnxGraph:
    """The main graph of a model, for editing; the model given is not changed.

    ``constants`` holds initializers that no caller can override, as arrays by name.
    """

    def __init__(self, model: Model) -> None:
        onnx = require_onnx()
        self.model = copy_model(model)
        graph = self.model.graph
        self.outputs: list[str] = [value.name for value in graph.output]
        self.constants: dict[str, Array] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self.inputs: list[str] = [
            value.name for value in graph.input if value.name not in self.constants
        ]
        self.nodes: list[Node] = list(graph.node)
        self.captured: set[str] = {name for node in self.nodes for name in _captured(node)}
        self._number = 0
        self.refresh()

    def refresh(self) -> None:
        """Look up producers and readers anew, after nodes were added, removed or rewired."""
        self.producer: dict[str, Node] = {}
        self._readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            self.producer.update((name, node) for name in node.output if name)
            for name in dict.fromkeys(node.input):
                self._readers.setdefault(name, []).append(node)

    def uses(self, name: str) -> list[Node]:
        """The nodes that read a tensor, each once."""
        return self._readers.get(name, [])

    def is_private(self, name: str) -> bool:
        """Whether one node alone reads a tensor, and neither the caller nor a subgraph does."""
        seen_outside = name in self.outputs or name in self.captured
        return len(self.uses(name)) == 1 and not seen_outside

    def activations(self, node: Node) -> list[str]:
        """The inputs of a node that depend on the data."""
        return [name for name in node.input if name and name not in self.constants]

    def set_constant(self, name: str, values: Array) -> str:
        """Add or replace a constant; gives back its name."""
        self.constants[name] = values
        return name

    def rename_uses(self, old: str, new: str, nodes: Iterable[Node] | None = None) -> None:
        """Let nodes (all, if not given) read ``new`` where they read ``old``."""
        for node in self.nodes if nodes is None else nodes:
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new

    def remove(self, nodes: Iterable[Node]) -> None:
        """Take nodes out; what they made must not be read any more."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]
        self.refresh()

    def remove_unread(self) -> int:
        """Take out nodes whose outputs nobody reads; how many there were."""
        before = len(self.nodes)
        while True:
            kept = set(self.outputs) | self.captured
            unread = [n for n in self.nodes if not any(self.uses(o) or o in kept for o in n.output)]
            if not unread:
                return before - len(self.nodes)
            self.remove(unread)

    def fresh(self, stem: str) -> str:
        """A tensor or node name that does not occur yet."""
        self._number += 1
        return f"{stem}_{self._number}"

    def ordered(self) -> Iterator[Node]:
        """The nodes in an order in which each finds its inputs made."""
        waiting = {id(n): sum(i in self.producer for i in _read_by(n)) for n in self.nodes}
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in _read_by(node):
                readers.setdefault(name, []).append(node)
        ready = [node for node in reversed(self.nodes) if not waiting[id(node)]]
        while ready:
            node = ready.pop()
            yield node
            for name in node.output:
                for reader in readers.get(name, []):
                    waiting[id(reader)] -= 1
                    if not waiting[id(reader)]:
                        ready.append(reader)

    def to_model(self) -> Model:
        """The edited model: nodes in order, constants that nobody reads left out."""
        onnx = require_onnx()
        self.refresh()
        nodes = list(self.ordered())
        assert len(nodes) == len(self.nodes), "the graph has a cycle"
        read = {name for node in nodes for name in _read_by(node)} | set(self.outputs)
        graph = self.model.graph
        names = {value.name for value in graph.input}
        kept = {k: v for k, v in self.constants.items() if k in read and k not in names}
        overridden = {k: v for k, v in self.constants.items() if k in names}
        copied = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(copied)
        for name, values in (kept | overridden).items():
            graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        self.nodes = list(graph.node)
        self.refresh()
        return self.model


def _captured(node: Node) -> set[str]:
    """Names that the subgraphs of a node (If, Loop, Scan) read, those of outside included."""
    found: set[str] = set()
    for item in node.attribute:
        for graph in ([item.g] if item.HasField("g") else []) + list(item.graphs):
            found.update(value.name for value in graph.output)
            for inner in graph.node:
                found.update(inner.input)
                found |= _captured(inner)
    return found


def _read_by(node: Node) -> set[str]:
    return {name for name in node.input if name} | _captured(node)
