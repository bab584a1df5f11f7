"""Which cell answers for which object, and what it is charged for.

Task-aligned assignment (Feng et al., arXiv:2108.07755, section 3.2) over few candidates: for each
object the cells around its centre on the levels that fit its size; the ``TOP`` best by
``score * IoU^6`` answer for it. Objects that do not count (too small, too hidden) are assigned
like the others and then charged for nothing, neither as objects nor as background.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from zoo.street.truth import CLASSES
from zoo.training.detector_net import decode_boxes

WINDOW = 2  # candidates: cells within this many of the centre's cell
TOP = 8
SCORE_POWER, IOU_POWER = 0.5, 4.0
BOX_WEIGHT, OBJECT_WEIGHT, CLASS_WEIGHT = 5.0, 1.0, 1.0


class Assignment(NamedTuple):
    """Cells [P] that answer for objects."""

    cell: Tensor  # int64, index into B * N
    target: Tensor  # int64, index into the objects [G]
    quality: Tensor  # float, the score that the cell should give


class Targets(NamedTuple):
    """All objects of a batch."""

    image: Tensor  # int64 [G]
    label: Tensor  # int64 [G]
    box: Tensor  # float [G, 4] network pixels
    counts: Tensor  # bool [G]


def gather_targets(rows: Tensor) -> Targets:
    """Padded rows [B, M, 6] (label, box, counts; label -1: none) as flat targets."""
    present = rows[..., 0] >= 0
    image = present.nonzero()[:, 0]
    flat = rows[present]
    return Targets(image, flat[:, 0].long(), flat[:, 1:5], flat[:, 5] > 0)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of paired boxes [P, 4], [P, 4] -> [P]."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    overlap = (high - low).clamp(min=0).prod(dim=1)
    areas = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1)
    return overlap / (areas - overlap).clamp(min=1e-6)


def ciou_loss(a: Tensor, b: Tensor) -> Tensor:
    """1 - complete IoU of paired boxes (Zheng et al., arXiv:1911.08287, equation 10)."""
    iou = box_iou(a, b)
    low, high = torch.minimum(a[:, :2], b[:, :2]), torch.maximum(a[:, 2:], b[:, 2:])
    diagonal = (high - low).square().sum(dim=1).clamp(min=1e-6)
    gap = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(dim=1)
    size_a, size_b = (a[:, 2:] - a[:, :2]).clamp(min=1e-3), (b[:, 2:] - b[:, :2]).clamp(min=1e-3)
    angle = torch.atan(size_b[:, 0] / size_b[:, 1]) - torch.atan(size_a[:, 0] / size_a[:, 1])
    aspect = 0.40528473 * angle.square()  # 4 / pi^2
    with torch.no_grad():
        weight = aspect / (1 - iou + aspect + 1e-6)
    return 1 - iou + gap / diagonal + weight * aspect


def candidates(
    targets: Targets, strides: tuple[int, ...], width: int, height: int
) -> tuple[Tensor, Tensor]:
    """Cells near the objects' centres: cell [G, K] within an image, and which are valid [G, K]."""
    box = targets.box
    centre = (box[:, :2] + box[:, 2:]) / 2
    extent = (box[:, 2:] - box[:, :2]).amax(dim=1)
    steps = torch.arange(-WINDOW, WINDOW + 1)
    dy, dx = (t.reshape(-1) for t in torch.meshgrid(steps, steps, indexing="ij"))
    indices, valid = [], []
    offset = 0
    for stride in strides:
        columns, rows = width // stride, height // stride
        x = (centre[:, 0] / stride).floor().long()[:, None] + dx
        y = (centre[:, 1] / stride).floor().long()[:, None] + dy
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        middle = torch.stack([x + 0.5, y + 0.5], dim=-1) * stride
        distance = (middle - centre[:, None]).abs()
        half = ((box[:, 2:] - box[:, :2]) / 2).clamp(min=0.75 * stride)[:, None]
        fits = torch.ones_like(extent, dtype=torch.bool)
        if stride != strides[0]:
            fits &= extent >= 1.5 * stride
        if stride != strides[-1]:
            fits &= extent <= 12 * stride
        valid.append(inside & (distance < half).all(dim=-1) & fits[:, None])
        indices.append(offset + y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1))
        offset += columns * rows
    return torch.cat(indices, dim=1), torch.cat(valid, dim=1)


