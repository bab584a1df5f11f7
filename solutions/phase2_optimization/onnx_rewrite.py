"""An ONNX graph that can be edited: who makes a tensor, who reads it, which tensors are constant.

ONNX stores a graph as a list of nodes that name their tensors; every rewrite needs the two
directions of those names. ``OnnxGraph`` keeps the constants as arrays, answers both questions, and
writes everything back with :meth:`OnnxGraph.to_model`. Functions, subgraphs, sparse weights and
defaults that a caller may override stay as they are.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from solutions.phase2_optimization.graph_constants import Constants
from solutions.phase2_optimization.graph_index import GraphIndex
from solutions.phase2_optimization.graph_types import (
    Shape,
    TensorType,
    is_settled,
    known_shapes,
)
from solutions.phase2_optimization.onnx_protobuf import (
    SUBGRAPHS,
    Array,
    Model,
    Node,
    attribute,
    copied,
    copy_model,
    load_onnx,
    require_onnx,
    save_onnx,
    set_attribute,
)

__all__ = [
    "SUBGRAPHS", "Array", "Model", "Node", "OnnxGraph", "Snapshot", "attribute", "copy_model",
    "load_onnx", "require_onnx", "save_onnx", "set_attribute",
]

DEFAULTS_ARE_INPUTS = 4  # the IR version from which an initializer among the inputs is a default


class Snapshot(NamedTuple):
    """A graph as it was at one moment."""

    nodes: list[Node]
    constants: Constants
    opsets: list[Any]
    metadata: list[Any]
    types: dict[str, TensorType] | None


class OnnxGraph(GraphIndex):
    """The main graph of a model, for editing; the model given is not changed.

    ``constants`` holds initializers that no caller can override, as arrays by name; ``folder`` is
    where files of external data lie.
    """

    def __init__(self, model: Model, folder: Path | None = None) -> None:
        super().__init__(model)
        graph = self.model.graph
        names = {value.name for value in graph.input}
        weights = list(model.graph.initializer)
        self._defaults = []
        if names and model.ir_version >= DEFAULTS_ARE_INPUTS:
            self._defaults = [copied(t) for t in weights if t.name in names]
            weights = [tensor for tensor in weights if tensor.name not in names]
        self.constants = Constants(weights, folder)
        self._unlist_weights()
        given = {tensor.name for tensor in self._defaults}
        self.inputs = [value.name for value in graph.input if value.name not in given]
        self._types: dict[str, TensorType] | None = None
        self.told: dict[str, TensorType] = {}  # of what operators unknown to onnx make

    def _unlist_weights(self) -> None:
        """Old models list their weights among the inputs, too: no longer from IR version 4 on."""
        graph = self.model.graph
        inputs = [value for value in graph.input if value.name not in self.constants]
        if len(inputs) < len(graph.input):
            del graph.input[:]
            graph.input.extend(inputs)
            self.model.ir_version = max(self.model.ir_version, DEFAULTS_ARE_INPUTS)

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators that the model asks for, 0 where it uses none."""
        found = [o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")]
        return int(max(found, default=0))

    def activations(self, node: Node) -> list[str]:
        """The inputs of a node that depend on the data."""
        return [name for name in node.input if name and name not in self.constants]

    # What is known of tensors.

    def shape(self, name: str) -> Shape | None:
        """The shape of a tensor: sizes, symbols, None for an axis of which nothing is known."""
        if name in self.constants:
            return self.constants.shape_of(name)
        known = self.types.get(name)
        return None if known is None else known.shape

    def dtype(self, name: str) -> np.dtype[Any] | None:
        """The element type of a tensor, None where it is not known."""
        if name in self.constants:
            return self.constants.dtype_of(name)
        known = self.types.get(name)
        return None if known is None else known.dtype

    @property
    def types(self) -> dict[str, TensorType]:
        """Types by name, inferred when first asked for. They stay true while the graph is edited,
        since a name keeps its meaning; what is new is missing until :meth:`forget_types`."""
        if self._types is None:
            self._types = known_shapes(self)
        return self._types

    def forget_types(self) -> bool:
        """Let the types be inferred anew where some are open; whether that may tell more.

        What no inference can find is kept.
        """
        known = self._types or {}
        made = [name for node in self.nodes for name in node.output if name]
        if all(is_settled(known.get(name)) for name in made):
            return False
        self.told.update((name, known[name]) for node in self.nodes if node.domain
                         for name in node.output if name in known)
        self._types = None
        return True

    def set_type(self, name: str, dtype: np.dtype[Any] | None, shape: Shape | None) -> None:
        """Tell the type of a tensor that a rewrite makes."""
        if dtype is not None:
            self.types[name] = TensorType(dtype, shape)

    def scalar(self, name: str) -> float | None:
        """The value of a constant of one element, None for anything else."""
        if name not in self.constants or np.prod(self.constants.shape_of(name), dtype=int) != 1:
            return None
        values = self.constants[name]
        return float(values.reshape(())) if values.dtype.kind in "fiub" else None

    # Editing.

    def set_constant(self, name: str, values: Array) -> str:
        """Add or replace a constant; gives back its name."""
        self.constants[name] = values
        self._taken.add(name)
        return name

    def constant(self, stem: str, values: Array) -> str:
        """Add a constant under a name of its own; gives back the name."""
        return self.set_constant(self.fresh(stem), values)

    def replace(self, old: str, new: str) -> bool:
        """Let everybody who reads ``old`` read ``new``, which must hold the same values.

        The node that made ``old`` goes where nobody needs it. False, and nothing changed, where the
        names cannot be exchanged: both are known outside, or ``new`` is no node's output. If
        ``old`` is known outside it is ``new`` that ends: its maker takes over the name.
        """
        if old == new:
            return False
        maker = self.producer.get(new)
        if self._types is None and maker is not None and maker.domain:
            self._types = known_shapes(self)  # as long as ``old`` tells what onnx cannot infer
        if old in self._pinned:
            return self._take_over(old, new)
        if self._types is not None and old in self._types:
            self._types.setdefault(new, self._types[old])
        for node in self.uses(old):
            self.set_inputs(node, [new if name == old else name for name in node.input])
        self.drop_unread(self.producer.get(old))
        return True

    def _take_over(self, old: str, new: str) -> bool:
        maker, before = self.producer.get(new), self.producer.get(old)
        if maker is None or before is None or maker is before or new in self._pinned:
            return False
        self.set_output(before, list(before.output).index(old), self.fresh(old))
        self.set_output(maker, list(maker.output).index(new), old)
        for node in self.uses(new):
            self.set_inputs(node, [old if name == new else name for name in node.input])
        if self._types is not None and new in self._types:
            self._types[old] = self._types[new]
        self.drop_unread(before)
        return True

    def drop_unread(self, node: Node | None) -> None:
        """Take a node out if nobody reads what it makes, then those that worked for it alone."""
        waiting = [node]
        while waiting:
            last = waiting.pop()
            if last is None or not self.has(last) or any(map(self.is_read, last.output)):
                continue
            self.discard([last])
            waiting.extend(self.producer.get(name) for name in last.input)

    def remove_unread(self) -> int:
        """Take out nodes whose outputs nobody reads; how many there were."""
        before = len(self.nodes)
        for node in reversed(list(self.nodes)):
            self.drop_unread(node)
        return before - len(self.nodes)

    def to_model(self) -> Model:
        """The edited model: nodes in order, constants that nobody reads left out.

        Raises InferenceError where the graph has a cycle.
        """
        self.refresh()
        nodes = list(self.ordered())
        read = self._pinned.union(*(node.input for node in nodes))
        graph = self.model.graph
        fresh = [copied(node) for node in nodes]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(fresh)
        graph.initializer.extend(self._defaults)
        graph.initializer.extend(self.constants.stored(n) for n in self.constants if n in read)
        self.nodes = list(graph.node)
        self.refresh()
        return self.model

    def snapshot(self) -> Snapshot:
        """A copy to go back to with :meth:`restore`."""
        return Snapshot([copied(node) for node in self.nodes], self.constants.copy(),
                        [copied(opset) for opset in self.model.opset_import],
                        [copied(item) for item in self.model.metadata_props],
                        None if self._types is None else dict(self._types))

    def restore(self, before: Snapshot) -> None:
        """Go back to how the graph was; a snapshot serves once."""
        self.nodes, self.constants, self._types = before.nodes, before.constants, before.types
        opsets = [copied(opset) for opset in before.opsets]
        metadata = [copied(item) for item in before.metadata]
        del self.model.opset_import[:], self.model.metadata_props[:]
        self.model.opset_import.extend(opsets)
        self.model.metadata_props.extend(metadata)
        self.refresh()
