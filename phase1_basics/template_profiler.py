"""How fast a model is, how far the figures can be trusted, and where the time goes.

    python solutions/phase1_basics/profiler.py --model resnet50.pth --iterations 100
    python solutions/phase1_basics/profiler.py --model zoo:street-large --open-loop 100 \\
        --report profile.html --json profile.json
    python solutions/phase1_basics/profiler.py --compare before.json after.json

Where a reader of the profiler starts: ``load_generator`` sends requests, ``percentiles`` says
what the latencies are worth, ``noise`` and ``throttling`` what was wrong with the measurement;
``torch_profile`` and ``onnx_profile`` find the slow layers, ``flops`` and ``roofline`` the reason,
``activation_memory``, ``memory_profile`` and ``energy`` the price. ``profile_run`` puts them in
order.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # what is not done yet falls back to the solution
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from course.fallback import run_template

    sys.exit(run_template(__file__))

import click
from rich.console import Console

from solutions.phase1_basics.profile_comparison import caveats, compare_profiles
from solutions.phase1_basics.profile_record import Profile, read_profile, write_profile
from solutions.phase1_basics.profile_run import ProfileSettings, profile_model
from solutions.phase1_basics.profile_target import cores, open_target
from zoo.errors import InferenceError
from zoo.terminal import INTERRUPTED, progress_bar, run_command

PIPED_WIDTH = 140  # columns, where the output is no terminal


def screen() -> Console:
    """The terminal; wide enough for the tables where the output goes to a file."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def compare(before: Path, after: Path) -> int:
    """Print the verdicts; 1 where something got slower."""
    from solutions.phase1_basics.profile_terminal import print_comparison

    a, b = read_profile(before), read_profile(after)
    found = compare_profiles(a, b)
    print_comparison(found, caveats(a, b), (before.name, after.name), screen())
    return int(any(item.verdict == "slower" for item in found))


def run(model: str, arch: str | None, batch: int, threads: int, device: str,
        settings: ProfileSettings) -> Profile:
    """Load the model and profile it, with a progress bar."""
    with progress_bar("") as bar:
        task = bar.add_task(f"load {model}", total=None)
        target = open_target(model, arch, batch, threads, device)
        return profile_model(
            target, settings, lambda part, done, total: bar.update(
                task, description=part, completed=done, total=total if total > 1 else None),
        )


@click.command()
@click.option("--model", help="an ONNX file, a torch state dict (resnet50.pth), torchvision:NAME, "
                              "zoo:NAME, or a name from python -m zoo list")
@click.option("--arch", help="torchvision's name of the architecture; default: by file name")
@click.option("--iterations", type=int, default=100, show_default=True, help="requests of a loop")
@click.option("--open-loop", "rate", type=float, metavar="RATE",
              help="also send requests at random moments, RATE per second")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="default: all processors")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1")
@click.option("--report", type=click.Path(path_type=Path), help="write an HTML page")
@click.option("--json", "json_path", type=click.Path(path_type=Path),
              help="write all figures, also for --compare")
@click.option("--compare", "compared", type=(click.Path(path_type=Path),) * 2, metavar="A B",
              help="two files of --json: is B faster or slower than A?")
def profiler(
    model: str | None, arch: str | None, iterations: int, rate: float | None, batch: int,
    threads: int | None, device: str, report: Path | None, json_path: Path | None,
    compared: tuple[Path, Path] | None,
) -> int:
    """Profile a model: latency, bottlenecks, memory, energy."""
    if compared is not None:
        return compare(*compared)
    if model is None:
        raise InferenceError("name a model: --model resnet50.pth, or --model zoo:street-small")
    settings = ProfileSettings(iterations, rate)
    profile = run(model, arch, batch, threads or cores(), device, settings)
    from solutions.phase1_basics.profile_terminal import print_profile

    print_profile(profile, screen())
    if json_path is not None:
        write_profile(profile, json_path)
    if report is not None:
        from solutions.phase1_basics.profile_report import write_report

        write_report(profile, report)
        click.echo(f"\n{report}")
    if profile.partial:
        return INTERRUPTED if "interrupted" in profile.partial else 1
    return 0


def main() -> int:
    """The command line; its exit code."""
    return run_command(profiler)
