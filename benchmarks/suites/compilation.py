"""The graph optimizer beside onnxslim, onnxsim, onnxoptimizer and ONNX Runtime's own."""

from collections.abc import Callable
from typing import Any

from benchmarks.backend_cases import Judged, backend_cases, judge_all
from benchmarks.c_backend_rows import c_backend, memory_plans
from benchmarks.graph_compilation import graphs, our_optimizers, row_of
from benchmarks.suite import Context, Goal, Row, SuiteResult, at_least

QUICK_EVERY = 12  # of the standard's cases in a quick run
HEIGHTS = (6.2, 3.0)  # inches of the first part's plot, of each further one


def run(context: Context) -> SuiteResult:
    """All parts, one after another."""
    return merged([part(context) for part in PARTS])


def standard_cases(context: Context) -> SuiteResult:
    """The ONNX project's own node and model cases through the optimizer."""
    every = QUICK_EVERY if context.quick else 1
    rows: list[Row] = []
    goals: list[Goal] = []
    counts: dict[str, Any] = {}
    for name, optimize in our_optimizers().items():
        context.say(f"onnx.backend.test through {name}")
        judged = judge_all(backend_cases(every=every), optimize)
        rows.append(row_of("onnx.backend.test", name, note=told(judged)))
        equal = judged.count("equal")
        share = 100 * equal / max(1, equal + len(judged.wrong))
        goal = at_least(f"cases of onnx.backend.test as expected after {name}, %", share, 100)
        goals.append(Goal(goal.name, goal.goal, goal.measured, goal.holds, told(judged)))
        counts[name] = {
            "equal": equal, "unsupported": judged.count("unsupported"),
            "absent": judged.absent, "wrong": {v.name: v.reason for v in judged.wrong},
        }
    return SuiteResult(rows, goals, nothing, {"onnx.backend.test": counts})


def told(judged: Judged) -> str:
    """One line about the cases."""
    equal = judged.count("equal")
    line = (f"{equal} of {equal + len(judged.wrong)}; {judged.count('unsupported')} more not as "
            "expected in ONNX Runtime untouched")
    if judged.absent:
        line += f"; {len(judged.absent)} to download, skipped"
    if judged.wrong:
        line += "; wrong: " + ", ".join(verdict.name for verdict in judged.wrong[:5])
    return line


def nothing(figure: Any) -> None:
    """A part without a plot."""


def merged(results: list[SuiteResult]) -> SuiteResult:
    """One result of several parts: the columns of all, a plot for each that has one."""
    rows = [row for result in results for row in result.rows]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    plots = [result.plot for result in results if result.plot is not nothing]

    def plot(figure: Any) -> None:
        heights = [HEIGHTS[0], *[HEIGHTS[1]] * (len(plots) - 1)]
        figure.set_size_inches(figure.get_figwidth(), sum(heights))
        parts = figure.subfigures(len(plots), 1, height_ratios=heights, squeeze=False)
        for draw, part in zip(plots, parts[:, 0], strict=True):
            draw(part)

    facts: dict[str, Any] = {}
    for result in results:
        facts |= result.facts
    return SuiteResult(
        [{column: row.get(column) for column in columns} for row in rows],
        [goal for result in results for goal in result.goals], plot, facts,
    )


PARTS: tuple[Callable[[Context], SuiteResult], ...] = (
    graphs, standard_cases, c_backend, memory_plans,
)
