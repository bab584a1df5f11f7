"""Every precision of a model side by side: FP32, 16 bits, dynamic, static, accuracy-controlled.

    python phase2_optimization/compare_quantization.py
    python phase2_optimization/compare_quantization.py --model resnet18
    python phase2_optimization/compare_quantization.py --model mine.onnx --data pictures/

Runs on what you have done of this phase; the solution stands in for the rest, and it says so.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import click

from course.fallback import link_templates
from solutions.phase2_optimization.comparison_options import comparison_options
from zoo.terminal import run_command


@click.command()
@comparison_options
def compare_quantization(
    model: str, data: Path | None, output: Path, rounds: int, variants: tuple[str, ...]
) -> None:
    """Compare every precision of a model: accuracy, latency, size, energy."""
    said = link_templates(Path(__file__).parent.name)
    from solutions.phase2_optimization.performance_comparison import chosen, run

    qat = "quantization-aware training: not in this course yet"
    run(model, data, output, rounds, chosen(variants), (said, qat))


if __name__ == "__main__":
    sys.exit(run_command(compare_quantization))
