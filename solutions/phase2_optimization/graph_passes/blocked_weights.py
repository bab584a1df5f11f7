"""The blocked layout NCHWc: tensors and filters in groups of as many channels as a register holds.

In NCHW the channels of one pixel lie a whole picture apart, so a processor that multiplies 16
numbers at a time must gather them. NCHWc cuts the channels into blocks of c (16 with AVX-512, 8
with AVX2) and keeps a block's numbers of one pixel together:

    NCHW     [N, C, H, W]                pixel's channels: H * W apart
    NCHWc    [N, C / c, H, W, c]         pixel's channels of one block: side by side

Missing channels of the last block are filled: with zeros in the filters, so that whatever finite
number stands in a tensor's filled channels counts for nothing. Filters come in two forms:

    OIHWBiBo  [O / c, I / c, H, W, c in, c out]   both sides blocked
    OIHWBo    [O / c, I, H, W, c out]             plain input (few channels), or depthwise

Source: Georganas et al., arXiv:1808.05567, section II; the forms are ONNX Runtime's
(com.microsoft.nchwc).
"""

import numpy as np
from numpy.typing import NDArray

from solutions.phase1_basics.channel_blocks import (
    METADATA,
    check_channel_blocks,
    runtime_block_size,
)
from solutions.phase2_optimization.onnx_rewrite import Model

__all__ = [
    "DOMAIN", "METADATA", "block_size_of", "blocked_filter", "check_block_size",
    "output_blocked_filter", "padded_channels", "runtime_block_size",
]

Floats = NDArray[np.float32]
DOMAIN = "com.microsoft.nchwc"


def padded_channels(channels: int, block: int) -> int:
    """The number of channels with the last block filled."""
    return -(-channels // block) * block


def blocked_filter(weights: Floats, block: int) -> Floats:
    """Filters [O, I, H, W] in the form OIHWBiBo; the shape keeps four axes [O', I', H, W]."""
    height, width = weights.shape[2:]
    filled = _filled(weights, [padded_channels(size, block) for size in weights.shape[:2]])
    split = filled.reshape(-1, block, filled.shape[1] // block, block, height, width)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 5, 3, 1)).reshape(filled.shape)


def _filled(weights: Floats, channels: list[int]) -> Floats:
    """Filters with zeros up to a number of output and input channels; no copy where none lack."""
    more = [(0, wanted - size) for wanted, size in zip(channels, weights.shape, strict=False)]
    return np.pad(weights, (*more, (0, 0), (0, 0))) if any(map(any, more)) else weights


def output_blocked_filter(weights: Floats, block: int) -> Floats:
    """Filters [O, I, H, W] in the form OIHWBo; the shape keeps four axes [O', I, H, W]."""
    outputs, inputs, height, width = weights.shape
    filled = _filled(weights, [padded_channels(outputs, block), inputs])
    split = filled.reshape(-1, block, inputs, height, width)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 4, 1)).reshape(filled.shape)


def block_size_of(model: Model) -> int | None:
    """The block size that a model was compiled for; None where it is in no blocked layout."""
    found = [item.value for item in model.metadata_props if item.key == METADATA]
    return int(found[0]) if found else None


def check_block_size(model: Model, here: int | None = None) -> None:
    """Refuse a model whose weights are blocked for another processor: it would compute nonsense.

    Raises InferenceError. ``here`` is this processor's block size, asked for if not given.
    """
    check_channel_blocks({item.key: item.value for item in model.metadata_props}, here)
