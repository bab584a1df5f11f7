"""1,797 real handwritten digits, train and test kept apart.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998 (CC BY 4.0); the extract is made by ``zoo.training.extract_digits``.
"""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("digits.npz")
HELD_OUT = 500  # the last ones: the data come in blocks of one writer, so writers stay apart


@cache
def glyphs(split: Literal["train", "test"]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 [n, 8, 8] (0..16) and labels int64 [n]: 1,297 to train, 500 to test."""
    with np.load(FILE) as data:
        images, labels = data["images"], data["labels"].astype(np.int64)
    chosen = slice(None, -HELD_OUT) if split == "train" else slice(-HELD_OUT, None)
    return images[chosen], labels[chosen]
