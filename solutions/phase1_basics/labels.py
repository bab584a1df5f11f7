"""Names of classes."""

from collections.abc import Sequence
from pathlib import Path

from zoo.errors import InferenceError


def read_labels(path: Path) -> list[str]:
    """One name a line. Raises InferenceError where the file cannot be read as text."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InferenceError(f"labels {path}: {error}") from error


def class_labels(count: int, given: Sequence[str] = ()) -> list[str]:
    """Names for so many classes: those given, ImageNet's for 1000 and 1001, else numbers.

    Networks with 1001 classes put "background" before ImageNet's. Raises InferenceError where
    fewer names are given than there are classes.
    """
    if given:
        if len(given) < count:
            raise InferenceError(f"{len(given)} labels for {count} classes: add the missing")
        return list(given)
    if count in (1000, 1001):
        names = imagenet_labels()
        if names:
            return names if count == 1000 else ["background", *names]
    return [f"class {number}" for number in range(count)]


def imagenet_labels() -> list[str]:
    """ImageNet's 1000 names, as torchvision carries them; none without torchvision."""
    try:
        from torchvision.models import ResNet50_Weights
    except ImportError:
        return []
    return list(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
