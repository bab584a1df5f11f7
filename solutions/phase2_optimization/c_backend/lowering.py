"""From an ONNX graph to a program of C kernels.

Every value has a layout: what convolutions and pools write is blocked by channels, everything else
is plain. A kernel asks for the layout that it wants, and a conversion is made where it must be,
once for each value.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from solutions.phase2_optimization.c_backend.blocks import pack
from solutions.phase2_optimization.c_backend.copying import (
    Axis,
    Box,
    contiguous,
    copy_kernel,
    from_blocks,
    to_blocks,
)
from solutions.phase2_optimization.c_backend.fusion import ELEMENTWISE, Group, grouped
from solutions.phase2_optimization.c_backend.pointwise import Pointwise
from solutions.phase2_optimization.c_backend.program import Call, Pointer, Program, Value
from solutions.phase2_optimization.fixed_shapes import TensorShape
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph
from zoo.errors import InferenceError

Operator = Callable[["Lowering", Group], Value]


class Lowering:
    """The state of lowering one graph: which value each tensor became."""

    def __init__(
        self, graph: OnnxGraph, shapes: Mapping[str, TensorShape], lanes: int
    ) -> None:
        self.graph, self.shapes, self.lanes = graph, shapes, lanes
        self.program = Program(lanes)
        self.values: dict[str, Value] = {}
        self._converted: dict[tuple[str, bool], Value] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's sizes."""
        return self.shapes[name].shape

    def constant(self, name: str) -> np.ndarray:
        """A constant of the graph; raises InferenceError where it is computed."""
        if name not in self.graph.constants:
            raise InferenceError(f"{name!r} must be a constant for the C back end")
        return np.asarray(self.graph.constants[name])

    def new(self, name: str, shape: Sequence[int], blocked: bool) -> Value:
        """A value with a buffer of its own."""
        return self.program.new_value(name, shape, blocked)

    def value(self, name: str) -> Value:
        """A tensor in the layout that it has."""
        if name not in self.values:
            constant = self.constant(name)
            pointer = self.program.constant(constant.astype(np.float32))
            self.values[name] = Value(pointer.buffer, constant.shape, False, pointer.offset)
        return self.values[name]

    def is_blocked(self, name: str) -> bool:
        """Whether a tensor is blocked as it is."""
        return name in self.values and self.values[name].blocked

    def plain(self, name: str) -> Value:
        """A tensor in the plain layout."""
        return self._in_layout(name, False)

    def blocked(self, name: str) -> Value:
        """An image tensor [n, c, h, w] in the blocked layout."""
        return self._in_layout(name, True)

    def _in_layout(self, name: str, blocked: bool) -> Value:
        value = self.value(name)
        if value.blocked == blocked:
            return value
        if (name, blocked) not in self._converted:
            self._converted[name, blocked] = self._convert(name, value, blocked)
        return self._converted[name, blocked]

    def _convert(self, name: str, value: Value, blocked: bool) -> Value:
        if name in self.graph.constants:
            images = [pack(image, self.lanes) for image in self.constant(name)]
            pointer = self.program.constant(np.concatenate(images))
            return Value(pointer.buffer, value.shape, True, pointer.offset)
        layout = "blocked" if blocked else "plain"
        made = self.new(f"{name} {layout}", value.shape, blocked)
        boxes = (to_blocks if blocked else from_blocks)(
            value.shape[1], value.pixels, self.lanes)
        calls = [
            Call(copy_kernel(box), (self.program.pointer(value, box.read),
                                    self.program.pointer(made, box.write)), value.batch)
            for box in boxes
        ]
        self.program.add(f"{'Pack' if blocked else 'Unpack'} {name}", calls, [value], made)
        return made

    def expanded(self, name: str, shape: tuple[int, ...], blocked: bool) -> Value:
        """A tensor broadcast to a shape, in a layout."""
        if self.shape(name) == shape:
            return self._in_layout(name, blocked)
        wide = f"{name} as {'x'.join(map(str, shape))}"
        if wide in self.values:
            return self._in_layout(wide, blocked)
        if name in self.graph.constants:
            self.graph.set_constant(wide, np.broadcast_to(self.constant(name), shape))
            return self._in_layout(wide, blocked)
        value = self.plain(name)
        own = (1,) * (len(shape) - len(value.shape)) + value.shape
        axes = tuple(
            Axis(count, 0 if size == 1 else step, write) for count, size, step, write
            in zip(shape, own, contiguous(own), contiguous(shape), strict=True)
        )
        made = self.new(wide, shape, False)
        call = Call(copy_kernel(Box(axes)), (self.program.whole(value), self.program.whole(made)))
        self.program.add(f"Broadcast {name}", [call], [value], made)
        self.values[wide] = made
        return self._in_layout(wide, blocked)

    def operand(self, stage: Pointwise, shape: tuple[int, ...], blocked: bool) -> Value | None:
        """The value that a stage reads, in the layout of what it works on."""
        if stage.form == "tensor":
            return self.expanded(stage.source, shape, blocked)
        if stage.form != "channel":
            return None
        if stage.source in self.graph.constants:
            images = self.constant(stage.source).reshape(-1, shape[1], 1)
            pointer = self.program.constant(np.concatenate([pack(i, self.lanes) for i in images]))
            return Value(pointer.buffer, (len(images), shape[1], 1, 1), True, pointer.offset)
        return self.blocked(stage.source)

    def operands(
        self, chain: Sequence[Pointwise], shape: tuple[int, ...], blocked: bool
    ) -> list[Value]:
        """The values that a chain reads, in order."""
        found = [self.operand(stage, shape, blocked) for stage in chain]
        return [value for value in found if value is not None]

    def operand_pointer(self, value: Value, offset: int = 0) -> Pointer:
        """A pointer to a chain's operand; the same for all images where it has just one."""
        pointer = self.program.pointer(value, offset)
        return pointer if value.batch > 1 else Pointer(pointer.buffer, pointer.offset, 0)


