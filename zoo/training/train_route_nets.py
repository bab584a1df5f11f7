"""Train the digit spotter and the digit classifier.

    python -m zoo.training.train_route_nets route-sign --data DIR --val DIR --out DIR
    python -m zoo.training.train_route_nets digits --data DIR --val DIR --out DIR

``--val`` holds held-out streets: other backgrounds and other digits. About 5 and 3 minutes on two
cores.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from zoo import digits
from zoo.training.detector_net import count_macs
from zoo.training.route_nets import (
    DIGIT_SIDE,
    SPOT_HEIGHT,
    SPOT_STRIDE,
    SPOT_WIDTH,
    DigitClassifier,
    SignSpotter,
)
from zoo.training.street_data import GROWN, StreetData
from zoo.training.train_detector import Average

BATCH = 128
Rng = np.random.Generator


def spot_batch(
    data: StreetData, chosen: NDArray[np.int64], rng: Rng | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Buses [B, 1, 48, 96], maps [B, 3, 24, 48] (target, height, weight), digit counts [B].

    Without ``rng`` the crop is the exact box; with it the box is jittered as a detector's is.
    """
    images = np.empty((len(chosen), 1, SPOT_HEIGHT, SPOT_WIDTH), np.float32)
    maps = np.zeros(
        (len(chosen), 3, SPOT_HEIGHT // SPOT_STRIDE, SPOT_WIDTH // SPOT_STRIDE), np.float32
    )
    counts = np.zeros(len(chosen), np.int64)
    edge = GROWN / (1 + 2 * GROWN)
    for i, index in enumerate(chosen.tolist()):
        low, high = np.full(2, edge), np.full(2, 1 - edge)
        if rng is not None:
            low, high = low + rng.normal(0, 0.03, 2), high + rng.normal(0, 0.03, 2)
            low, high = np.clip(low, 0, 0.4), np.clip(high, 0.6, 1)
        crop = np.asarray(data.buses[index])
        size = np.array([crop.shape[1], crop.shape[0]])
        scale = np.array([SPOT_WIDTH, SPOT_HEIGHT]) / ((high - low) * size)
        move = -low * size * scale + 0.5 * scale - 0.5
        matrix = np.array([[scale[0], 0, move[0]], [0, scale[1], move[1]]])
        pixels = cv2.warpAffine(crop, matrix, (SPOT_WIDTH, SPOT_HEIGHT), flags=cv2.INTER_LINEAR)
        if rng is not None:
            gain, lift = rng.uniform(0.6, 1.4), rng.uniform(-30, 30)
            pixels = np.clip(pixels * gain + lift, 0, 255)
        images[i, 0] = pixels
        rows = np.array(data.bus_digits[index])
        maps[i, 2] = 0.0 if rows[0, 3] == -2 else 1.0
        for x, y, height, digit in rows:
            if digit < 0 or rows[0, 3] == -2:
                continue
            counts[i] += 1
            at = (np.array([x, y]) - low) / (high - low)
            share = height / (high[1] - low[1])
            _paint_peak(maps[i], at, float(share))
    return torch.from_numpy(images / 255), torch.from_numpy(maps), torch.from_numpy(counts)


def _paint_peak(maps: NDArray[np.float32], at: NDArray[np.float64], share: float) -> None:
    rows, columns = maps.shape[1:]
    x, y = at[0] * columns - 0.5, at[1] * rows - 0.5
    spread = max(0.7, share * rows * 0.16)
    grid_y, grid_x = np.mgrid[:rows, :columns]
    bump = np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / (2 * spread**2))
    centre = (int(np.clip(round(y), 0, rows - 1)), int(np.clip(round(x), 0, columns - 1)))
    bump[centre] = 1.0
    nearer = bump > maps[0]
    maps[1][nearer & (bump > 0.3)] = share
    maps[0] = np.maximum(maps[0], bump)


