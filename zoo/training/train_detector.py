"""Train one street detector.

    python -m zoo.training.train_detector street-middle --data DIR --out DIR --minutes 25

The same seed, data and number of steps give the same network on the same machine; ``--minutes``
measures the speed first and chooses the steps from it, ``--steps`` fixes them.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.training.detector_loss import detector_loss
from zoo.training.detector_net import SIZES, StreetDetector, cells, count_macs
from zoo.training.street_data import HEIGHT, PAD, WIDTH, StreetData

WARM_STEPS = 200
PEAK_RATE = 3e-3  # at a batch of 32; smaller batches take a smaller one


def zoom(
    image: NDArray[np.uint8], rows: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The image enlarged or reduced and shifted at random, with its boxes.

    What leaves the image for the most part, or becomes less than 5 pixels high, no longer counts.
    """
    scale = float(np.exp(rng.uniform(np.log(0.85), np.log(1.5))))
    free = np.array([WIDTH, HEIGHT]) * (1 - scale)
    shift = rng.uniform(np.minimum(free, 0), np.maximum(free, 0))
    transform = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    flags = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA
    moved = cv2.warpAffine(
        image,
        transform,
        (WIDTH, HEIGHT),
        flags=flags,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(PAD, PAD, PAD),
    )
    result = rows.copy()
    whole = rows[:, 1:5] * scale + np.tile(shift, 2)
    clipped = np.clip(whole, 0, np.tile([WIDTH, HEIGHT], 2))
    area = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    kept = area / np.maximum(np.prod(whole[:, 2:] - whole[:, :2], axis=1), 1e-6)
    result[:, 1:5] = clipped
    result[(area <= 1) | (rows[:, 0] < 0), 0] = -1
    too_little = (kept < 0.3) | (clipped[:, 3] - clipped[:, 1] < 5)
    result[too_little, 5] = 0
    return np.asarray(moved, np.uint8), result


def batch_of(
    data: StreetData, chosen: NDArray[np.int64], rng: np.random.Generator, augment: bool
) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, W] in 0..1 and truth rows [B, M, 6]."""
    images, rows = [], []
    for index in chosen.tolist():
        image, truth = np.asarray(data.images[index]), np.array(data.boxes[index])
        if augment and rng.random() < 0.4:
            image, truth = zoom(image, truth, rng)
        if augment and rng.random() < 0.5:
            image = image[:, ::-1]
            truth[:, [1, 3]] = WIDTH - truth[:, [3, 1]]
        images.append(image)
        rows.append(truth)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    truth_rows = torch.from_numpy(np.stack(rows))
    most = int((truth_rows[..., 0] >= 0).sum(dim=1).max())
    if augment:
        size = (len(chosen), 1, 1, 1)
        gain = torch.from_numpy(rng.uniform(0.7, 1.3, size).astype(np.float32))
        tint = torch.from_numpy(rng.uniform(0.92, 1.08, (len(chosen), 3, 1, 1)).astype(np.float32))
        lift = torch.from_numpy(rng.uniform(-0.08, 0.08, size).astype(np.float32))
        pixels = (pixels * gain * tint + lift).clamp_(0, 1)
    order = truth_rows[..., 0].argsort(dim=1, descending=True, stable=True)[:, :most]
    truth_rows = truth_rows.gather(1, order[..., None].expand(-1, -1, 6))
    return pixels.contiguous(memory_format=torch.channels_last), truth_rows


class Average:
    """Exponential moving average of a network's weights and statistics."""

    def __init__(self, net: nn.Module, decay: float = 0.998) -> None:
        self.net = copy.deepcopy(net).eval()
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the network's present state."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for mine, other in zip(
            self.net.state_dict().values(), net.state_dict().values(), strict=True
        ):
            if mine.dtype.is_floating_point:
                mine.lerp_(other, 1 - decay)
            else:
                mine.copy_(other)


def rate_at(step: int, steps: int, batch: int) -> float:
    """Learning rate: linear warm-up, then cosine to 2% of the peak."""
    peak = PEAK_RATE * math.sqrt(batch / 32)
    if step < WARM_STEPS:
        return peak * (step + 1) / WARM_STEPS
    share = (step - WARM_STEPS) / max(1, steps - WARM_STEPS)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def train(
    name: str,
    data: StreetData,
    steps: int | None,
    minutes: float | None,
    batch: int,
    seed: int,
    checkpoint: Path,
) -> tuple[StreetDetector, dict[str, float]]:
    """Train from scratch; returns the averaged network and what it took."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = StreetDetector(SIZES[name]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = Average(net)
    grid = cells(net.strides, WIDTH, HEIGHT)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    )
    start, timed_from, step = time.perf_counter(), 0.0, 0
    total = steps or 10**9
    order = rng.permutation(len(data.images))
    while step < total:
        if step == 10:
            timed_from = time.perf_counter()
        if step == 40 and steps is None and minutes is not None:
            each = (time.perf_counter() - timed_from) / 30
            total = int((minutes * 60 - (time.perf_counter() - start)) / each) + step
            print(
                f"{each * 1e3:.0f} ms a step, {batch / each:.0f} images/s: {total} steps",
                flush=True,
            )
        begin = step * batch % (len(order) - batch)
        if begin < batch:
            order = rng.permutation(len(data.images))
        images, rows = batch_of(data, order[begin : begin + batch], rng, augment=True)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, total, batch)
        with torch.autocast("cpu", torch.bfloat16):
            raw = net(images)
        loss, parts = detector_loss(raw.float(), rows, grid, net.strides, WIDTH, HEIGHT)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        average.update(net)
        step += 1
        if step % 50 == 0:
            spent = time.perf_counter() - start
            print(
                f"step {step}/{total} loss {float(loss.detach()):.3f} "
                + " ".join(f"{k} {v:.3f}" for k, v in parts.items())
                + f" {spent:.0f} s",
                flush=True,
            )
        if step % 500 == 0:
            torch.save(average.net.state_dict(), checkpoint)
    seconds = time.perf_counter() - start
    torch.save(average.net.state_dict(), checkpoint)
    assert isinstance(average.net, StreetDetector)
    return average.net, {"steps": total, "seconds": seconds, "seed": seed, "batch": batch}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one street detector.")
    parser.add_argument("name", choices=list(SIZES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained weights")
    options = parser.parse_args()
    if options.steps is None and options.minutes is None:
        parser.error("say --steps or --minutes")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    net, record = train(
        options.name,
        StreetData.load(options.data),
        options.steps,
        options.minutes,
        options.batch,
        options.seed,
        options.out / f"{options.name}.pt",
    )
    record["macs"] = count_macs(net, torch.zeros(1, 3, HEIGHT, WIDTH))
    record["parameters"] = sum(p.numel() for p in net.parameters())
    (options.out / f"{options.name}.json").write_text(json.dumps(record, indent=2))
    print(json.dumps(record))


if __name__ == "__main__":
    main()
