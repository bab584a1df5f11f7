"""The street detectors: one-stage, anchor-free, dense convolutions, three sizes.

A plain residual backbone (strides 2 to 32), a light top-down path (Lin et al., arXiv:1612.03144)
and one 3x3 convolution with one predictor per level. The two larger sizes add a level of stride 4
for objects of a few pixels. Predictions use the YOLOX parametrisation (Ge et al.,
arXiv:2107.08430, section 2.1): for each cell offsets of the centre, log sizes in strides,
objectness and one score per class.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.street.truth import CLASSES

OUTPUTS = 5 + len(CLASSES)


@dataclass(frozen=True)
class DetectorSize:
    """Widths of one detector."""

    name: str
    channels: tuple[int, int, int, int, int]  # at strides 2, 4, 8, 16, 32
    blocks: tuple[int, int, int, int]  # residual blocks at strides 4, 8, 16, 32
    heads: dict[int, int]  # stride -> channels of the top-down path


SIZES: dict[str, DetectorSize] = {
    size.name: size
    for size in (
        DetectorSize("street-small", (6, 10, 18, 32, 48), (0, 1, 1, 1), {8: 14, 16: 20, 32: 24}),
        DetectorSize(
            "street-middle", (8, 16, 30, 64, 96), (0, 1, 1, 1), {4: 12, 8: 20, 16: 40, 32: 48}
        ),
        DetectorSize(
            "street-large", (12, 32, 64, 104, 144), (1, 1, 1, 1), {4: 20, 8: 40, 16: 64, 32: 80}
        ),
    )
}


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """x + conv3x3(conv1x1(x)), the inner width halved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(channels, channels // 2, 1)
        self.expand = ConvNorm(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        result: Tensor = x + self.expand(self.reduce(x))
        return result


class StreetDetector(nn.Module):
    """Images [B, 3, 192, 320] BGR in 0..1 to raw predictions [B, N, 5 + classes] (logits)."""

    def __init__(self, size: DetectorSize) -> None:
        super().__init__()
        self.size = size
        c = size.channels
        self.stem = ConvNorm(3, c[0], 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                ConvNorm(c[i], c[i + 1], 3, 2), *(Residual(c[i + 1]) for _ in range(size.blocks[i]))
            )
            for i in range(4)
        )
        self.strides = tuple(size.heads)
        widths = list(size.heads.values())
        stages = [c[1 + (4, 8, 16, 32).index(stride)] for stride in self.strides]
        self.lateral = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(stages, widths, strict=True)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in itertools.pairwise(widths)
        )
        self.smooth = nn.ModuleList(ConvNorm(width, width, 3) for width in widths)
        self.predict = nn.ModuleList(nn.Conv2d(width, OUTPUTS, 1) for width in widths)
        for layer in self.predict:
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias.data = torch.tensor([0.5, 0.5, 0.7, 0.7, -4.6] + [-1.5] * len(CLASSES))

    def features(self, images: Tensor) -> list[Tensor]:
        """Predictions [B, 5 + classes, H/s, W/s] for each stride, finest first."""
        x = self.stem(images)
        found = []
        for stride, stage in zip((4, 8, 16, 32), self.stages, strict=True):
            x = stage(x)
            if stride in self.strides:
                found.append(x)
        levels = [layer(x) for layer, x in zip(self.lateral, found, strict=True)]
        for i in range(len(levels) - 1, 0, -1):
            narrowed = self.narrow[i - 1](levels[i])
            up = nn.functional.interpolate(narrowed, scale_factor=2.0, mode="nearest")
            levels[i - 1] = levels[i - 1] + up
        return [
            predict(smooth(torch.relu(level)))
            for predict, smooth, level in zip(self.predict, self.smooth, levels, strict=True)
        ]

    def forward(self, images: Tensor) -> Tensor:
        """Raw predictions of all cells, levels one after the other."""
        flat = [level.flatten(2) for level in self.features(images)]
        return torch.cat(flat, dim=2).transpose(1, 2)


class ExportedDetector(nn.Module):
    """A detector as shipped: pixels 0..255 in, probabilities out, the yolox layout."""

    def __init__(self, net: StreetDetector) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """float32 [B, 3, 192, 320] BGR 0..255 -> [B, N, 5 + classes]."""
        flat = []
        for level in self.net.features(images):
            box, scores = level[:, :4], level[:, 4:]
            flat.append(torch.cat([box, scores.sigmoid()], dim=1).flatten(2))
        return torch.cat(flat, dim=2).transpose(1, 2)


def cells(strides: tuple[int, ...], width: int, height: int) -> Tensor:
    """Column, row and stride of every cell, float32 [N, 3], in the order of the predictions."""
    parts = []
    for stride in strides:
        rows, columns = torch.meshgrid(
            torch.arange(height // stride), torch.arange(width // stride), indexing="ij"
        )
        level = torch.stack([columns, rows, torch.full_like(rows, stride)], dim=-1)
        parts.append(level.reshape(-1, 3))
    return torch.cat(parts).float()


def decode_boxes(raw: Tensor, grid: Tensor) -> Tensor:
    """Predictions [..., N, >=4] as boxes x1, y1, x2, y2 in network pixels."""
    stride = grid[:, 2:3]
    centre = (raw[..., :2] + grid[:, :2]) * stride
    half = raw[..., 2:4].clamp(max=8.0).exp() * stride / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def count_macs(net: nn.Module, images: Tensor) -> int:
    """Multiply-accumulates of all convolutions and linear layers for one batch."""
    total = 0

    def hook(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            per_value = layer.weight[0].numel()
        else:
            assert isinstance(layer, nn.Linear)
            per_value = layer.in_features
        total += output.numel() * per_value

    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    training = net.training
    with torch.no_grad():
        net.eval()(images)
    net.train(training)
    for handle in handles:
        handle.remove()
    return total
