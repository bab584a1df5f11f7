"""TensorFlow graphs are programs: every operator in one is read before it may run.

A SavedModel or a frozen graph names its operators, and some of those leave the graph: ``PyFunc``
calls Python, ``WriteFile`` writes anywhere, ``ReadFile`` reads anything. So operators are held
against a list of those that only compute. Saving and restoring are on it, since every SavedModel
holds them; their file names are traced back to the constants that they come from, through calls of
the graph's own functions, and a constant that leaves the model's folder is refused.

Field numbers: ``saved_model.proto``, ``meta_graph.proto``, ``graph.proto``, ``function.proto``,
``node_def.proto``, ``attr_value.proto``, ``tensor.proto``.
"""

import os
import stat
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.keras_check import check_keras_metadata
from solutions.phase1_basics.protobuf_wire import LENGTH, Span, WireReader
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from zoo.errors import InferenceError

OPERATORS = Path(__file__).with_name("tensorflow_operators.txt")
FILE_OPERATORS = {
    "Save", "SaveV2", "SaveSlices", "Restore", "RestoreV2", "RestoreSlice", "MergeV2Checkpoints",
    "ShardedFilename", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2",
}
STRING_LIMIT = 1 << 16  # bytes of one constant text that is looked at
FOLDER_LIMIT = 10_000  # entries of a SavedModel's folder
SIZE_LIMIT = (1 << 31) - 1
DEPTH_LIMIT = 32


@dataclass
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


def check_saved_model(folder: Path, trust: bool = False) -> None:
    """Check a SavedModel's graph and its folder.

    Raises UnsafeModelError that names the operator and its node, the file name or the link;
    InferenceError where something is missing or damaged. ``trust`` allows every operator.
    """
    folder = folder.parent if folder.is_file() else folder
    check_folder(folder)
    with FileBytes(folder / "saved_model.pb") as file:
        graphs = read_saved_model(file)
        for asset in graphs.assets:
            if leaves_folder(asset):
                raise UnsafeModelError(f"model {folder}: the asset {asset[:200]!r} lies outside")
        if not trust:
            check_graphs(graphs, folder)
        check_keras_metadata(folder, trust)


def check_frozen_graph(file: FileBytes, trust: bool = False) -> None:
    """Check a file that holds one GraphDef; errors as :func:`check_saved_model`."""
    _require_size(file)
    reader = WireReader(file)
    graphs = Graphs({}, [])
    _read_graph(reader, reader.whole(), graphs)
    if not trust:
        check_graphs(graphs, file.path)


def check_graphs(graphs: Graphs, path: Path) -> None:
    """Raise UnsafeModelError for an operator that does more than compute, or a path outside."""
    allowed = computing_operators()
    for scope, nodes in graphs.scopes.items():
        for node in nodes:
            if node.operator not in allowed and node.operator not in graphs.scopes:
                place = f" of function {scope[:100]!r}" if scope else ""
                raise UnsafeModelError(
                    f"model {path}: the operator {node.operator[:100]!r} in node "
                    f"{node.name[:100]!r}{place} is not one that only computes"
                )
    touching = functions_touching_files(graphs)
    for nodes in graphs.scopes.values():
        for text in file_names(nodes, touching):
            if leaves_folder(text):
                raise UnsafeModelError(
                    f"model {path}: the graph reads or writes {text[:200]!r}, outside its folder"
                )


def functions_touching_files(graphs: Graphs) -> set[str]:
    """The functions in which a file is named, directly or in a function that they call."""
    touching: set[str] = set()
    grown = True
    while grown:
        before = len(touching)
        for scope, nodes in graphs.scopes.items():
            if scope is not None and any(_touches(node, touching) for node in nodes):
                touching.add(scope)
        grown = len(touching) > before
    return touching


def file_names(nodes: list[Node], touching: set[str]) -> list[str]:
    """The constant texts that reach an operation on files, within one graph or function."""
    by_name = {node.name: node for node in nodes}
    pending = [node.name for node in nodes if _touches(node, touching)]
    seen: set[str] = set()
    texts: list[str] = []
    while pending:
        name = pending.pop()
        node = by_name.get(name)
        if name in seen or node is None:
            continue
        seen.add(name)
        texts += node.texts
        pending += [each.lstrip("^").partition(":")[0] for each in node.inputs]
    return texts


def leaves_folder(name: str) -> bool:
    """Whether a file name leads out of the folder that it is meant for."""
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "~")) or ".." in parts or ":" in parts[0]


@cache
def computing_operators() -> frozenset[str]:
    """The operators of TensorFlow that only compute."""
    lines = OPERATORS.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def check_folder(folder: Path) -> None:
    """Raise UnsafeModelError for a link in the folder, InferenceError where files are missing."""
    count = 0
    for root, folders, files in os.walk(folder, followlinks=False):
        for name in folders + files:
            count += 1
            mode = os.lstat(Path(root) / name).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UnsafeModelError(f"model {folder}: {Path(root) / name} is a link or a device")
        if count > FOLDER_LIMIT:
            raise InferenceError(f"model {folder}: more than {FOLDER_LIMIT} files in the folder")
    if (folder / "variables").is_dir() and not (folder / "variables/variables.index").is_file():
        raise InferenceError(f"model {folder}: variables/variables.index is missing")


