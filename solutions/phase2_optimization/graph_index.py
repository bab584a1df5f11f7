"""The index of a graph: its nodes, who makes a tensor, who reads it; kept right while it changes.

The smallest changes are here, each with its update of the index: a node is added, discarded,
reads other tensors, makes a tensor under another name. Rewrites are built from these four.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from solutions.phase2_optimization.onnx_protobuf import (
    Model,
    Node,
    captured_names,
    copy_without_weights,
    names_inside,
    require_onnx,
)
from zoo.errors import InferenceError


class GraphIndex:
    """The nodes of a model's main graph and where its tensors come from and go to.

    Who changes nodes by hand calls :meth:`refresh` afterwards.
    """

    def __init__(self, model: Model) -> None:
        self.model = copy_without_weights(model)
        graph = self.model.graph
        self.nodes: list[Node] = list(graph.node)
        self.outputs: list[str] = [value.name for value in graph.output]
        self.captured: set[str] = set().union(*(captured_names(node) for node in self.nodes))
        self._pinned = self.captured | set(self.outputs)
        self._taken = names_inside(graph) | {tensor.name for tensor in model.graph.initializer}
        self._number = 0
        self.refresh()

    def refresh(self) -> None:
        """Look up producers and readers anew, after nodes were changed by hand."""
        self.producer: dict[str, Node] = {}
        self._readers: dict[str, list[Node]] = {}
        self._members = {id(node) for node in self.nodes}
        for node in self.nodes:
            self._enter(node)

    def _enter(self, node: Node) -> None:
        for name in node.output:
            if name:
                self.producer[name] = node
        self._enter_reads(node)

    def _enter_reads(self, node: Node) -> None:
        for name in dict.fromkeys(node.input):
            if name:
                self._readers.setdefault(name, []).append(node)

    def _leave_reads(self, node: Node) -> None:
        for name in filter(None, dict.fromkeys(node.input)):
            self._readers[name] = [other for other in self._readers[name] if other is not node]

    def has(self, node: Node) -> bool:
        """Whether a node is (still) in the graph."""
        return id(node) in self._members

    def uses(self, name: str) -> list[Node]:
        """The nodes that read a tensor, each once."""
        return self._readers.get(name, [])

    def is_pinned(self, name: str) -> bool:
        """Whether a tensor must keep its name: the caller or a subgraph knows it."""
        return name in self._pinned

    def is_private(self, name: str) -> bool:
        """Whether one node alone reads a tensor, and neither the caller nor a subgraph does."""
        return len(self.uses(name)) == 1 and name not in self._pinned

    def is_read(self, name: str) -> bool:
        """Whether anybody reads a tensor: a node, a subgraph or the caller."""
        return bool(self._readers.get(name)) or name in self._pinned

    def add(
        self, op_type: str, inputs: Sequence[str], outputs: Sequence[str] | None = None,
        domain: str = "", name: str = "", **attributes: Any,
    ) -> Node:
        """Add a node; without ``outputs`` it makes one tensor of a new name. An attribute that is
        None is left out."""
        helper = require_onnx().helper
        made = [self.fresh(op_type.lower())] if outputs is None else list(outputs)
        told = {key: value for key, value in attributes.items() if value is not None}
        node = helper.make_node(
            op_type, list(inputs), made, name or self.fresh(op_type), domain=domain, **told)
        if domain and all(opset.domain != domain for opset in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(domain, 1))
        self.nodes.append(node)
        self._members.add(id(node))
        self._taken.update(made)
        self._enter(node)
        return node

    def set_inputs(self, node: Node, names: Sequence[str]) -> None:
        """Let a node read these tensors."""
        self._leave_reads(node)
        del node.input[:]
        node.input.extend(names)
        self._enter_reads(node)

    def set_output(self, node: Node, place: int, name: str) -> None:
        """Let a node make a tensor under another name."""
        before = node.output[place]
        node.output[place] = name
        if self.producer.get(before) is node:
            self.producer.pop(before)
        if name:
            self.producer[name] = node
            self._taken.add(name)

    def discard(self, nodes: Iterable[Node]) -> None:
        """Take nodes out; what they made must not be read any more."""
        gone = {id(node): node for node in nodes if self.has(node)}
        for node in gone.values():
            self._leave_reads(node)
            for name in node.output:
                if self.producer.get(name) is node:
                    self.producer.pop(name)
        self._members -= gone.keys()
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def rename_uses(self, old: str, new: str, nodes: Iterable[Node] | None = None) -> None:
        """Let nodes (all, if not given) read ``new`` where they read ``old``; then refresh."""
        for node in self.nodes if nodes is None else nodes:
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new

    def remove(self, nodes: Iterable[Node]) -> None:
        """Take nodes out, and look everything up anew."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]
        self.refresh()

    def fresh(self, stem: str) -> str:
        """A tensor or node name that does not occur yet, here or in a subgraph."""
        while True:
            self._number += 1
            name = f"{stem}_{self._number}"
            if name not in self._taken and name not in self.producer:
                self._taken.add(name)
                return name

    def unused(self, name: str) -> str:
        """This name where nothing has it yet, else a fresh one like it."""
        if name in self._taken or name in self.producer:
            return self.fresh(name)
        self._taken.add(name)
        return name

    def ordered(self) -> Iterator[Node]:
        """The nodes in an order in which each finds its inputs made, near the order that they had.

        Raises InferenceError where the graph has a cycle.
        """
        done: set[int] = set()
        begun: set[int] = set()
        for first in self.nodes:
            waiting = [first]
            while waiting:
                node = waiting[-1]
                if id(node) in done:
                    waiting.pop()
                    continue
                missing = [maker for maker in self._makers(node) if id(maker) not in done]
                if not missing:
                    done.add(id(waiting.pop()))
                    yield node
                elif id(node) in begun:
                    raise InferenceError(f"the graph has a cycle through node {named(node)}")
                else:
                    begun.add(id(node))
                    waiting.extend(reversed(missing))

    def _makers(self, node: Node) -> list[Node]:
        read = [*node.input, *captured_names(node)] if self.captured else node.input
        return [self.producer[name] for name in read if name in self.producer]


def named(node: Node) -> str:
    """A node's name, or, where it has none, what it is and makes."""
    return repr(node.name or f"{node.op_type} ({', '.join(node.output)})")
