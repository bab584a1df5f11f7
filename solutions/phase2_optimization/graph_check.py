"""Is this a graph at all? One clear line for each fault that would make rewriting it nonsense.

onnx's own checker wants more than an optimizer needs (every operator known) and says less than a
user needs (which node reads what nobody makes). Nodes in the wrong order are no fault here: they
are put in order.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from solutions.phase2_optimization.graph_constants import EXTERNAL
from solutions.phase2_optimization.graph_index import GraphIndex, named
from solutions.phase2_optimization.onnx_protobuf import Graph, Model, require_onnx, subgraphs
from zoo.errors import InferenceError

ONNX_DOMAINS = ("", "ai.onnx")


def check_model(model: Model, folder: Path | None = None) -> None:
    """Raises InferenceError for a model that is no sound graph: no outputs, a name made twice or
    by nobody, a cycle, an operator set that is not imported, external data that are not there."""
    if not model.HasField("graph"):
        raise InferenceError("not an ONNX model: it holds no graph")
    if not model.graph.output:
        raise InferenceError("the graph has no outputs: it is empty, or no whole model")
    _check_texts(model)
    _check_opsets(model)
    _check_names(model.graph, frozenset())
    for _ in GraphIndex(model).ordered():  # raises where there is a cycle
        pass
    _check_external(model.graph, folder)


def unknown_operators(model: Model) -> list[str]:
    """Operators that neither onnx nor the model's own functions define: "domain.Name (times)"."""
    defs = require_onnx().defs
    own = {(function.domain, function.name) for function in model.functions}
    versions = {_domain(o.domain): o.version for o in model.opset_import}
    counted: Counter[str] = Counter()
    for node in all_nodes(model.graph):
        version = versions.get(_domain(node.domain), 1)
        known = defs.has(node.op_type, version, node.domain) if version <= _newest() else (
            defs.has(node.op_type, domain=node.domain))
        if not known and (node.domain, node.op_type) not in own:
            counted[f"{node.domain or 'ai.onnx'}.{node.op_type}"] += 1
    return [f"{name} ({times})" for name, times in sorted(counted.items())]


def all_nodes(graph: Graph) -> Iterator[Any]:
    """The nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from all_nodes(inner)


def _newest() -> int:
    return int(require_onnx().defs.onnx_opset_version())


def _domain(name: str) -> str:
    return "" if name in ONNX_DOMAINS else name


def _check_texts(model: Model) -> None:
    """Names that are no UTF-8: protobuf hands them over as bytes, and fails on them later."""
    texts = [value for part in (model, model.graph) for field, value in part.ListFields()
             if field.type == field.TYPE_STRING]
    texts += [tensor.name for tensor in model.graph.initializer]
    for node in all_nodes(model.graph):
        texts += [node.op_type, node.domain, node.name, *node.input, *node.output]
        texts += [item.name for item in node.attribute]
    broken = next((text for text in texts if not isinstance(text, str)), None)
    if broken is not None:
        raise InferenceError(f"the model holds a name that is no text: {broken!r}")


def _check_opsets(model: Model) -> None:
    imported = {_domain(opset.domain) for opset in model.opset_import}
    for node in all_nodes(model.graph):
        if _domain(node.domain) not in imported:
            raise InferenceError(
                f"node {named(node)} is of domain {node.domain or 'ai.onnx'!r}, of which the model "
                f"imports no operator set")


def _check_names(graph: Graph, outside: frozenset[str]) -> None:
    """Every name is made once and, where it is read, made at all."""
    weights = [tensor.name for tensor in graph.initializer]
    weights += [tensor.values.name for tensor in graph.sparse_initializer]
    inputs = [value.name for value in graph.input]
    made = [name for node in graph.node for name in node.output if name]
    for kind, names in (("initializer", weights), ("input", inputs)):
        _refuse_repeated(names, f"there are two {kind}s called {{}}")
    given = set(weights) | set(inputs)
    _refuse_repeated(made, "two nodes make a tensor called {}")
    _refuse_repeated([*given, *made], "{} is an input or initializer, and a node makes it, too")
    known = outside.union(given, made)
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                raise InferenceError(f"node {named(node)} reads {name!r}, which nobody makes")
        for inner in subgraphs(node):
            _check_names(inner, known)
    for value in graph.output:
        if value.name not in known:
            raise InferenceError(f"the graph's output {value.name!r} is made by no node")


def _refuse_repeated(names: list[str], text: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InferenceError(text.format(repr(repeated[0])))


def _check_external(graph: Graph, folder: Path | None) -> None:
    for tensor in graph.initializer:
        if tensor.data_location != EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = (folder or Path()) / entries.get("location", "")
        if not place.is_file():
            raise InferenceError(f"weight {tensor.name!r}: its external data {place} are not there")
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        if end > place.stat().st_size:
            raise InferenceError(
                f"weight {tensor.name!r}: its external data {place} end at byte "
                f"{place.stat().st_size}, {end} are needed")
