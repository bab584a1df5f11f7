"""``python -m course``: the board. It shows what is in the four phases today."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from zoo.terminal import run_command

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Phase:
    """One phase of the course."""

    number: int
    title: str
    folder: str  # under the root for templates, under solutions/ for the reference


PHASES = (
    Phase(1, "Basics: loading models, profiling", "phase1_basics"),
    Phase(2, "Optimization: quantization, compilation", "phase2_optimization"),
    Phase(3, "Serving: GPU, dynamic batching, many models", "phase3_advanced"),
    Phase(4, "Production: real-time video analysis", "phase4_production"),
)


def modules(folder: Path) -> list[str]:
    """Names of the Python files of a folder, deep, without package markers."""
    return sorted(path.name for path in folder.rglob("*.py") if path.name != "__init__.py")


@click.command()
def board() -> None:
    """The phases, the exercises that are open, and the reference solutions to read."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=None, header_style="bold", title="ML Inference from Scratch", title_justify="left"
    )
    for column in ("phase", "what it builds", "exercises", "reference files"):
        table.add_column(column)
    for phase in PHASES:
        templates = [n for n in modules(ROOT / phase.folder) if n.startswith("template_")]
        solutions = modules(ROOT / "solutions" / phase.folder)
        table.add_row(
            str(phase.number),
            phase.title,
            str(len(templates)) if templates else "not open yet",
            str(len(solutions)) if solutions else "not open yet",
        )
    console = Console()
    console.print(table)
    console.print(
        "\nStart here: [bold]make demo[/], then read "
        "solutions/phase4_production/video_analysis/model_pipeline.py"
    )


if __name__ == "__main__":
    sys.exit(run_command(board))
