"""Why ``torch.compile`` cuts a network into pieces, and where.

TorchDynamo follows the Python bytecode of ``forward``. What it cannot follow (a ``print``, a branch
on a tensor's values, a call into a library) ends a graph: Python takes over, and another graph
begins. Each piece is compiled alone, so nothing is fused across a break.
"""

from dataclasses import dataclass
from typing import Any

from solutions.phase2_optimization.formats.compiled import faults_of


@dataclass(frozen=True)
class Break:
    """One place where a graph ends."""

    reason: str
    place: str  # "file.py line 12", "" where it is not known


@dataclass(frozen=True)
class GraphBreaks:
    """Into how many graphs a network falls."""

    graphs: int
    operators: int
    breaks: tuple[Break, ...]

    def __str__(self) -> str:
        if self.graphs <= 1 and not self.breaks:
            return "one graph"
        first = self.breaks[0] if self.breaks else Break("", "")
        where = f" at {first.place}" if first.place else ""
        why = f": {first.reason}{where}" if first.reason else ""
        return f"{self.graphs} graphs, {len(self.breaks)} breaks{why}"


def explain_breaks(module: Any, example: tuple[Any, ...]) -> GraphBreaks:
    """Run the module once under TorchDynamo and collect the breaks; nothing is compiled."""
    import torch

    torch._dynamo.reset()
    with faults_of("torch._dynamo.explain"), torch.no_grad():
        found = torch._dynamo.explain(module)(*example)
    torch._dynamo.reset()
    breaks = tuple(
        Break(_reason(each.reason), _place(each.user_stack)) for each in found.break_reasons
    )
    return GraphBreaks(int(found.graph_count), int(found.op_count), breaks)


def _reason(text: str) -> str:
    """The first line, without PyTorch's hints."""
    return text.strip().partition("\n")[0].strip()


def _place(stack: Any) -> str:
    if not stack:
        return ""
    frame = stack[-1]
    return f"{frame.filename.rpartition('/')[2]} line {frame.lineno}"