def lower(
    graph: OnnxGraph, shapes: Mapping[str, TensorShape], lanes: int,
    operators: Mapping[str, Operator], elementwise: Operator,
) -> Program:
    """The program that computes a graph's outputs from its inputs.

    Raises InferenceError with everything that the back end does not know, in one line.
    """
    _refuse_unknown(graph, shapes, operators)
    low = Lowering(graph, shapes, lanes)
    for name in graph.inputs:
        low.values[name] = low.new(name, shapes[name].shape, False)
        low.program.inputs.append((name, shapes[name].shape))
    for group in grouped(graph, shapes):
        operator = elementwise if group.layer is None else operators[group.layer.op_type]
        made = operator(low, group)
        if group.output not in low.values:
            low.values[group.output] = made
    _write_outputs(low)
    return low.program


def _refuse_unknown(
    graph: OnnxGraph, shapes: Mapping[str, TensorShape], operators: Mapping[str, Operator]
) -> None:
    unknown = sorted({
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for node in graph.nodes if not _is_known(node, operators)
    })
    if unknown:
        raise InferenceError(f"the C back end does not know: {', '.join(unknown)}")
    computed = [name for node in graph.nodes for name in node.output if name]
    for name in [*graph.inputs, *computed]:
        if shapes[name].dtype != np.float32:
            raise InferenceError(
                f"{name!r} is {shapes[name].dtype}: the C back end computes in float32 only"
            )
    if empty := [name for name in [*graph.inputs, *computed] if 0 in shapes[name].shape]:
        raise InferenceError(f"{empty[0]!r} has no elements: there is nothing to compute")


def _is_known(node: Node, operators: Mapping[str, Operator]) -> bool:
    return node.domain in ("", "ai.onnx") and (
        node.op_type in operators or node.op_type in ELEMENTWISE
    )


def _write_outputs(low: Lowering) -> None:
    """Every output of the graph gets a plain buffer of its own."""
    used = {"weights", *(name for name, _ in low.program.inputs)}
    for name in low.graph.outputs:
        value = low.plain(name)
        size = value.floats(low.lanes)
        if value.buffer in used or value.offset or low.program.sizes[value.buffer] != size:
            made = low.new(f"{name} output", value.shape, False)
            call = Call(copy_kernel(Box((Axis(size, 1, 1),))),
                        (low.program.whole(value), low.program.whole(made)))
            low.program.add(f"Copy output {name}", [call], [value], made)
            value = made
        used.add(value.buffer)
        low.program.outputs.append((value.buffer, low.shape(name)))
