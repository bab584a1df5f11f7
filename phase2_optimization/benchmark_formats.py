"""PyTorch against ONNX against TensorRT, and every other compiled format that is installed.

    python phase2_optimization/benchmark_formats.py
    python phase2_optimization/benchmark_formats.py --model mobilenet_v3_large --batch 1 8 --all
    python phase2_optimization/benchmark_formats.py --model zoo:street-middle
    python phase2_optimization/benchmark_formats.py --model mine.onnx

Runs on what you have done of this phase; the solution stands in for the rest, and it says so. Each
format has a process of its own, which is this file once more.
"""

import sys
from pathlib import Path

FILE = Path(__file__).resolve()
sys.path[0] = str(FILE.parents[1])

from course.fallback import link_templates
from zoo.errors import InferenceError
from zoo.terminal import run_command

WORKER = "worker"


def main() -> int:
    """The command, or a format's process; the exit code."""
    try:
        said = link_templates(FILE.parent.name)
    except InferenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if sys.argv[1:2] == [WORKER]:
        from solutions.phase2_optimization.formats import worker

        worker.main()
    from solutions.phase2_optimization.formats import benchmark

    return run_command(benchmark.command((sys.executable, str(FILE), WORKER), (said,)))


if __name__ == "__main__":
    sys.exit(main())
