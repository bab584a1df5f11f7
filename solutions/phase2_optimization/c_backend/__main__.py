"""A network compiled to C, checked and timed beside ONNX Runtime and OpenVINO.

    python -m solutions.phase2_optimization.c_backend                     # zoo:street-small
    python -m solutions.phase2_optimization.c_backend zoo:digits --source digits.c
    python -m solutions.phase2_optimization.c_backend model.onnx --batch 4 --rounds 100

Exit code 0: built, and its outputs equal ONNX Runtime's; 1: they differ.
"""

import os
import tempfile
import time
from pathlib import Path

import click

from solutions.phase2_optimization.c_backend.module import CModule, build
from solutions.phase2_optimization.c_backend.runtime_arena import onnxruntime_arena_bytes
from solutions.phase2_optimization.c_backend.speed import (
    OURS,
    ROUNDS,
    TOLERANCE,
    Speed,
    compare,
    largest_pixel,
)
from solutions.phase2_optimization.fixed_shapes import fix_shapes
from solutions.phase2_optimization.model_names import whole_model
from zoo.errors import InferenceError
from zoo.terminal import progress_bar, run_command


@click.command()
@click.argument("model", default="zoo:street-small")
@click.option("--source", type=click.Path(dir_okay=False, path_type=Path),
              help="write the generated C here, its constants beside it")
@click.option("--rounds", default=ROUNDS, show_default=True, type=click.IntRange(min=1))
@click.option("--batch", default=1, show_default=True, type=click.IntRange(min=1))
def command(model: str, source: Path | None, rounds: int, batch: int) -> int:
    """Compile MODEL (an ONNX file, a name of the zoo or of torchvision) to C and time it."""
    network = whole_model(model)
    start = time.perf_counter()
    module = build(network, batch)
    seconds = time.perf_counter() - start
    if source is not None:
        write_source(source, module.source, module.weights)
    print(f"{model}: {len(module.source.splitlines())} lines of C, ready in {seconds:.1f} s; "
          f"constants {len(module.weights) / 1024:.0f} KiB")
    print(memory(module, onnxruntime_arena_bytes(fix_shapes(network, batch))))
    with progress_bar("rounds") as bar:
        task = bar.add_task("timing", total=rounds)
        found = compare(module, network, batch, rounds, largest_pixel(model),
                        lambda n: bar.update(task, completed=n))
    print(table(found))
    equal = found.difference <= TOLERANCE
    print(f"largest difference from ONNX Runtime: {found.difference:.1e} of the largest value "
          f"({'equal' if equal else 'NOT equal'}: at most {TOLERANCE:g})")
    return 0 if equal else 1


def memory(module: CModule, other: int | None) -> str:
    """One line about the activations: ours, and ONNX Runtime's where it tells."""
    ours = module.arena_bytes + module.output_bytes
    line = (f"activations and outputs: {ours / 1024:.0f} KiB in one arena, "
            f"{(module.plan.naive + module.output_bytes) / 1024:.0f} KiB if each had its own")
    if other is not None:
        line += f"; ONNX Runtime's arena {other / 1024:.0f} KiB ({other / ours:.2f}x)"
    return line


def table(found: Speed) -> str:
    """One line for each contender; ratios are another's time over ours, median and quartiles."""
    lines = [f"{'one thread':14s} {'ms':>8s}   time over ours"]
    for name, milliseconds in found.milliseconds.items():
        line = f"{name:14s} {milliseconds:8.3f}"
        if name != OURS:
            ratio = found.ratios[name]
            line += f"   {ratio.median:.2f} ({ratio.low:.2f}..{ratio.high:.2f})"
        lines.append(line)
    return "\n".join(lines)


def write_source(path: Path, text: str, weights: bytes) -> None:
    """The generated file and, beside it, its constants; each under its name only when whole."""
    for target, content in ((path, text.encode()), (path.with_suffix(".bin"), weights)):
        try:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except OSError as error:
            raise InferenceError(f"{target} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    raise SystemExit(run_command(command))
