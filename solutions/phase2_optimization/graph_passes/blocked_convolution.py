"""Convolutions in the blocked layout: which can go there, and with which weights.

Three kinds can, as in ONNX Runtime's own transformer: depthwise ones, those whose groups fill
whole blocks, and ungrouped ones; and one more, small groups (ResNeXt, RegNet), of which several
make a block. An ungrouped one with few input channels (the picture's three)
reads the plain tensor; so does one that would multiply mostly the filling of its input's blocks.
A convolution whose weights would mostly be filling stays as it is.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.graph_passes.blocked_tensors import BlockedTensors, Twin
from solutions.phase2_optimization.graph_passes.blocked_weights import (
    DOMAIN,
    blocked_filter,
    output_blocked_filter,
    padded_channels,
)
from solutions.phase2_optimization.onnx_rewrite import Node, attribute

Floats = NDArray[np.float32]
MOST_MERGED = 4  # groups in one block; with 8 the zeros cost as much as the layout saves
LARGEST_FILLING = 2.6  # times the multiplications of the plain convolution
# Above so many multiplications by zero for a number read, bringing the number back to the plain
# layout costs less (measured: at 32 it takes 1.2 times as long, at 36 0.85, at 144 0.7).
LARGEST_WASTE = 34


class BlockedInput(NamedTuple):
    """What a blocked convolution reads."""

    name: str
    filters: Floats
    groups: int


def convert_convolution(tensors: BlockedTensors, node: Node) -> bool:
    """Conv or FusedConv to com.microsoft.nchwc.Conv, if that is possible and no waste."""
    weights = _constant(tensors, node, 1, rank=4)
    if weights is None or (len(node.input) > 2 and node.input[2]
                           and _constant(tensors, node, 2, rank=1) is None):
        return False
    addend = node.input[3] if len(node.input) > 3 else ""
    residual = tensors.reordered(addend) if addend else None
    if addend and (residual is None or not residual.is_dense):
        return False
    source = _source(tensors, node, weights)
    if source is None:
        return False
    names = [source.name, tensors.graph.constant("blocked_weights", source.filters),
             _bias(tensors, node, len(source.filters))]
    if residual is not None:
        names.append(residual.name)
    attributes = {item.name: attribute(node, item.name) for item in node.attribute}
    made = tensors.graph.add(
        "Conv", names, domain=DOMAIN, **attributes | {"group": source.groups})
    tensors.convert(node, _output(tensors, node, made.output[0], len(weights)))
    return True


def _source(tensors: BlockedTensors, node: Node, weights: Floats) -> BlockedInput | None:
    """The input and the weights in matching layouts; None where there are none."""
    block, groups = tensors.block, int(attribute(node, "group", 1))
    outputs, inputs = weights.shape[:2]
    if groups == 1:
        return _ungrouped(tensors, node, weights)
    if inputs == 1 and outputs == groups:
        twin = tensors.reordered(node.input[0])
        if twin is None:
            return None
        spread = np.zeros((twin.width, *weights.shape[1:]), np.float32)
        spread[twin.places] = weights
        return BlockedInput(twin.name, output_blocked_filter(spread, block), twin.width)
    if inputs * MOST_MERGED >= block and block % inputs == 0 and outputs == groups * inputs < \
            groups * block:
        return _merged(tensors, node, weights)
    if inputs % block or (outputs // groups) % block:
        return None
    twin = tensors.reordered(node.input[0])
    if twin is None or not twin.is_dense:
        return None
    return BlockedInput(twin.name, blocked_filter(weights, block), groups)


def _merged(tensors: BlockedTensors, node: Node, weights: Floats) -> BlockedInput | None:
    """Small groups side by side as one group of a whole block, with zeros between them.

    Proof: an output's weights for the inputs of its neighbours' groups are zero.
    """
    twin, block = tensors.reordered(node.input[0]), tensors.block
    if twin is None or not twin.is_dense:
        return None
    outputs, inputs = weights.shape[:2]
    wide = np.zeros((twin.width, block, *weights.shape[2:]), np.float32)
    begin = np.arange(outputs) // inputs * inputs % block  # of each output's own group
    for place in range(inputs):
        wide[np.arange(outputs), begin + place] = weights[:, place]
    return BlockedInput(twin.name, blocked_filter(wide, block), twin.width // block)


def _ungrouped(tensors: BlockedTensors, node: Node, weights: Floats) -> BlockedInput | None:
    block, name = tensors.block, node.input[0]
    outputs, inputs = weights.shape[:2]
    twin = tensors.twins.get(name)
    width = padded_channels(inputs, block) if twin is None else twin.width
    one_pixel = tensors.shape(node.output[0])[2:] == (1, 1)
    wasted = _wasted(node, weights, width)
    if inputs < block and (twin is None or (wasted > LARGEST_WASTE and not one_pixel)):
        if twin is not None and not twin.is_dense:
            return None
        return BlockedInput(name, output_blocked_filter(weights, block), 1)
    if not one_pixel and _filling(outputs, inputs, block, width) > LARGEST_FILLING:
        return None
    twin = tensors.reordered(name)
    if twin is None:
        return None
    if not twin.is_dense or twin.width != padded_channels(inputs, block):
        spread = np.zeros((outputs, twin.width, *weights.shape[2:]), np.float32)
        spread[:, twin.places] = weights
        weights = spread
    return BlockedInput(twin.name, blocked_filter(weights, block), 1)


def _filling(outputs: int, inputs: int, block: int, width: int) -> float:
    """How many multiplications the blocks cost for each one that counts."""
    return padded_channels(outputs, block) * width / (outputs * inputs)


def _wasted(node: Node, weights: Floats, width: int) -> float:
    """Multiplications by zero for each number that the convolution reads."""
    outputs, inputs, *kernel = weights.shape
    steps = math.prod(attribute(node, "strides", [1]))
    return float(outputs * (width - inputs) * math.prod(kernel) / (steps * inputs))


def _output(tensors: BlockedTensors, node: Node, name: str, channels: int) -> Twin:
    """The result's twin; a depthwise convolution keeps its input's gaps."""
    source = tensors.twins.get(node.input[0])
    depthwise = attribute(node, "group", 1) > 1 and attribute(node, "group", 1) == channels
    if depthwise and source is not None:
        return Twin(name, source.places, source.width)
    return tensors.dense(name, channels)


def _bias(tensors: BlockedTensors, node: Node, width: int) -> str:
    """The name of the bias with its channels where the output has them, "" without one."""
    if len(node.input) < 3 or not node.input[2]:
        return ""
    bias = tensors.graph.constants[node.input[2]]
    source = tensors.twins.get(node.input[0])
    places = np.arange(len(bias))
    if source is not None and attribute(node, "group", 1) == len(bias) > 1:
        places = source.places
    spread = np.zeros(width, np.float32)
    spread[places] = bias
    return tensors.graph.constant("blocked_bias", spread)


def _constant(tensors: BlockedTensors, node: Node, place: int, rank: int) -> Floats | None:
    """A constant input in single precision of a given rank."""
    constants = tensors.graph.constants
    if len(node.input) <= place or node.input[place] not in constants:
        return None
    name = node.input[place]
    if constants.dtype_of(name) != np.float32 or len(constants.shape_of(name)) != rank:
        return None
    return constants[name]
