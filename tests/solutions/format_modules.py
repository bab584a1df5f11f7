"""Small networks for the tests of compiled formats."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from solutions.phase2_optimization.formats.compiled import Batch, FormatOptions, Source


class SmallNet(nn.Module):
    """Two convolutions, batch norm, pooling, linear: [N, 3, 16, 16] -> [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.linear = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.convolution(images)))
        hidden = torch.relu(self.second(hidden))
        return self.linear(hidden.mean(dim=(2, 3)))


class SignBranch(nn.Module):
    """Another program for another sign: no trace can hold both."""

    def forward(self, values: Tensor) -> Tensor:
        if values.sum() > 0:
            return values * 2
        return values - 1


class RowLoop(nn.Module):
    """One turn per row: a trace holds as many as its example had."""

    def forward(self, values: Tensor) -> Tensor:
        total = torch.zeros_like(values[0])
        for row in range(values.shape[0]):
            total = total * 0.5 + values[row]
        return total


class Noisy(nn.Module):
    """Prints in the middle: TorchDynamo cannot follow that."""

    def forward(self, values: Tensor) -> Tensor:
        values = values * 3
        print("half way")
        return values + 1


class TwoInTwoOut(nn.Module):
    """Two inputs, a tuple of two outputs, indices among the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)

    def forward(self, values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        found = self.table(indices)
        return values + found.sum(dim=1), found * 2


def small_net() -> nn.Module:
    """A SmallNet whose batch norm has something to fold."""
    torch.manual_seed(3)
    net = SmallNet()
    net.norm.running_mean.uniform_(-1, 1)
    net.norm.running_var.uniform_(0.5, 2)
    return net.eval()


def images(rows: int, seed: int = 0) -> Batch:
    """Normal numbers [rows, 3, 16, 16]."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, 3, 16, 16)).astype(np.float32),)


def small_source() -> Source:
    return Source("small", images(4), small_net())


def several(folder: Path, *sizes: int) -> FormatOptions:
    """Options for these batch sizes, with a little to calibrate with."""
    calibration = [images(1, seed) for seed in range(8)]
    return FormatOptions(folder, sizes or (1, 5), 1, calibration=calibration)
