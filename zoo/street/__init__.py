"""The street: procedural video of a road with exact ground truth."""

from zoo.street.street import Street, StreetConfig
from zoo.street.truth import CLASSES, FrameTruth, StreetTruth, TrueObject
from zoo.street.video import StreetClip, materialise

__all__ = [
    "CLASSES",
    "FrameTruth",
    "Street",
    "StreetClip",
    "StreetConfig",
    "StreetTruth",
    "TrueObject",
    "materialise",
]
