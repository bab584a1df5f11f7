"""Training data: rendered streets, once, as memory-mapped arrays at the networks' resolution.

From each scene a few frames far apart are drawn at 640x360 and degraded as a codec would. Kept:

- ``images`` uint8 [n, 192, 320, 3]: letterboxed (top left, pad 114) exactly as at inference;
- ``boxes`` float32 [n, 96, 6]: label (-1: none), x1, y1, x2, y2 in network pixels, counts (0/1);
- ``buses`` uint8 [m, 80, 160]: grey bus boxes grown by ``GROWN``, with ``bus_digits`` float32
  [m, 3, 4]: x, y, height in shares of the grown crop (height of its height), digit (-1: none);
  -2 as the first digit marks a bus whose number is partly hidden;
- ``digits`` uint8 [k, 40, 40]: grey squares of side 2.1 digit heights, ``digit_labels`` int64 [k]
  and ``digit_heights`` float32 [k] in image pixels.

    python -m zoo.training.street_data --split train --scenes 1500 --frames 8 --out DIR
"""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from zoo.street.figures import DigitCentre
from zoo.street.street import Split, Street, StreetConfig
from zoo.street.truth import CLASSES, TrueObject

WIDTH, HEIGHT, PAD = 320, 192, 114
MOST = 96  # objects per frame
GROWN = 0.2  # of the box's size, on each side
BUS = CLASSES.index("bus")
CLIP_FRAMES = 600  # frames are drawn from a clip of 20 seconds


@dataclass(frozen=True)
class StreetData:
    """The arrays of one data set; see the module's docstring."""

    images: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    buses: NDArray[np.uint8]
    bus_digits: NDArray[np.float32]
    digits: NDArray[np.uint8]
    digit_labels: NDArray[np.int64]
    digit_heights: NDArray[np.float32]

    def save(self, directory: Path) -> None:
        """Write one .npy file per array."""
        directory.mkdir(parents=True, exist_ok=True)
        for field in fields(self):
            np.save(directory / f"{field.name}.npy", getattr(self, field.name))

    @classmethod
    def load(cls, directory: Path) -> "StreetData":
        """Memory-map the arrays of a directory."""
        arrays = {f.name: np.load(directory / f"{f.name}.npy", mmap_mode="r") for f in fields(cls)}
        return cls(**arrays)


