"""The command: optimize a model's graph, print what each pass did, write the result.

    python -m solutions.phase2_optimization.compiler zoo:street-middle --out faster.onnx --verify
"""

from pathlib import Path

import click

from solutions.phase2_optimization.model_files import write_model
from solutions.phase2_optimization.model_names import named_model
from solutions.phase2_optimization.pass_manager import Optimized, PassReport, optimize
from solutions.phase2_optimization.pass_order import ONNXRUNTIME_STAGES, PORTABLE_STAGES
from zoo.errors import InferenceError
from zoo.terminal import progress_bar, run_command

STAGES = {"portable": PORTABLE_STAGES, "onnxruntime": ONNXRUNTIME_STAGES}


@click.command()
@click.argument("model")
@click.option("--out", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="the optimized model's file")
@click.option("--for", "runtime", type=click.Choice(list(STAGES)), default="portable",
              show_default=True, help="standard operators only, or ONNX Runtime's fused ones, too")
@click.option("--verify", is_flag=True,
              help="compare the outputs after each pass; undo one that changes them")
@click.option("--skip", multiple=True, metavar="PASS", help="leave a pass out")
def compile_command(
    model: str, out: Path, runtime: str, verify: bool, skip: tuple[str, ...]
) -> int:
    """Optimize the graph of a zoo, registry or torchvision MODEL, or of an ONNX file."""
    stages = STAGES[runtime]
    known = sorted({one.__name__ for stage in stages for one in stage})
    for name in skip:
        if name not in known:
            raise InferenceError(f"no pass {name!r}: there are {', '.join(known)}")
    with progress_bar("") as bar:
        part = bar.add_task(f"load {model}", total=None)
        found = named_model(model)
        bar.update(part, description=f"optimize {model}")
        made = optimize(found.model, stages, verify, skip, found.folder)
    files = write_model(made.model, out, found.folder)
    click.echo(pass_table(made.passes))
    click.echo(summary(made, verify))
    for note in made.notes:
        click.echo(f"note: {note}")
    click.echo(", ".join(f"{path}: {path.stat().st_size:,} bytes" for path in files))
    return 1 if any(report.undone for report in made.passes) else 0


def pass_table(reports: list[PassReport]) -> str:
    """One line per pass that changed something or was undone; the others are counted."""
    lines = [f"{'pass':32} {'places':>7} {'nodes':>7} {'ms':>8}"]
    idle = 0
    for report in reports:
        if report.undone:
            lines.append(f"{report.name:32} undone: {report.undone}")
        elif report.changed:
            lines.append(f"{report.name:32} {report.changed:7} {-report.removed_nodes:+7} "
                         f"{1000 * report.seconds:8.1f}")
        else:
            idle += 1
    spent = 1000 * sum(report.seconds for report in reports if not report.changed)
    lines.append(f"{idle} others found nothing {'':25} {spent:8.1f}")
    return "\n".join(lines)


def summary(made: Optimized, verify: bool) -> str:
    """Nodes before and after, rounds, time, and whether the outputs were compared."""
    checked = verify and not any(note.startswith("not verified") for note in made.notes)
    return (f"{made.nodes_before} nodes become {made.nodes_after} in {made.rounds} rounds, "
            f"{made.seconds:.2f} s; outputs "
            f"{'compared after each pass' if checked else 'not compared'}")


def main() -> int:
    """The command; its exit code."""
    return run_command(compile_command)
