"""How little memory a network's activations need: who lives when, and what may be overwritten.

    python -m solutions.phase2_optimization.memory_plan zoo:street-middle yolox_nano.onnx
    python -m solutions.phase2_optimization.memory_plan resnet50.onnx --batch 8

A tensor lives from the step that writes it to the last step that reads it. Two rules join tensors
to one buffer before the arena is laid out: a view (Reshape, Flatten, ...) has the bytes of what it
looks at, and an elementwise operator may write over an input that nobody reads later. Weights and
the network's inputs are the caller's and not counted; outputs live to the end.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174, section 3
(in-place operation and memory sharing over the computation graph), and ``arena.py``.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click

from solutions.phase2_optimization.arena import (
    ALIGNMENT,
    Arena,
    Tensor,
    assign,
    lower_bound,
    naive_bytes,
)
from solutions.phase2_optimization.fixed_shapes import fix_shapes, static_shapes
from solutions.phase2_optimization.model_names import whole_model
from solutions.phase2_optimization.onnx_rewrite import Model, Node, OnnxGraph
from zoo.terminal import run_command

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
IN_PLACE = frozenset({  # each output element depends on the input element at its own place
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Selu",
    "Softplus", "Gelu", "Erf", "Exp", "Log", "Sqrt", "Neg", "Abs", "Reciprocal", "Floor", "Ceil",
    "Round", "Not", "Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "PRelu", "Sum", "Mish",
    "BatchNormalization",
})


class Step(NamedTuple):
    """What one operator reads and writes; ``view`` and ``in_place`` name outputs by input."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    views: Mapping[str, str]  # an output that is an input's bytes, looked at differently
    in_place: Mapping[str, tuple[str, ...]]  # an output and the inputs that it may overwrite


class MemoryPlan(NamedTuple):
    """The buffers of a network, where they lie, and the bytes of the alternatives."""

    naive: int  # bytes where each tensor has its own
    lower_bound: int  # bytes that live at the busiest step
    arena: Arena
    buffers: list[Tensor]
    buffer_of: dict[str, str]  # each tensor's buffer

    def offset(self, tensor: str) -> int:
        """Where a tensor starts in the arena, in bytes."""
        return self.arena.offsets[self.buffer_of[tensor]]


def plan_memory(model: Model, batch: int = 1, sizes: Mapping[str, int] | None = None) -> MemoryPlan:
    """Plan the activations of a model, its nodes run in the order of the file.

    Raises InferenceError where a dimension is left open or a shape depends on the data.
    """
    fixed = fix_shapes(model, batch, sizes)
    shapes = static_shapes(fixed)
    graph = OnnxGraph(fixed)
    steps = [step_of(graph, node, shapes) for node in graph.nodes]
    sizes_of = {name: found.size for name, found in shapes.items()}
    outside = set(graph.inputs) | set(graph.constants)
    return plan_steps(steps, sizes_of, graph.outputs, outside)


def step_of(graph: OnnxGraph, node: Node, shapes: Mapping[str, object]) -> Step:
    """What a node reads, its subgraphs included, and what it may overwrite."""
    reads = tuple(dict.fromkeys([*filter(None, node.input), *graph_reads(node)]))
    writes = tuple(name for name in node.output if name)
    if node.op_type in VIEWS:
        return Step(reads, writes, {node.output[0]: node.input[0]}, {})
    if node.op_type not in IN_PLACE or len(writes) != 1:
        return Step(reads, writes, {}, {})
    same = tuple(
        name for name in dict.fromkeys(node.input) if name and shapes.get(name) == shapes[writes[0]]
    )
    return Step(reads, writes, {}, {writes[0]: same})


def graph_reads(node: Node) -> set[str]:
    """Names that a node's subgraphs (If, Loop, Scan) mention."""
    found: set[str] = set()
    for item in node.attribute:
        for inner in ([item.g] if item.HasField("g") else []) + list(item.graphs):
            found.update(value.name for value in inner.output)
            for step in inner.node:
                found.update(step.input, graph_reads(step))
    return found


