"""Makes the INT8 street detectors that the zoo ships, with their cards.

    python -m solutions.phase2_optimization.build_zoo

Each float detector is quantized with several settings; the one with the best average precision on
validation streets (of the training split, neither trained nor calibrated on) is kept. The cards
tell the precision on held-out streets, which have no say in the choice.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from solutions.phase2_optimization.detector_tasks import (
    on_validation,
    score_on_streets,
    street_task,
)
from solutions.phase2_optimization.evaluation_task import Task, onnx_run
from solutions.phase2_optimization.onnx_rewrite import Model, require_onnx, save_onnx
from solutions.phase2_optimization.quantize_graph import QuantizedModel
from solutions.phase2_optimization.variants import VariantMaker, described
from zoo.evaluate import DetectionScores
from zoo.registry import MODELS, ModelEntry, find
from zoo.terminal import run_command
from zoo.training.model_card import write_sums

SIZES = ("small", "middle", "large")
RECIPES = ("static minmax", "static percentile", "static mse", "careful")
HELD_OUT_STREETS = 16  # as for the float detectors
CARD = """# zoo:{name}

{about}.

| | |
|---|---|
| input | `images` float32 [N, 3, 192, 320], BGR 0..255, letterbox top left, pad 114 |
| output | `output` float32 [N, cells, 10]: the yolox layout, undecoded |
| made from | `zoo:{source}` by `python -m solutions.phase2_optimization.build_zoo`: recipe "{recipe}", calibrated on 64 frames of 16 training streets |
| in integers | {described} |
| size | {bytes:,} bytes as ONNX (float32: {float_bytes:,}) |
| held-out accuracy | mAP@0.5 {map50:.1f}, mAP@0.5:0.95 {map:.1f} on {streets} streets (float32: {float_map50:.1f} and {float_map:.1f}) |
| licence | MIT |

What stays in float, and why:

{reasons}

Held-out means streets of the test split: other seeds, other backgrounds ("brickrow",
"waterfront") and other handwritten digits than in training. The network knows procedural streets
only; on real video it is of little use.
"""  # noqa: E501


def quantize_detector(
    task: Task, say: Callable[[str], None]
) -> tuple[str, QuantizedModel]:
    """The best recipe on the task's metric, and what it makes."""
    maker = VariantMaker(task)
    made = {}
    for name in RECIPES:
        model = maker.recipes()[name]()
        made[name] = (task.score(model.model), model)
        say(f"{task.name} {name}: {made[name][0]:.4f} on validation streets")
    best = max(made, key=lambda name: made[name][0])
    return best, made[best][1]


def write_card(
    entry: ModelEntry, source: ModelEntry, recipe: str, made: QuantizedModel,
    scores: tuple[DetectionScores, DetectionScores], folder: Path,
) -> None:
    """Write the card of a quantized detector; ``scores``: its own and the float one's."""
    own, real = scores
    text = CARD.format(
        name=entry.name.removeprefix("zoo:"), source=source.name.removeprefix("zoo:"),
        about=entry.about[0].upper() + entry.about[1:], recipe=recipe, described=described(made),
        bytes=(folder / entry.file).stat().st_size,
        float_bytes=(folder / source.file).stat().st_size,
        map50=100 * own.map50, map=100 * own.map, float_map50=100 * real.map50,
        float_map=100 * real.map, streets=HELD_OUT_STREETS,
        reasons="\n".join(f"- `{name}`: {why}" for name, why in made.float_layers.items()),
    )
    (folder / entry.file).with_suffix(".md").write_text(text)


def with_recipe(model: Model, recipe: str) -> Model:
    """The model with a note of how it was made, beside the float model's own metadata."""
    kept = {item.key: item.value for item in model.metadata_props} | {"quantization": recipe}
    require_onnx().helper.set_model_props(model, kept)
    return model


@click.command()
@click.argument("sizes", nargs=-1, type=click.Choice(SIZES))
@click.option("--out", type=click.Path(path_type=Path), default=MODELS,
              help="folder of the models; default: the zoo's own")
def build(sizes: Sequence[str], out: Path) -> None:
    """Quantize the street detectors and write their cards."""
    kept = json.loads((MODELS / "scores.json").read_text())
    out.mkdir(parents=True, exist_ok=True)
    for size in sizes or SIZES:
        source, entry = find(f"zoo:street-{size}"), find(f"zoo:street-{size}-int8")
        task = street_task(source)
        recipe, made = quantize_detector(
            replace(task, metric=on_validation(source)), lambda line: click.echo(line, err=True))
        save_onnx(with_recipe(made.model, recipe), out / entry.file)
        scores = score_on_streets(entry, onnx_run(made.model), HELD_OUT_STREETS)
        real = score_on_streets(source, onnx_run(task.model), HELD_OUT_STREETS)
        click.echo(f"{entry.name}: {recipe}, mAP@0.5 {scores.map50:.3f} ({real.map50:.3f}), "
                   f"mAP@0.5:0.95 {scores.map:.3f} ({real.map:.3f})")
        if out == MODELS:
            name = entry.name.removeprefix("zoo:")
            kept[name] = asdict(scores) | {"streets": HELD_OUT_STREETS}
            write_card(entry, source, recipe, made, (scores, real), out)
    if out == MODELS:
        (MODELS / "scores.json").write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
        write_sums(MODELS)


if __name__ == "__main__":
    sys.exit(run_command(build))
