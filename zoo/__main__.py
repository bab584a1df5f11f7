"""``python -m zoo``: list what the zoo has, get public models, render streets."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from zoo import registry
from zoo.errors import InferenceError
from zoo.street import CLASSES, StreetConfig, materialise
from zoo.terminal import progress_bar, run_command


@click.group()
def zoo() -> None:
    """Models, data, videos and streets of the course."""


@zoo.command("list")
def list_entries() -> None:
    """Everything that has a name."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for title in ("name", "kind", "here", "licence", "what it is"):
        table.add_column(title)
    for entry in registry.entries().values():
        here = "yes" if registry.available(entry) else "no"
        table.add_row(entry.name, entry.kind, here, entry.licence, entry.about)
    Console().print(table)


@zoo.command()
@click.argument("name")
def get(name: str) -> None:
    """Download a public model, verify it, and print where it lies."""
    entry = registry.find(name)
    with progress_bar("bytes") as bar:
        task = bar.add_task(f"get {entry.name}", total=entry.size)
        path = registry.fetch(entry, lambda done, total: bar.update(task, completed=done))
    print(path)


@zoo.command()
@click.option("--seed", default=0, show_default=True, help="which street")
@click.option("--frames", default=300, show_default=True)
@click.option("--fps", default=30.0, show_default=True)
@click.option("--size", default="640x360", show_default=True, help="WIDTHxHEIGHT")
@click.option(
    "--difficulty",
    default=StreetConfig.difficulty,
    show_default=True,
    help="0 (empty) to 1 (crowded)",
)
@click.option("--split", default="test", type=click.Choice(["train", "test"]), show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("out/streets"), show_default=True
)
def street(
    seed: int, frames: int, fps: float, size: str, difficulty: float, split: str, output: Path
) -> None:
    """Render a street: video.mp4, coco.json, gt/gt.txt."""
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise InferenceError(f"--size {size}: write it as 640x360")
    config = StreetConfig(
        seed,
        frames,
        int(width),
        int(height),
        fps,
        difficulty,
        "train" if split == "train" else "test",
    )
    with progress_bar("frames") as bar:
        task = bar.add_task("render", total=frames)
        clip = materialise(config, output, lambda done, total: bar.update(task, completed=done))
    print(clip.video.parent)


@zoo.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--streets", default=40, show_default=True, help="held-out streets")
@click.option("--frames", default=150, show_default=True, help="length of each; every 15th counts")
@click.option("--save", is_flag=True, help="keep the scores of shipped models for their cards")
def score(names: tuple[str, ...], streets: int, frames: int, save: bool) -> None:
    """Average precision of detectors on held-out streets."""
    from rich.console import Console
    from rich.table import Table

    from zoo.score_detector import score_detectors

    entries = [registry.find(name) for name in names]
    with progress_bar("streets") as bar:
        task = bar.add_task("score", total=streets)
        scores = score_detectors(
            entries, streets, frames, lambda done, total: bar.update(task, completed=done)
        )
    table = Table(box=None, header_style="bold")
    for title in ("detector", "mAP@0.5", "mAP", "small", "medium", "large", *CLASSES):
        table.add_column(title, justify="left" if title == "detector" else "right")
    for name, found in scores.items():
        values = [found.map50, found.map, found.small, found.medium, found.large]
        table.add_row(name, *(f"{v:.3f}" for v in [*values, *found.by_class.values()]))
    Console().print(table)
    if save:
        path = registry.MODELS / "scores.json"
        kept = json.loads(path.read_text()) if path.is_file() else {}
        for name, found in scores.items():
            if name.startswith("zoo:"):
                kept[name.removeprefix("zoo:")] = asdict(found) | {"streets": streets}
        path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(zoo))
