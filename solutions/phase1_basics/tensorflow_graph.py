"""TensorFlow's graphs read from the wire: operations, what feeds them, what they call.

Field numbers: ``saved_model.proto``, ``meta_graph.proto``, ``graph.proto``, ``function.proto``,
``node_def.proto``, ``attr_value.proto``, ``tensor.proto``.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.protobuf_wire import LENGTH, Span, WireReader
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from zoo.errors import InferenceError

OPERATORS = Path(__file__).with_name("tensorflow_operators.txt")
PATH_LIMIT = 4096  # bytes; no longer text can name a file
NODE_LIMIT = 300_000
SIZE_LIMIT = (1 << 31) - 1
DEPTH_LIMIT = 32


@dataclass(slots=True)
class Node:
    """One operation of a graph: what it is, what feeds it, which functions it names."""

    name: str = ""
    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)  # a constant's strings


class Graphs(NamedTuple):
    """All nodes of a file: by graph (None) or by function, and the names of assets."""

    scopes: dict[str | None, list[Node]]
    assets: list[str]


@cache
def computing_operators() -> frozenset[str]:
    """The operators of TensorFlow that only compute."""
    lines = OPERATORS.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def read_saved_model(file: FileBytes) -> Graphs:
    """All graphs, functions and asset names of a SavedModel message."""
    _require_size(file)
    reader = WireReader(file)
    graphs = Graphs({}, [])
    for model in _messages(reader, reader.whole(), "the SavedModel", 2):
        for each in reader.fields(model, "a meta graph"):
            if each.number == 2 and each.wire_type == LENGTH:
                _read_graph(reader, each.span, graphs)
            elif each.number == 6 and each.wire_type == LENGTH:
                graphs.assets.extend(_text(reader, each.span, 2))
    if not graphs.scopes:
        raise InferenceError(f"model {file.path}: a SavedModel without a graph")
    return graphs


def _require_size(file: FileBytes) -> None:
    if file.size > SIZE_LIMIT:
        raise InferenceError(f"model {file.path}: {file.size} bytes, more than a graph can have")


def read_frozen_graph(file: FileBytes) -> Graphs:
    """All nodes and functions of a GraphDef message."""
    _require_size(file)
    reader = WireReader(file)
    graphs = Graphs({}, [])
    _read_graph(reader, reader.whole(), graphs)
    return graphs


def _read_graph(reader: WireReader, span: Span, graphs: Graphs) -> None:
    """A GraphDef: its nodes, and those of the functions in its library."""
    nodes = graphs.scopes.setdefault(None, [])
    for each in reader.fields(span, "a graph"):
        if each.wire_type != LENGTH:
            continue
        if each.number == 1:
            nodes.append(_read_node(reader, each.span))
            if len(nodes) > NODE_LIMIT:
                raise InferenceError(f"model {reader.file.path}: more than {NODE_LIMIT} nodes")
        elif each.number == 2:
            for function in _messages(reader, each.span, "a library", 1):
                _read_function(reader, function, graphs)


def _read_function(reader: WireReader, span: Span, graphs: Graphs) -> None:
    names: list[str] = []
    nodes: list[Node] = []
    for each in reader.fields(span, "a function"):
        if each.number == 1 and each.wire_type == LENGTH:
            names += _text(reader, each.span, 1)
        elif each.number == 3 and each.wire_type == LENGTH:
            nodes.append(_read_node(reader, each.span))
    if sum(map(len, graphs.scopes.values())) + len(nodes) > NODE_LIMIT:
        raise InferenceError(f"model {reader.file.path}: more than {NODE_LIMIT} nodes")
    if not names or names[-1] in computing_operators():
        raise UnsafeModelError(
            f"model {reader.file.path}: a function with the name of an operator: {names}"
        )
    graphs.scopes.setdefault(names[-1], []).extend(nodes)


def _read_node(reader: WireReader, span: Span) -> Node:
    node = Node()
    for each in reader.fields(span, "a node"):
        if each.wire_type != LENGTH:
            continue
        if each.number == 1:
            node.name = reader.text(each.span, "node name")
        elif each.number == 2:
            node.operator = reader.text(each.span, "operator")
        elif each.number == 3:
            node.inputs.append(reader.text(each.span, "input"))
        elif each.number == 5:
            for value in _messages(reader, each.span, "an attribute", 2):
                _read_attribute(reader, value, node, 0)
    return node


def _read_attribute(reader: WireReader, span: Span, node: Node, depth: int) -> None:
    """An AttrValue: the functions that it names, the strings of a constant."""
    if depth > DEPTH_LIMIT:
        raise InferenceError(f"model {reader.file.path}: attributes nested too deeply")
    for each in reader.fields(span, "a value"):
        if each.wire_type != LENGTH:
            continue
        if each.number == 10:  # func: NameAttrList {name = 1, attr = 2}
            _read_named(reader, each.span, node, depth)
        elif each.number == 1:  # list: its functions are field 9
            for function in _messages(reader, each.span, "a list", 9):
                _read_named(reader, function, node, depth)
        elif each.number == 8:  # tensor: strings are field 8
            for text in _messages(reader, each.span, "a constant", 8):
                if text.end - text.start <= PATH_LIMIT:
                    node.texts.append(reader.text(text, "a text"))


def _read_named(reader: WireReader, span: Span, node: Node, depth: int) -> None:
    for each in reader.fields(span, "a function's name"):
        if each.number == 1 and each.wire_type == LENGTH:
            node.functions.add(reader.text(each.span, "function name"))
        elif each.number == 2 and each.wire_type == LENGTH:
            for value in _messages(reader, each.span, "an attribute", 2):
                _read_attribute(reader, value, node, depth + 1)


def _messages(reader: WireReader, span: Span, what: str, number: int) -> list[Span]:
    return [
        each.span for each in reader.fields(span, what)
        if each.number == number and each.wire_type == LENGTH
    ]


def _text(reader: WireReader, span: Span, number: int) -> list[str]:
    return [reader.text(each, "a name") for each in _messages(reader, span, "a name", number)]
