"""Model cards: what a shipped network is, what it learned from, and how good it is.

    python -m zoo.training.model_card

writes the cards anew from the training records (``NAME.json`` beside the weights, kept in
``zoo/models/training.json``) and the scores of ``python -m zoo score NAME --save``.
"""

import json
from pathlib import Path
from typing import Any

from zoo import registry

RECORDS = "training.json"
SCORES = "scores.json"

CARD = """# {title}

{about}.

| | |
|---|---|
| input | {input} |
| output | {output} |
| size | {parameters:,} parameters, {bytes:,} bytes as ONNX (float32) |
| work | {macs:.1f} million multiply-accumulates an image |
| training data | {data} |
| training | {training} |
| held-out accuracy | {score} |
| licence | MIT |

Held-out means streets of the test split: other seeds, other backgrounds ("brickrow",
"waterfront") and other handwritten digits than in training. The network knows procedural streets
only; on real video it is of little use.
"""

DATA = (
    "12,000 frames of 1,500 procedural streets (train split, difficulty around 0.5, zoom 1), "
    "compressed at random quality: `python -m zoo.training.street_data --split train`"
)


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of the shipped weights."""
    files = sorted([*folder.glob("*.onnx"), *folder.glob("*.safetensors")])
    lines = [f"{registry.sha256_of(path)}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def write_card(name: str, record: dict[str, Any], folder: Path) -> None:
    """Keep the training's record and write the card of one network."""
    records = read_json(folder / RECORDS)
    records[name] = record
    write_sums(folder)
    (folder / RECORDS).write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")
    write_cards(folder)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file, {} where there is none."""
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def write_cards(folder: Path) -> None:
    """Write the cards of all networks that have a record."""
    scores = read_json(folder / SCORES)
    for name, record in read_json(folder / RECORDS).items():
        text = CARD.format(
            title=f"zoo:{name}",
            about=_sentence(registry.find(f"zoo:{name}").about),
            **_shapes(name),
            parameters=record["parameters"],
            bytes=(folder / f"{name}.onnx").stat().st_size,
            macs=record["macs"] / 1e6,
            data=DATA,
            training=_training(name, record),
            score=_score(name, record, scores),
        )
        (folder / f"{name}.md").write_text(text)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _training(name: str, record: dict[str, Any]) -> str:
    module = "train_detector" if name.startswith("street-") else "train_route_nets"
    batch = f" --batch {record['batch']}" if name.startswith("street-") else ""
    minutes = record["seconds"] / 60
    return (
        f"{record['steps']:,} steps of {record['batch']} in {minutes:.0f} minutes on "
        f"one core, seed {record['seed']}: `python -m zoo.training.{module} {name} --steps "
        f"{record['steps']}{batch} --threads 1 ...`"
    )


def _shapes(name: str) -> dict[str, str]:
    if name.startswith("street-"):
        return {
            "input": "`images` float32 [N, 3, 192, 320], BGR 0..255, letterbox top left, pad 114",
            "output": "`output` float32 [N, cells, 10]: the yolox layout, undecoded",
        }
    if name == "route-sign":
        return {
            "input": "`images` float32 [N, 1, 48, 96], grey 0..255: a bus's box",
            "output": "`heatmap` float32 [N, 2, 24, 48]: digit probability, height / crop height",
        }
    return {
        "input": "`images` float32 [N, 1, 20, 20], grey 0..255: a square of 1.4 digit heights",
        "output": "`logits` float32 [N, 10]",
    }


def _score(name: str, record: dict[str, Any], scores: dict[str, Any]) -> str:
    if name == "digits":
        percent = 100 * record["held_out"]
        return f"{percent:.1f}% of digits at least 9 pixels high, one look, as rendered"
    if name == "route-sign":
        percent = 100 * record["held_out"]
        return (
            f"the right number of digits found on {percent:.1f}% of buses whose number is in full "
            "view, at any distance, in one look"
        )
    found = scores.get(name)
    if found is None:
        return "not measured yet"
    by_class = ", ".join(f"{k} {100 * v:.1f}" for k, v in found["by_class"].items())
    return (
        f"mAP@0.5 {100 * found['map50']:.1f}, mAP@0.5:0.95 {100 * found['map']:.1f} on "
        f"{found['streets']} streets ({by_class})"
    )


if __name__ == "__main__":
    write_cards(registry.MODELS)