def plan_steps(
    steps: Sequence[Step],
    sizes: Mapping[str, int],
    kept: Sequence[str],
    outside: set[str],
    alignment: int = ALIGNMENT,
) -> MemoryPlan:
    """Plan a schedule; ``sizes`` in bytes, ``kept`` live to the end, ``outside`` is not planned."""
    tensors = lifetimes(steps, sizes, kept, outside)
    buffer_of = shared_buffers(steps, tensors)
    buffers = merged(tensors, buffer_of)
    return MemoryPlan(
        naive_bytes(tensors, alignment),
        lower_bound(buffers, alignment),
        assign(buffers, alignment),
        buffers,
        buffer_of,
    )


def lifetimes(
    steps: Sequence[Step], sizes: Mapping[str, int], kept: Sequence[str], outside: set[str]
) -> list[Tensor]:
    """Each tensor that the steps write, from its step to the last one that reads it."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for number, step in enumerate(steps):
        for name in step.writes:
            first.setdefault(name, number)  # some are written in parts
            last[name] = number
        for name in step.reads:
            last[name] = number
    last |= {name: len(steps) for name in kept}
    return [Tensor(n, sizes[n], first[n], last[n]) for n in first if n not in outside]


def shared_buffers(steps: Sequence[Step], tensors: Sequence[Tensor]) -> dict[str, str]:
    """Each tensor's buffer, named after the first tensor in it.

    A view joins the buffer of what it looks at (of the caller's memory it is a copy). An output
    joins the buffer of an input when the operator allows, both are equally large, and nobody reads
    that buffer at a later step.
    """
    of = {tensor.name: tensor for tensor in tensors}
    buffer_of: dict[str, str] = {name: name for name in of}
    ends = {name: tensor.last for name, tensor in of.items()}  # of a buffer
    for number, step in enumerate(steps):
        for output, source in step.views.items():
            if output in of and source in of:
                _join(buffer_of, ends, output, source, of[output].last)
        for output, candidates in step.in_place.items():
            for source in candidates:
                if output not in of or source not in of or of[source].size != of[output].size:
                    continue
                holder = buffer_of[source]
                others = [n for n in step.reads if n != source and buffer_of.get(n) == holder]
                if ends[holder] == number and not others:
                    _join(buffer_of, ends, output, source, of[output].last)
                    break
    return buffer_of


def _join(
    buffer_of: dict[str, str], ends: dict[str, int], output: str, source: str, last: int
) -> None:
    buffer_of[output] = buffer_of[source]
    ends[buffer_of[source]] = max(ends[buffer_of[source]], last)


def merged(tensors: Sequence[Tensor], buffer_of: Mapping[str, str]) -> list[Tensor]:
    """The buffers: as large as their largest tensor, alive as long as any of them."""
    groups: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(buffer_of[tensor.name], []).append(tensor)
    return [
        Tensor(name, max(t.size for t in group), min(t.first for t in group),
               max(t.last for t in group))
        for name, group in groups.items()
    ]


def summary(name: str, plan: MemoryPlan) -> str:
    """One line for people."""
    def mib(size: int) -> str:
        return f"{size / 2**20:.3f} MiB"

    above = plan.arena.size / plan.lower_bound if plan.lower_bound else 1.0
    return (
        f"{name}: {len(plan.buffer_of)} tensors in {len(plan.buffers)} buffers; "
        f"each its own {mib(plan.naive)}, arena {mib(plan.arena.size)}, "
        f"at least {mib(plan.lower_bound)} ({above:.3f}x)"
    )


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--batch", default=1, show_default=True, type=click.IntRange(min=1))
def command(models: tuple[str, ...], batch: int) -> None:
    """Plan the activations of ONNX MODELS (files, names of the zoo or of torchvision)."""
    for name in models:
        print(summary(name, plan_memory(whole_model(name), batch)))


if __name__ == "__main__":
    raise SystemExit(run_command(command))
