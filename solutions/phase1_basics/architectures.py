"""Networks that a file of bare weights can be put into: torchvision's, and small ones of ours.

A state dict holds numbers and names, no network. Imported only where torch is needed.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import InferenceError, MissingExtraError


class MnistConv3(nn.Module):
    """Digits [N, 1, 28, 28] -> log-probabilities [N, 10]: three convolutions, two linear layers.

    The network of the registry's ``mnist-state-dict`` and ``mnist-safetensors``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.conv3 = nn.Conv2d(16, 24, 3)
        self.norm1 = nn.BatchNorm2d(24)
        self.fc1 = nn.Linear(24 * 22 * 22, 32)
        self.fc2 = nn.Linear(32, 10)
        self.norm2 = nn.BatchNorm1d(10)

    def forward(self, images: Tensor) -> Tensor:
        """Images scaled to 0..1, then normalised with mean 0.1307 and deviation 0.3081."""
        hidden = images
        for convolution in (self.conv1, self.conv2, self.conv3):
            hidden = functional.relu(convolution(hidden))
        hidden = functional.relu(self.fc1(self.norm1(hidden).flatten(1)))
        return functional.log_softmax(self.norm2(self.fc2(hidden)), dim=1)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without weights (option A of He et al.)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.stride, self.added = stride, outer - inner

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(images)))
        hidden = self.bn2(self.conv2(hidden))
        shortcut = images[:, :, :: self.stride, :: self.stride]
        half = self.added // 2  # new channels are zeros, on both sides
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, half, self.added - half))
        return functional.relu(hidden + shortcut)


class CifarResNet20(nn.Module):
    """Images [N, 3, 32, 32] -> logits [N, 10] (He et al., arXiv:1512.03385, section 4.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1)
        self.layer2 = _stage(16, 32, 2)
        self.layer3 = _stage(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        logits: Tensor = self.linear(hidden.mean(dim=(2, 3)))
        return logits


def _stage(inner: int, outer: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        CifarBlock(inner, outer, stride), CifarBlock(outer, outer, 1), CifarBlock(outer, outer, 1)
    )


OWN: dict[str, Callable[[], nn.Module]] = {
    "mnist_conv3": MnistConv3,
    "cifar_resnet20": CifarResNet20,
}
PIXELS = {"mnist_conv3": (1, 28, 28), "cifar_resnet20": (3, 32, 32)}


def known_architectures() -> list[str]:
    """Our own and torchvision's, by name."""
    try:
        import torchvision
    except ImportError as error:
        raise MissingExtraError("torchvision", "learn") from error
    return [*OWN, *torchvision.models.list_models(torchvision.models)]


def build_architecture(name: str, classes: int | None = None) -> nn.Module:
    """The network of that name, with weights still to be loaded (random), in evaluation mode.

    ``classes`` is the size of a torchvision classifier's last layer, where it is not 1000.
    Raises InferenceError for an unknown name, with the nearest ones.
    """
    import difflib

    known = known_architectures()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known[:4])} ..."
        raise InferenceError(f"no architecture named {name!r}: {hint}")
    if name in OWN:
        return OWN[name]().eval()
    from torchvision.models import get_model

    options = {} if classes is None else {"num_classes": classes}
    network: nn.Module = get_model(name, weights=None, **options).eval()
    return network


def build_pretrained(name: str) -> nn.Module:
    """torchvision's network with its first trained weights, downloaded where necessary.

    Raises InferenceError where there are none or the download fails.
    """
    from torchvision.models import get_model

    if name in OWN:
        raise InferenceError(f"{name} is no network of torchvision's: python -m zoo list")
    try:
        network: nn.Module = get_model(name, weights="DEFAULT").eval()
    except (OSError, RuntimeError) as error:
        raise InferenceError(
            f"{name}: torchvision's weights cannot be downloaded ({error}); without --pretrained "
            "random ones are made"
        ) from error
    return network


def input_pixels(name: str) -> tuple[int, int, int]:
    """Channels, height and width that a network was trained with."""
    if name in PIXELS:
        return PIXELS[name]
    from torchvision.models import get_model_weights

    crop = getattr(next(iter(get_model_weights(name))).transforms(), "crop_size", [224])
    return 3, crop[0], crop[-1]
