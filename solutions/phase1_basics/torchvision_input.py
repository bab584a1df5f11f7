"""What torchvision's networks want their images to look like."""

from solutions.phase1_basics.architectures import OWN, PIXELS
from solutions.phase1_basics.image_input import IMAGENET_MEAN, IMAGENET_STD, ImageInput


def torchvision_input(arch: str) -> ImageInput | None:
    """As torchvision's own transforms for its first weights say; None for no classifier."""
    if arch in OWN:
        channels, rows, columns = PIXELS[arch]
        if channels == 1:
            return ImageInput(columns, rows, "stretch", color="grey", mean=(0.1307,),
                              std=(0.3081,))
        return ImageInput(columns, rows, "stretch", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    from torchvision.models import get_model_weights

    steps = next(iter(get_model_weights(arch))).transforms()
    if not hasattr(steps, "crop_size"):
        return None
    crop = steps.crop_size
    return ImageInput(crop[-1], crop[0], "crop", steps.resize_size[0],
                      mean=tuple(steps.mean), std=tuple(steps.std))