def degrade(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Compression losses: DCT quantization at a random quality, as video codecs cause."""
    quality = int(rng.integers(35, 92))
    ok, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok, image.shape
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def letterbox(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """The image in the networks' input size, and the scale that its boxes take."""
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    canvas = np.full((HEIGHT, WIDTH, 3), PAD, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return canvas, scale


def pack_boxes(objects: tuple[TrueObject, ...], scale: float) -> NDArray[np.float32]:
    """Ground truth of one frame as rows of ``boxes``, the best visible first."""
    rows = np.full((MOST, 6), -1, np.float32)
    ordered = sorted(objects, key=lambda item: -item.visibility)[:MOST]
    for row, item in zip(rows, ordered, strict=False):
        row[0], row[1:5], row[5] = item.label, np.array(item.box) * scale, item.counts
    return rows


def _cut(
    image: NDArray[np.uint8],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    span = high - low
    transform = np.array(
        [
            [span[0] / size[0], 0, low[0] + 0.5 * span[0] / size[0] - 0.5],
            [0, span[1] / size[1], low[1] + 0.5 * span[1] / size[1] - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, transform, size, flags=flags, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


def _buses(
    grey: NDArray[np.uint8], objects: tuple[TrueObject, ...], centres: list[DigitCentre]
) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    found = []
    for item in objects:
        if item.label != BUS or not item.counts or item.box[3] - item.box[1] < 24:
            continue
        low, high = np.array(item.box[:2]), np.array(item.box[2:])
        margin = GROWN * (high - low)
        low, high = low - margin, high + margin
        rows = np.full((3, 4), -1, np.float32)
        mine = [c for c in centres if c.identity == item.identity]
        for row, centre in zip(rows, mine, strict=False):
            share = (np.array([centre.x, centre.y]) - low) / (high - low)
            row[:] = (*share, centre.height / (high[1] - low[1]), centre.digit)
        if mine and not item.digits_visible:
            rows[0, 3] = -2
        found.append((_cut(grey, low, high, (160, 80)), rows))
    return found


def draw_scene(
    seed: int, frames: int, split: Split, difficulty: float | None
) -> tuple[list[NDArray[np.generic]], ...]:
    """The arrays of one scene, each as a list of rows."""
    rng = np.random.default_rng([seed, 77])
    hard = float(np.clip(rng.normal(0.5, 0.15), 0, 1)) if difficulty is None else difficulty
    street = Street(
        StreetConfig(seed=seed, frames=CLIP_FRAMES, difficulty=hard, split=split, zoom=1.0)
    )
    columns: tuple[list[NDArray[np.generic]], ...] = ([], [], [], [], [], [], [])
    for index in rng.choice(CLIP_FRAMES, frames, replace=False).tolist():
        clean, truth = street.frame(index)
        image = degrade(clean, rng)
        canvas, scale = letterbox(image)
        centres = street.digit_centres(index)
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        columns[0].append(canvas)
        columns[1].append(pack_boxes(truth.objects, scale))
        for crop, rows in _buses(grey, truth.objects, centres):
            columns[2].append(crop)
            columns[3].append(rows)
        legible = {item.identity for item in truth.objects if item.digits_visible}
        for centre in centres:
            if centre.identity in legible and centre.height >= 6:
                half = 1.05 * centre.height
                middle = np.array([centre.x, centre.y])
                columns[4].append(_cut(grey, middle - half, middle + half, (40, 40)))
                columns[5].append(np.array(centre.digit, np.int64))
                columns[6].append(np.array(centre.height, np.float32))
    return columns


def _one(job: tuple[int, int, Split, float | None]) -> tuple[list[NDArray[np.generic]], ...]:
    cv2.setNumThreads(1)
    return draw_scene(*job)


def render(
    split: Split, first_seed: int, scenes: int, frames: int, difficulty: float | None, workers: int
) -> StreetData:
    """Draw the whole data set with several processes; prints progress."""
    jobs = [(first_seed + i, frames, split, difficulty) for i in range(scenes)]
    columns: tuple[list[NDArray[np.generic]], ...] = ([], [], [], [], [], [], [])
    start = time.perf_counter()
    # a forked child inherits locks that threads of OpenCV or PyTorch hold, and waits for ever
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=fresh) as pool:
        for done, scene in enumerate(pool.map(_one, jobs, chunksize=4), 1):
            for column, rows in zip(columns, scene, strict=True):
                column += rows
            if done % 50 == 0:
                spent = time.perf_counter() - start
                print(f"{done}/{scenes} scenes, {spent:.0f} s", flush=True)
    shapes = ((HEIGHT, WIDTH, 3), (MOST, 6), (80, 160), (3, 4), (40, 40), (), ())
    arrays: list[Any] = [
        np.stack(column) if column else np.zeros((0, *shape))
        for column, shape in zip(columns, shapes, strict=True)
    ]
    return StreetData(*arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--split", choices=["train", "test"], default="train")
    parser.add_argument("--scenes", type=int, default=1500)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--difficulty", type=float, help="default: varied around 0.5")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    start = time.perf_counter()
    data = render(
        options.split,
        options.first_seed,
        options.scenes,
        options.frames,
        options.difficulty,
        options.workers,
    )
    data.save(options.out)
    print(
        f"{len(data.images)} frames, {len(data.buses)} buses, {len(data.digits)} digits in "
        f"{time.perf_counter() - start:.0f} s: {options.out}"
    )


if __name__ == "__main__":
    main()
