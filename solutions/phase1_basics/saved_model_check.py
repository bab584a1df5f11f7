"""TensorFlow graphs are programs: every operator in one is read before it may run.

A SavedModel or a frozen graph names its operators, and some of those leave the graph: ``PyFunc``
calls Python, ``WriteFile`` writes anywhere, ``ReadFile`` reads anything. So operators are held
against a list of those that only compute. Saving and restoring are on it, since every SavedModel
holds them; their file names are traced back to the constants that they come from, through calls of
the graph's own functions, and a constant that leaves the model's folder is refused.
"""

import os
import stat
from pathlib import Path

from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.keras_check import check_keras_metadata
from solutions.phase1_basics.tensorflow_graph import (
    Graphs,
    Node,
    computing_operators,
    read_frozen_graph,
    read_saved_model,
)
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from zoo.errors import InferenceError

FILE_OPERATORS = {
    "Save", "SaveV2", "SaveSlices", "Restore", "RestoreV2", "RestoreSlice", "MergeV2Checkpoints",
    "ShardedFilename", "InitializeTableFromTextFile", "InitializeTableFromTextFileV2",
}
OTHER_GRAPHS = ("saved_model.cpb", "saved_model.pbtxt")  # TensorFlow may prefer one of these
FOLDER_LIMIT = 10_000  # entries of a SavedModel's folder


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
    graphs = read_frozen_graph(file)
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
    for name in OTHER_GRAPHS:
        if (folder / name).exists():
            raise UnsafeModelError(f"model {folder}: {name} is a graph beside saved_model.pb")
    if (folder / "variables").is_dir() and not (folder / "variables/variables.index").is_file():
        raise InferenceError(f"model {folder}: variables/variables.index is missing")


def _touches(node: Node, touching: set[str]) -> bool:
    return (
        node.operator in FILE_OPERATORS or node.operator in touching
        or not touching.isdisjoint(node.functions)
    )