@torch.no_grad()
def assign(
    raw: Tensor, boxes: Tensor, targets: Targets, strides: tuple[int, ...], width: int, height: int
) -> Assignment:
    """The cells that answer for the objects; a cell answers for the one it overlaps most."""
    count = raw.shape[1]
    near, valid = candidates(targets, strides, width, height)
    cell = targets.image[:, None] * count + near
    pairs = cell.reshape(-1)
    repeats = near.shape[1]
    flat = raw.reshape(-1, raw.shape[2])[pairs]
    label = targets.label.repeat_interleave(repeats)
    score = flat[:, 4].sigmoid() * flat[:, 5:].gather(1, label[:, None])[:, 0].sigmoid()
    iou = box_iou(boxes.reshape(-1, 4)[pairs], targets.box.repeat_interleave(repeats, dim=0))
    iou = iou.reshape(near.shape)
    fit = score.reshape(near.shape).clamp(min=1e-9) ** SCORE_POWER * iou**IOU_POWER
    fit = torch.where(valid, fit + 1e-9, -torch.ones_like(fit))
    best = fit.topk(TOP, dim=1)
    kept = best.values > 0
    quality = best.values / best.values[:, :1].clamp(min=1e-9)
    chosen_iou = iou.gather(1, best.indices)
    quality = quality * chosen_iou.amax(dim=1, keepdim=True).clamp(min=0.1)
    target = torch.arange(len(near))[:, None].expand_as(best.indices)[kept]
    cell, quality, overlap = (
        cell.gather(1, best.indices)[kept],
        quality[kept],
        chosen_iou[kept] + 1e-6,
    )
    most = torch.zeros(raw.shape[0] * count).scatter_reduce(0, cell, overlap, "amax")
    winner = overlap >= most[cell]
    return Assignment(cell[winner], target[winner], quality[winner])


def detector_loss(
    raw: Tensor, rows: Tensor, grid: Tensor, strides: tuple[int, ...], width: int, height: int
) -> tuple[Tensor, dict[str, float]]:
    """Loss of predictions [B, N, 5 + classes] against padded truth [B, M, 6], and its parts."""
    boxes = decode_boxes(raw, grid)
    targets = gather_targets(rows)
    found = assign(raw.detach(), boxes.detach(), targets, strides, width, height)
    asked = targets.counts[found.target]
    cell, target, quality = found.cell[asked], found.target[asked], found.quality[asked]
    objectness = torch.zeros(raw.shape[0] * raw.shape[1]).scatter_reduce(0, cell, quality, "amax")
    weight = torch.ones_like(objectness)
    weight[found.cell[~asked]] = 0.0
    weight[cell] = 1.0
    total = quality.sum().clamp(min=1.0)
    logits = raw.reshape(-1, raw.shape[2])
    object_loss = _focal(logits[:, 4], objectness, weight) / total
    wanted = torch.nn.functional.one_hot(targets.label[target], len(CLASSES)).float()
    class_loss = (
        bce(logits[cell, 5:], wanted, reduction="none").sum(dim=1) * quality
    ).sum() / total
    overlap = ciou_loss(boxes.reshape(-1, 4)[cell], targets.box[target])
    box_loss = (overlap * quality).sum() / total
    loss = BOX_WEIGHT * box_loss + OBJECT_WEIGHT * object_loss + CLASS_WEIGHT * class_loss
    parts = {
        "box": float(box_loss.detach()),
        "object": float(object_loss.detach()),
        "class": float(class_loss.detach()),
    }
    return loss, parts


def _focal(logits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Quality focal loss with exponent 2 (Li et al., arXiv:2006.04388, equation 3), summed."""
    charge = bce(logits, wanted, reduction="none")
    return (charge * (wanted - logits.sigmoid()).square() * weight).sum()
