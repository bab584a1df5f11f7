"""Runs passes over a graph until none of them finds anything to do.

One rewrite opens the way for another (a folded constant makes an addition a no-op, the no-op gone
makes two reshapes neighbours), so the passes of a stage take turns up to a fixed point. A pass
that raises, or, when asked to verify, changes an output, is undone, named, and not run again: the
rest still counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from solutions.phase2_optimization.graph_check import all_nodes, check_model, unknown_operators
from solutions.phase2_optimization.graph_preparation import QUANTIZED
from solutions.phase2_optimization.onnx_rewrite import Model, OnnxGraph, Snapshot
from solutions.phase2_optimization.output_check import OutputCheck, first_line
from solutions.phase2_optimization.pass_order import (
    ANY_OPSET,
    NEW_RULES,
    PORTABLE_STAGES,
    Pass,
)
from zoo.errors import InferenceError

MOST_ROUNDS = 20  # of one stage; networks need 2 to 5
Clock = Callable[[], float]


@dataclass
class PassReport:
    """What one pass did, all rounds together."""

    name: str
    seconds: float = 0.0
    changed: int = 0  # places
    removed_nodes: int = 0  # negative where it added some
    undone: str = ""  # why it was undone


@dataclass(frozen=True)
class Optimized:
    """An optimized model and how it came about."""

    model: Model
    passes: list[PassReport]
    rounds: int
    nodes_before: int
    nodes_after: int
    seconds: float
    notes: list[str]


@dataclass
class PassRunner:
    """One graph, and the passes that work on it."""

    graph: OnnxGraph
    check: OutputCheck | None
    reports: dict[str, PassReport] = field(default_factory=dict)
    rounds: int = 0
    version: int = 0  # of the graph: how many times a pass changed it
    clean: dict[str, int] = field(default_factory=dict)  # the version that a pass left alone
    saved: tuple[int, Snapshot] | None = None
    clock: Clock = perf_counter

    def run_stage(self, passes: Sequence[Pass], rounds: int = MOST_ROUNDS) -> None:
        """Let passes take turns until the graph stays as it is."""
        for _ in range(rounds):
            before = self.version
            for one in passes:
                self.run(one)
            if self.version == before:
                return
            self.rounds += 1
            if self.graph.forget_types():
                self.clean.clear()  # what is inferred anew may say more

    def run(self, one: Pass) -> None:
        """Run one pass, unless it was undone before or has seen this very graph."""
        name = one.__name__
        report = self.reports.setdefault(name, PassReport(name))
        if report.undone or self.clean.get(name) == self.version:
            return
        snapshot = self._snapshot()
        nodes, begin = len(self.graph.nodes), self.clock()
        try:
            changed, fault = one(self.graph), ""
        except Exception as error:  # whatever the pass did not foresee
            changed, fault = 1, f"{type(error).__name__}: {first_line(error)}"
        report.seconds += self.clock() - begin
        if changed and not fault and self.check is not None:
            fault = self._fault(self.check)
        if fault:
            report.undone = fault
            self.graph.restore(snapshot)
            self.saved = None
            return
        report.changed += changed
        report.removed_nodes += nodes - len(self.graph.nodes)
        self.version += bool(changed)
        self.clean[name] = self.version if not changed else -1

    def _snapshot(self) -> Snapshot:
        """The graph as it is now; the last one where nothing has changed since."""
        if self.saved is None or self.saved[0] != self.version:
            self.saved = self.version, self.graph.snapshot()
        return self.saved[1]

    def _fault(self, check: OutputCheck) -> str:
        try:
            return check.fault(self.graph.to_model())
        except InferenceError as error:
            return str(error)


def optimize(
    model: Model, stages: Sequence[Sequence[Pass]] = PORTABLE_STAGES, verify: bool = False,
    skip: Sequence[str] = (), folder: Path | None = None,
) -> Optimized:
    """The model rewritten by the stages one after another, each to its fixed point.

    ``skip`` names passes to leave out; ``folder`` is where external data lie. The model given is
    not changed. A quantized graph gets the first stage only: what comes later would tear its
    integer layers apart. Raises InferenceError for a model that is no sound graph.
    """
    begin = perf_counter()
    check_model(model, folder)
    notes = [f"unknown operator, kept: {name}" for name in unknown_operators(model)]
    check = _output_check(model, folder, notes) if verify else None
    runner = PassRunner(OnnxGraph(model, folder), check)
    for stage in allowed(runner.graph, stages, notes):
        runner.run_stage([one for one in stage if one.__name__ not in skip])
    made = runner.graph.to_model()
    return Optimized(made, list(runner.reports.values()), runner.rounds, len(model.graph.node),
                     len(made.graph.node), perf_counter() - begin, notes)


def allowed(
    graph: OnnxGraph, stages: Sequence[Sequence[Pass]], notes: list[str]
) -> Sequence[Sequence[Pass]]:
    """The stages that may work on a graph; ``notes`` says what was left out, and why."""
    if 0 < graph.opset < NEW_RULES:
        notes.append(f"opset {graph.opset}: before {NEW_RULES} operators have other rules; only "
                     f"dead nodes and duplicates are looked for")
        return (ANY_OPSET,)
    if len(stages) > 1 and is_quantized(graph.model):
        notes.append("the graph is quantized: passes for one runtime are left out")
        return stages[:1]
    return stages


def is_quantized(model: Model) -> bool:
    """Whether a model computes with integers that stand for reals."""
    return any(node.op_type in QUANTIZED for node in all_nodes(model.graph))


def _output_check(model: Model, folder: Path | None, notes: list[str]) -> OutputCheck | None:
    try:
        check = OutputCheck(model, folder)
    except Exception as error:  # the model is fine, but nothing here can run it
        notes.append(f"not verified: {first_line(error)}")
        return None
    notes += check.notes
    return check
