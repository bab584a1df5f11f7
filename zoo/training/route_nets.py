"""Two small networks that read route numbers: where are digits on a bus, and which are they?

``SignSpotter`` finds the centres of digits on a bus as peaks of a heat map (after CenterNet, Zhou
et al., arXiv:1904.07850, section 3); ``DigitClassifier`` names one digit.
"""

import torch
from torch import Tensor, nn

from zoo.training.detector_net import ConvNorm

SPOT_WIDTH, SPOT_HEIGHT, SPOT_STRIDE = 96, 48, 2
DIGIT_SIDE = 20


class SignSpotter(nn.Module):
    """Grey buses [B, 1, 48, 96] in 0..1 -> [B, 2, 24, 48]: digit logit, height share."""

    def __init__(self) -> None:
        super().__init__()
        self.down = ConvNorm(1, 16, 3, 2)
        self.fine = ConvNorm(16, 16, 3)
        self.coarse = nn.Sequential(
            ConvNorm(16, 32, 3, 2), ConvNorm(32, 32, 3), ConvNorm(32, 32, 3)
        )
        self.narrow = nn.Conv2d(32, 16, 1)
        self.join = ConvNorm(16, 16, 3)
        self.predict = nn.Conv2d(16, 2, 1)
        assert self.predict.bias is not None
        self.predict.bias.data = torch.tensor([-4.0, 0.2])

    def forward(self, images: Tensor) -> Tensor:
        """Raw map: channel 0 is a logit, channel 1 the digit's height / crop height."""
        fine = self.fine(self.down(images))
        coarse = self.narrow(self.coarse(fine))
        up = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        result: Tensor = self.predict(self.join(torch.relu(fine + up)))
        return result


class DigitClassifier(nn.Module):
    """Grey digits [B, 1, 20, 20] in 0..1 -> logits [B, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(1, 24, 3), ConvNorm(24, 32, 3, 2), ConvNorm(32, 48, 3), ConvNorm(48, 64, 3, 2)
        )
        self.head = nn.Linear(64 * 5 * 5, 10)
        self.dropout = nn.Dropout(0.3)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the ten digits."""
        result: Tensor = self.head(self.dropout(self.body(images).flatten(1)))
        return result


class ExportedSpotter(nn.Module):
    """The spotter as shipped: 0..255 in, probability and height share out."""

    def __init__(self, net: SignSpotter) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """float32 [B, 1, 48, 96] -> [B, 2, 24, 48]."""
        raw = self.net(images)
        return torch.cat([raw[:, :1].sigmoid(), raw[:, 1:]], dim=1)
