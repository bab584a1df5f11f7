"""PyTorch against ONNX against TensorRT and everything else that is here, on one page.

    python -m solutions.phase2_optimization.formats.benchmark --model resnet50 --batch 1 8
    python -m solutions.phase2_optimization.formats.benchmark --model mine.onnx --all
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: the repository's root is three folders up
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import click

from solutions.phase2_optimization.formats.catalogue import FORMATS, Format, find_format
from solutions.phase2_optimization.formats.compiled import OPSET
from solutions.phase2_optimization.formats.contest import Contest, compare_formats
from solutions.phase2_optimization.formats.contest_page import by_reason, table, write_page
from solutions.phase2_optimization.formats.preparation import Settings, with_memory
from solutions.phase2_optimization.formats.worker_handle import COMMAND
from zoo.terminal import progress_bar, run_command

ROUNDS = 7


class Sizes(click.Option):
    """An option that takes all numbers up to the next option: ``--batch 1 8``."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser swallow the numbers that follow."""
        super().add_to_parser(parser, ctx)
        option = parser._long_opt[self.opts[0]]
        process = option.process

        def several(value: str, state: Any) -> None:
            process(value, state)
            while state.rargs and state.rargs[0].isdigit():
                process(state.rargs.pop(0), state)

        option.process = several


def options(command: Any) -> Any:
    """The options of the comparison, for the commands that have it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for each in reversed((
        click.option("--model", default="resnet50", show_default=True,
                     help="a torchvision name, a zoo or registry name, or an ONNX file"),
        click.option("--batch", "sizes", cls=Sizes, multiple=True, default=(1, 8),
                     type=click.IntRange(1, 4096), show_default=True,
                     help="batch sizes: --batch 1 8"),
        click.option("--all", "everything", is_flag=True, help="the slow ones, too"),
        click.option("--format", "names", multiple=True,
                     help="only these, beside the reference; repeatable"),
        click.option("--threads", type=click.IntRange(1, 1024), default=min(4, cores or 1),
                     show_default=True, help="for every format the same"),
        click.option("--rounds", type=click.IntRange(1, 10_000), default=ROUNDS,
                     show_default=True),
        click.option("--timeout", type=click.FloatRange(1), default=300.0, show_default=True,
                     help="seconds that compiling one format may take"),
        click.option("--opset", type=int, default=OPSET, show_default=True),
        click.option("--output", type=click.Path(path_type=Path), default=Path("out/formats"),
                     show_default=True),
    )):
        command = each(command)
    return command


def chosen(names: Sequence[str], everything: bool) -> list[Format]:
    """The formats asked for. Raises InferenceError for unknown ones."""
    if names:
        wanted = {find_format(name).name for name in names}
        return [each for each in FORMATS if each.name in wanted]
    return [each for each in FORMATS if everything or not each.is_slow]


def run(
    model: str, formats: Sequence[Format], settings: Settings, output: Path,
    notes: Sequence[str] = (),
) -> Contest:
    """Compare, print and write; what the commands do."""
    from rich.console import Console

    if not sys.stderr.isatty():
        print(f"comparing {len(formats)} formats of {model}", file=sys.stderr)
    with progress_bar("steps") as bar:
        part = bar.add_task(f"load {model}", total=None)
        found = compare_formats(
            model, formats, with_memory(settings),
            lambda what, done, total: bar.update(part, description=what, completed=done,
                                                 total=total))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(found))
    for reason, names in by_reason(found.missing).items():
        console.print(f"absent: {', '.join(names)}: {reason}", style="dim", markup=False,
                      highlight=False)
    for note in (*notes, *found.notes):
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)
    page = write_page(found, output, machine(settings))
    console.print(f"page: {page}", markup=False, soft_wrap=True, highlight=False)
    return found


def machine(settings: Settings) -> dict[str, Any]:
    """Processor and versions, for the page."""
    import importlib.metadata

    from solutions.phase1_basics.profile_record import describe_machine

    versions = {}
    for name in ("torch", "onnx", "onnxruntime", "openvino", "executorch", "coremltools",
                 "tensorrt"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return describe_machine() | {"rounds": settings.rounds, "versions": versions}


def command(worker: Sequence[str] = COMMAND, notes: Sequence[str] = ()) -> click.Command:
    """The command; ``worker`` starts a process for a format, ``notes`` are said at the end."""
    @click.command("benchmark_formats")
    @options
    def benchmark_formats(
        model: str, sizes: tuple[int, ...], everything: bool, names: tuple[str, ...],
        threads: int, rounds: int, timeout: float, opset: int, output: Path,
    ) -> None:
        """Compare every compiled format of a model: speed, numerics, compile time, size."""
        for note in notes:
            click.echo(note, err=True)
        settings = Settings(sizes, threads, rounds, timeout, opset=opset, command=worker)
        run(model, chosen(names, everything), settings, output, notes)

    return benchmark_formats


def main() -> int:
    """The command; its exit code."""
    return run_command(command())


if __name__ == "__main__":
    sys.exit(main())
