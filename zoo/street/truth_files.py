"""Ground truth on disk: MOTChallenge text for trackers, COCO JSON for detectors.

MOTChallenge: Dendorfer et al., arXiv:2003.09003, section 3.4; frames from 1, boxes as left, top,
width, height. COCO: Lin et al., arXiv:1405.0312, cocodataset.org/#format-data; category ids from
1, and our own fields ``track_id``, ``visibility``, ``route``, ``digits_visible`` and
``digit_height`` beside the standard ones.
"""

import json
from pathlib import Path
from typing import Any

from zoo.errors import InferenceError
from zoo.street.truth import CLASSES, FrameTruth, StreetTruth, TrueObject


def write_mot(truth: StreetTruth, directory: Path) -> None:
    """Write ``gt/gt.txt`` and ``seqinfo.ini``.

    A line is: frame, identity, left, top, width, height, counts (1 or 0), class from 1,
    visibility.
    """
    lines = []
    for frame in truth.frames:
        for item in frame.objects:
            x1, y1, x2, y2 = item.box
            lines.append(
                f"{frame.index + 1},{item.identity},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},"
                f"{int(item.counts)},{item.label + 1},{item.visibility:.3f}"
            )
    (directory / "gt").mkdir(parents=True, exist_ok=True)
    (directory / "gt" / "gt.txt").write_text("\n".join(lines) + "\n" if lines else "")
    (directory / "seqinfo.ini").write_text(
        f"[Sequence]\nname={truth.name}\nimDir=\nframeRate={truth.fps:g}\n"
        f"seqLength={len(truth.frames)}\nimWidth={truth.width}\nimHeight={truth.height}\nimExt=\n"
    )


def _annotation(number: int, image: int, item: TrueObject) -> dict[str, Any]:
    x1, y1, x2, y2 = item.box
    return {
        "id": number,
        "image_id": image,
        "category_id": item.label + 1,
        "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
        "area": round((x2 - x1) * (y2 - y1), 3),
        "iscrowd": 0,
        "ignore": int(not item.counts),
        "track_id": item.identity,
        "visibility": round(item.visibility, 4),
        "route": item.route,
        "digits_visible": item.digits_visible,
        "digit_height": round(item.digit_height, 3),
    }


def write_coco(truth: StreetTruth, path: Path) -> None:
    """Write the whole ground truth as one COCO JSON file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame in truth.frames:
        image = frame.index + 1
        images.append(
            {
                "id": image,
                "width": truth.width,
                "height": truth.height,
                "file_name": f"{frame.index:06d}",
                "time": frame.time,
            }
        )
        for item in frame.objects:
            annotations.append(_annotation(len(annotations) + 1, image, item))
    document = {
        "info": {"description": truth.name, "fps": truth.fps},
        "images": images,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": annotations,
    }
    path.write_text(json.dumps(document, separators=(",", ":")))


def read_coco(path: Path) -> StreetTruth:
    """Read what :func:`write_coco` wrote.

    Raises InferenceError where the file is missing, is not JSON, or lacks a field.
    """
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise InferenceError(f"ground truth {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InferenceError(f"ground truth {path} is not JSON: {error}") from error
    try:
        return _parse(document)
    except (LookupError, TypeError, ValueError, AssertionError) as error:
        raise InferenceError(
            f"ground truth {path} is not a street's coco.json: {type(error).__name__} {error}"
        ) from error


def _parse(document: dict[str, Any]) -> StreetTruth:
    names = {entry["id"]: entry["name"] for entry in document["categories"]}
    objects: dict[int, list[TrueObject]] = {image["id"]: [] for image in document["images"]}
    for entry in document["annotations"]:
        left, top, width, height = map(float, entry["bbox"])
        objects[entry["image_id"]].append(
            TrueObject(
                identity=int(entry["track_id"]),
                label=CLASSES.index(names[entry["category_id"]]),
                box=(left, top, left + width, top + height),
                visibility=float(entry["visibility"]),
                route=str(entry["route"]),
                digits_visible=bool(entry["digits_visible"]),
                digit_height=float(entry["digit_height"]),
            )
        )
    frames = tuple(
        FrameTruth(image["id"] - 1, float(image["time"]), tuple(objects[image["id"]]))
        for image in document["images"]
    )
    first = document["images"][0]
    return StreetTruth(
        str(document["info"]["description"]),
        int(first["width"]),
        int(first["height"]),
        float(document["info"]["fps"]),
        frames,
    )