def read_saved_model(file: FileBytes) -> Graphs:
    """All graphs, functions and asset names of a SavedModel message."""
    _require_size(file)
    reader = WireReader(file)
    graphs = Graphs({}, [])
    for model in _messages(reader, reader.whole(), "the SavedModel", 2):
        for field_ in reader.fields(model, "a meta graph"):
            if field_.number == 2 and field_.wire_type == LENGTH:
                _read_graph(reader, field_.span, graphs)
            elif field_.number == 6 and field_.wire_type == LENGTH:
                graphs.assets.extend(_text(reader, field_.span, 2))
    if not graphs.scopes:
        raise InferenceError(f"model {file.path}: a SavedModel without a graph")
    return graphs


def _touches(node: Node, touching: set[str]) -> bool:
    return (
        node.operator in FILE_OPERATORS or node.operator in touching
        or not touching.isdisjoint(node.functions)
    )


def _require_size(file: FileBytes) -> None:
    if file.size > SIZE_LIMIT:
        raise InferenceError(f"model {file.path}: {file.size} bytes, more than a graph can have")


def _read_graph(reader: WireReader, span: Span, graphs: Graphs) -> None:
    """A GraphDef: its nodes, and those of the functions in its library."""
    nodes = graphs.scopes.setdefault(None, [])
    for field_ in reader.fields(span, "a graph"):
        if field_.wire_type != LENGTH:
            continue
        if field_.number == 1:
            nodes.append(_read_node(reader, field_.span))
        elif field_.number == 2:
            for function in _messages(reader, field_.span, "a library", 1):
                _read_function(reader, function, graphs)


def _read_function(reader: WireReader, span: Span, graphs: Graphs) -> None:
    names: list[str] = []
    nodes: list[Node] = []
    for field_ in reader.fields(span, "a function"):
        if field_.number == 1 and field_.wire_type == LENGTH:
            names += _text(reader, field_.span, 1)
        elif field_.number == 3 and field_.wire_type == LENGTH:
            nodes.append(_read_node(reader, field_.span))
    if not names or names[-1] in computing_operators():
        raise UnsafeModelError(
            f"model {reader.file.path}: a function with the name of an operator: {names}"
        )
    graphs.scopes.setdefault(names[-1], []).extend(nodes)


def _read_node(reader: WireReader, span: Span) -> Node:
    node = Node()
    for field_ in reader.fields(span, "a node"):
        if field_.wire_type != LENGTH:
            continue
        if field_.number == 1:
            node.name = reader.text(field_.span, "node name")
        elif field_.number == 2:
            node.operator = reader.text(field_.span, "operator")
        elif field_.number == 3:
            node.inputs.append(reader.text(field_.span, "input"))
        elif field_.number == 5:
            for value in _messages(reader, field_.span, "an attribute", 2):
                _read_attribute(reader, value, node, 0)
    return node


def _read_attribute(reader: WireReader, span: Span, node: Node, depth: int) -> None:
    """An AttrValue: the functions that it names, the strings of a constant."""
    if depth > DEPTH_LIMIT:
        raise InferenceError(f"model {reader.file.path}: attributes nested too deeply")
    for field_ in reader.fields(span, "a value"):
        if field_.wire_type != LENGTH:
            continue
        if field_.number == 10:  # func: NameAttrList {name = 1, attr = 2}
            _read_named(reader, field_.span, node, depth)
        elif field_.number == 1:  # list: its functions are field 9
            for function in _messages(reader, field_.span, "a list", 9):
                _read_named(reader, function, node, depth)
        elif field_.number == 8:  # tensor: strings are field 8
            for text in _messages(reader, field_.span, "a constant", 8):
                size = min(text.end - text.start, STRING_LIMIT)
                node.texts.append(reader.text(Span(text.start, text.start + size), "a text"))


def _read_named(reader: WireReader, span: Span, node: Node, depth: int) -> None:
    for field_ in reader.fields(span, "a function's name"):
        if field_.number == 1 and field_.wire_type == LENGTH:
            node.functions.add(reader.text(field_.span, "function name"))
        elif field_.number == 2 and field_.wire_type == LENGTH:
            for value in _messages(reader, field_.span, "an attribute", 2):
                _read_attribute(reader, value, node, depth + 1)


def _messages(reader: WireReader, span: Span, what: str, number: int) -> list[Span]:
    return [
        each.span for each in reader.fields(span, what)
        if each.number == number and each.wire_type == LENGTH
    ]


def _text(reader: WireReader, span: Span, number: int) -> list[str]:
    return [reader.text(each, "a name") for each in _messages(reader, span, "a name", number)]
