"""Double precision inside, and channels one by one."""

import numpy as np


def normalise(pixels, mean, std, top=255.0):
    wide = pixels.astype(np.float64) / 255.0 * top
    return ((wide - np.array(mean)) / np.array(std)).astype("float32")


def to_nchw(pixels):
    return np.stack([pixels[..., c] for c in range(pixels.shape[-1])])[None].astype(np.float32)
