"""The command line of ``model_loader.py``."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from solutions.phase1_basics.batch_prediction import (
    ItemResult,
    choose_batch_size,
    predict_items,
    time_batches,
)
from solutions.phase1_basics.image_input import (
    ImageInput,
    blank_input,
    guess_image_input,
    image_files,
    prepare_image,
    read_image,
)
from solutions.phase1_basics.labels import class_labels, read_labels
from solutions.phase1_basics.model import Model
from solutions.phase1_basics.postprocessing import Floats, as_probabilities, top_k
from solutions.phase1_basics.tflite_model import TfliteModel
from solutions.phase1_basics.torch_model import TorchModel
from zoo.errors import InferenceError
from zoo.registry import ModelEntry
from zoo.terminal import progress_bar

WORTH_MEASURING = 200  # pictures; for fewer, finding the best batch takes longer than it saves
MARKS = {"fault": "[red]fault[/]", "warning": "[yellow]warning[/]", "fine": "[green]fine[/]"}


@click.command()
@click.option("--model", "name", help="a file, a folder, or a name from python -m zoo list")
@click.option("--image", type=click.Path(path_type=Path), help="name what is on this picture")
@click.option("--batch", type=click.Path(path_type=Path), help="all pictures in this folder")
@click.option("--arch", help="network of a file of bare weights; default: by the file's name")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps")
@click.option("--labels", type=click.Path(path_type=Path), help="names of the classes, one a line")
@click.option("--top", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--trust", is_flag=True, help="load programs that cannot be checked")
@click.option("--make", type=click.Path(path_type=Path), metavar="FILE",
              help="write a torchvision state dict (resnet50.pth) and end")
@click.option("--pretrained", is_flag=True, help="with --make: torchvision's trained weights")
@click.option("--diagnose", "diagnosing", is_flag=True, help="judge this environment and end")
def command(
    name: str | None, image: Path | None, batch: Path | None, arch: str | None, device: str,
    labels: Path | None, top: int, threads: int, trust: bool, make: Path | None,
    pretrained: bool, diagnosing: bool,
) -> int:
    """Load a model of any format and let it predict."""
    from solutions.phase1_basics.model_loader import find_model, load_model

    if diagnosing:
        return print_diagnosis()
    if make is not None:
        from solutions.phase1_basics.make_weights import make_weights

        click.echo(f"{make_weights(make, arch, pretrained)}: try --model {make}")
        return 0
    if name is None:
        raise click.UsageError("--model, --make or --diagnose is needed")
    with progress_bar("bytes") as bar:
        task = bar.add_task(f"get {name}", visible=False)
        path, entry = find_model(
            name, lambda done, total: bar.update(task, completed=done, total=total, visible=True)
        )
    start = time.perf_counter()
    model = load_model(path, arch, device, trust, threads)
    if isinstance(model, TorchModel):
        model.limit_threads(threads)
    try:
        print_model(model, path, time.perf_counter() - start)
        names = read_labels(labels) if labels else list(entry.labels) if entry else []
        failed = 0
        if image is not None:
            failed += _show_image(model, entry, image, names, top)
        if batch is not None:
            failed += _show_batch(model, entry, batch, names)
        if image is None and batch is None:
            _show_random(model)
        return 1 if failed else 0
    finally:
        model.close()


def image_input_of(model: Model, entry: ModelEntry | None) -> ImageInput:
    """What the model wants its images to look like: by the registry, torchvision, or its shape."""
    if len(model.input_spec) != 1:
        raise InferenceError(f"the model has {len(model.input_spec)} inputs: pictures are for one")
    guess = guess_image_input(model.input_spec[0])
    if entry is not None and entry.input is not None:
        return ImageInput.of_convention(entry.input, guess.layout)
    if model.about.arch is not None:
        from solutions.phase1_basics.torchvision_input import torchvision_input

        return torchvision_input(model.about.arch) or guess
    if isinstance(model, TfliteModel):
        return model.image_input(guess)
    return guess


def print_model(model: Model, path: Path, seconds: float) -> None:
    """What the model is, in a few lines."""
    from solutions.phase1_basics.model_format import detect_format, renamed_note

    about, model_format = model.about, detect_format(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    rows = [
        ("model", f"{path}"),
        ("format", f"{model_format}, {_bytes(sum(file.stat().st_size for file in files))}"),
        ("runtime", f"{about.runtime} on {about.device}, loaded in {seconds:.2f} s"),
    ]
    if about.arch:
        rows.append(("network", about.arch))
    parameters = about.parameters or (onnx_parameters(path) if model_format == "onnx" else None)
    if parameters:
        rows.append(("parameters", f"{parameters:,}"))
    rows += [("input", str(spec)) for spec in model.input_spec]
    rows += [("output", str(spec)) for spec in model.output_spec[:8]]
    rows += [("bound", bound) for bound in about.bounds]
    note = renamed_note(path, model_format)
    rows += [("note", note)] if note else []
    table = Table(box=None, show_header=False, pad_edge=False)
    previous = ""
    for title, value in rows:
        table.add_row(Text("" if title == previous else title, style="bold"), Text(value))
        previous = title
    Console().print(table)


def onnx_parameters(path: Path) -> int | None:
    """Numbers in the initializers of an ONNX file; None without the package onnx."""
    try:
        import onnx
    except ImportError:
        return None
    graph = onnx.load(str(path), load_external_data=False).graph
    count: int = sum(math.prod(tensor.dims) for tensor in graph.initializer)
    return count


def print_diagnosis() -> int:
    """The findings as a table; 1 where one of them is a fault."""
    from solutions.phase1_basics.diagnosis import diagnose
    from solutions.phase1_basics.machine_facts import gather_facts
    from solutions.phase1_basics.self_tests import run_self_tests

    facts = gather_facts()
    findings = diagnose(facts, run_self_tests("cuda" if facts.gpus else "cpu"))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("area", "", "finding", "remedy"):
        table.add_column(title)
    for found in findings:
        table.add_row(found.area, MARKS[found.verdict], Text(found.what), Text(found.remedy))
    if not any(found.area == "environment" for found in findings):
        table.add_row("environment", MARKS["fine"], "nothing to complain about", "")
    Console().print(table)
    return int(any(found.verdict == "fault" for found in findings))


def _show_image(
    model: Model, entry: ModelEntry | None, image: Path, names: list[str], top: int
) -> int:
    want = image_input_of(model, entry)
    prepared = prepare_image(read_image(image), want)
    start = time.perf_counter()
    outputs = model.run(prepared)
    click.echo(f"\n{image}: {1e3 * (time.perf_counter() - start):.1f} ms ({want})")
    if not _is_classifier(outputs[0].shape):
        for output in outputs:
            click.echo(f"output {list(output.shape)}: {output.min():.4g} .. {output.max():.4g}")
        return 0
    scores = as_probabilities(outputs[0].reshape(-1))
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("class")
    table.add_column("probability", justify="right")
    table.add_column("")
    for ranked in top_k(scores, class_labels(len(scores), names), top):
        table.add_row(Text(ranked.label), f"{ranked.score:.1%}", "█" * round(30 * ranked.score))
    Console().print(table)
    return 0


def _show_batch(model: Model, entry: ModelEntry | None, folder: Path, names: list[str]) -> int:
    """A line for each picture, then how many there were; how many could not be read."""
    want = image_input_of(model, entry)
    paths = image_files(folder)
    size = 1
    if model.input_spec[0].shape[0] is None and len(paths) >= WORTH_MEASURING:
        item = np.zeros((1, *_prepared_shape(want)), np.float32)
        size = choose_batch_size(time_batches(model.predict, item, (1, 8, 32), 1), len(paths))
    start = time.perf_counter()
    results = predict_items(
        model.predict, paths, lambda path: prepare_image(read_image(path), want), size
    )
    click.echo("")
    failed = 0
    for result in results:
        failed += result.output is None
        click.echo(f"{result.item.name}: {_in_words(result, names)}")
    took = time.perf_counter() - start
    click.echo(f"\n{len(paths) - failed} of {len(paths)} pictures in {took:.2f} s "
               f"({(len(paths) - failed) / took:.1f} a second, batches of {size})")
    return failed


def _in_words(result: ItemResult[Path], names: Sequence[str]) -> str:
    if result.output is None:
        return f"FAILED, {result.error}"
    if not _is_classifier((1, *result.output.shape)):
        return f"output {list(result.output.shape)}"
    scores: Floats = as_probabilities(result.output.reshape(-1))
    best = top_k(scores, class_labels(len(scores), names), 1)[0]
    return f"{best.label} {best.score:.1%}"


def _show_random(model: Model) -> None:
    rng = np.random.default_rng(0)
    try:
        outputs = model.run(*(blank_input(spec, rng) for spec in model.input_spec))
        times = []
        for _ in range(3):
            start = time.perf_counter()
            model.run(*(blank_input(spec, rng) for spec in model.input_spec))
            times.append(time.perf_counter() - start)
    except InferenceError as error:
        click.echo(f"\nrandom input: {error}")
        return
    shapes = ", ".join(str(list(output.shape)) for output in outputs)
    click.echo(f"\nrandom input: output {shapes} in {1e3 * min(times):.1f} ms; "
               "--image or --batch shows more")


def _is_classifier(shape: Sequence[int]) -> bool:
    """One row of scores, whatever axes of size 1 are around it."""
    return sum(size > 1 for size in shape) == 1 and max(shape) >= 2


def _prepared_shape(want: ImageInput) -> tuple[int, int, int]:
    channels = 1 if want.color == "grey" else 3
    if want.layout == "nchw":
        return channels, want.height, want.width
    return want.height, want.width, channels


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