def spot_loss(raw: Tensor, maps: Tensor) -> Tensor:
    """Heat-map focal loss of CenterNet (equation 1) with soft targets, plus heights by L1."""
    wanted, share, weight = maps[:, 0], maps[:, 1], maps[:, 2]
    charge = bce(raw[:, 0], wanted, reduction="none")
    focus = (wanted - raw[:, 0].sigmoid()).abs().square()
    peaks = (wanted == 1).sum().clamp(min=1)
    heat = (charge * focus * weight).sum() / peaks
    on = (share > 0) * weight
    height = ((raw[:, 1] - share).abs() * on).sum() / on.sum().clamp(min=1)
    return heat + 2 * height


def digit_batch(
    data: StreetData, chosen: NDArray[np.int64], rng: Rng | None
) -> tuple[Tensor, Tensor]:
    """Digits [B, 1, 20, 20] and labels [B]; jittered and mixed with drawn glyphs with ``rng``."""
    images = np.empty((len(chosen), 1, DIGIT_SIDE, DIGIT_SIDE), np.float32)
    labels = np.array(data.digit_labels[chosen])
    glyphs, glyph_labels = digits.glyphs("train")
    for i, index in enumerate(chosen.tolist()):
        crop = np.asarray(data.digits[index]).astype(np.float32)
        if rng is not None and rng.random() < 0.6:
            pick = int(rng.integers(len(glyphs)))
            crop, labels[i] = _drawn(glyphs[pick], rng), glyph_labels[pick]
        side, angle, shift = 40 / 1.5, 0.0, np.zeros(2)
        stretch = 1.0
        if rng is not None:
            side *= float(np.exp(rng.normal(0, 0.07)))
            angle, shift = float(rng.normal(0, 6)), rng.normal(0, 1.4, 2)
            stretch = float(np.exp(rng.normal(0, 0.1)))
        matrix = np.array(cv2.getRotationMatrix2D((0, 0), angle, DIGIT_SIDE / side), np.float64)
        matrix[0, :2] *= stretch
        middle = matrix[:, :2] @ (np.array([19.5, 19.5]) + shift)
        matrix[:, 2] = (DIGIT_SIDE - 1) / 2 - middle
        pixels = cv2.warpAffine(
            crop,
            matrix,
            (DIGIT_SIDE, DIGIT_SIDE),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if rng is not None:
            pixels = pixels * rng.uniform(0.6, 1.4) + rng.uniform(-30, 30)
            pixels = pixels + rng.normal(0, rng.uniform(0, 8), pixels.shape)
        images[i, 0] = np.clip(pixels, 0, 255)
    return torch.from_numpy(images / 255), torch.from_numpy(labels.astype(np.int64))


def _drawn(glyph: NDArray[np.uint8], rng: Rng) -> NDArray[np.float32]:
    """A glyph as a panel shows it, float32 [40, 40]: bent, ink on ground, blurred by distance."""
    large = cv2.resize(glyph.astype(np.float32), (24, 24), interpolation=cv2.INTER_CUBIC)
    cover: NDArray[Any] = np.zeros((40, 40), np.float32)
    cover[8:32, 8:32] = np.clip((large / 16.0 - rng.uniform(0.02, 0.25)) * 1.25, 0.0, 1.0)
    bend = np.eye(2) + rng.normal(0, 0.11, (2, 2))
    shift = np.array([19.5, 19.5]) - bend @ np.array([19.5, 19.5])
    waves = rng.normal(0, 1, (2, 4, 4)).astype(np.float32)
    grid_y, grid_x = np.mgrid[:40, :40].astype(np.float32)
    warp_x = bend[0, 0] * grid_x + bend[0, 1] * grid_y + shift[0] + cv2.resize(waves[0], (40, 40))
    warp_y = bend[1, 0] * grid_x + bend[1, 1] * grid_y + shift[1] + cv2.resize(waves[1], (40, 40))
    cover = cv2.remap(cover, warp_x.astype(np.float32), warp_y.astype(np.float32), cv2.INTER_LINEAR)
    far = int(rng.integers(10, 40))
    cover = cv2.resize(cv2.resize(cover, (far, far), interpolation=cv2.INTER_AREA), (40, 40))
    ground, ink = rng.uniform(10, 70), rng.uniform(130, 250)
    if rng.random() < 0.35:
        ground, ink = ink, ground
    return np.asarray(ground + (ink - ground) * cover, np.float32)


def fit(
    net: nn.Module,
    count: int,
    steps: int,
    seed: int,
    loss_of: Callable[[nn.Module, NDArray[np.int64], Rng], Tensor],
) -> tuple[nn.Module, float]:
    """AdamW with a cosine rate; returns the averaged network and the seconds taken."""
    rng = np.random.default_rng(seed)
    average = Average(net, 0.995)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02)
    start = time.perf_counter()
    for step in range(steps):
        warm = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * warm * (0.02 + 0.49 * (1 + np.cos(np.pi * step / steps)))
        loss = loss_of(net, rng.integers(0, count, BATCH), rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        average.update(net)
        if (step + 1) % 100 == 0:
            spent = time.perf_counter() - start
            print(
                f"step {step + 1}/{steps} loss {float(loss.detach()):.4f} {spent:.0f} s", flush=True
            )
    return average.net, time.perf_counter() - start


def score_digits(net: nn.Module, data: StreetData, legible: float = 9.0) -> float:
    """Accuracy on rendered digits at least ``legible`` pixels high."""
    chosen = np.flatnonzero(np.array(data.digit_heights) >= legible)
    images, labels = digit_batch(data, chosen, None)
    with torch.no_grad():
        return float((net(images).argmax(dim=1) == labels).float().mean())


def score_spots(net: nn.Module, data: StreetData, legible: float = 9.0) -> float:
    """Share of legible buses on which exactly the right number of digits is found."""
    height = np.array(data.bus_digits)[:, 0, 3]
    chosen = np.flatnonzero(height >= 0)
    images, _, counts = spot_batch(data, chosen, None)
    with torch.no_grad():
        heat = net(images)[:, :1].sigmoid()
    peaks = (heat == nn.functional.max_pool2d(heat, 3, 1, 1)) & (heat > 0.4)
    return float((peaks.sum(dim=(1, 2, 3)) == counts).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a network that reads route numbers.")
    parser.add_argument("name", choices=["route-sign", "digits"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    data, held_out = StreetData.load(options.data), StreetData.load(options.val)
    net: nn.Module
    if options.name == "digits":
        net, example, steps = DigitClassifier(), torch.zeros(1, 1, 20, 20), options.steps or 4000
        count = len(data.digits)

        def loss_of(model: nn.Module, chosen: NDArray[np.int64], rng: Rng) -> Tensor:
            images, labels = digit_batch(data, chosen, rng)
            return nn.functional.cross_entropy(model(images), labels, label_smoothing=0.05)
    else:
        net, example, steps = SignSpotter(), torch.zeros(1, 1, 48, 96), options.steps or 1500
        count = len(data.buses)

        def loss_of(model: nn.Module, chosen: NDArray[np.int64], rng: Rng) -> Tensor:
            images, maps, _ = spot_batch(data, chosen, rng)
            return spot_loss(model(images), maps)

    trained, seconds = fit(net, count, steps, options.seed, loss_of)
    score = (score_digits if options.name == "digits" else score_spots)(trained, held_out)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.save(trained.state_dict(), options.out / f"{options.name}.pt")
    record = {
        "steps": steps,
        "seconds": seconds,
        "seed": options.seed,
        "batch": BATCH,
        "macs": count_macs(trained, example),
        "held_out": score,
        "parameters": sum(p.numel() for p in trained.parameters()),
    }
    (options.out / f"{options.name}.json").write_text(json.dumps(record, indent=2))
    print(json.dumps(record))


if __name__ == "__main__":
    main()
