"""Operators other than convolutions in the blocked layout.

What computes each number for itself does so in any layout. Pooling has kernels of its own.
"""

import numpy as np

from solutions.phase2_optimization.graph_passes.blocked_scaling import (
    multiply_by_gate,
    scale_by_constant,
)
from solutions.phase2_optimization.graph_passes.blocked_tensors import BlockedTensors, Twin
from solutions.phase2_optimization.graph_passes.blocked_weights import DOMAIN, padded_channels
from solutions.phase2_optimization.graph_passes.fused_conv import activation_of
from solutions.phase2_optimization.graph_passes.slice_partitions import SIZES_ARE_INPUTS
from solutions.phase2_optimization.onnx_rewrite import Node, attribute, set_attribute

# Functions that make finite numbers of the filling's finite numbers.
UNARY = frozenset({
    "Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Clip", "Elu", "Selu",
    "Softplus", "Softsign", "Gelu", "QuickGelu", "Neg", "Abs", "Mish", "Erf", "ThresholdedRelu",
})
TO_CHANNELS_LAST = [0, 2, 3, 1]
LINEAR_PLACES = ("half_pixel", "asymmetric", "align_corners")  # that the blocked Upsample knows


def convert_unary(tensors: BlockedTensors, node: Node) -> bool:
    """An activation of a tensor that has a twin."""
    twin = tensors.twins.get(node.input[0])
    if twin is None or any(name in tensors.twins for name in node.input[1:]):
        return False
    if _joins_convolution(tensors, node, twin):
        return True
    attributes = {item.name: attribute(node, item.name) for item in node.attribute}
    made = tensors.graph.add(node.op_type, [twin.name, *node.input[1:]], domain=node.domain,
                             **attributes)
    tensors.convert(node, twin._replace(name=made.output[0]))
    return True


def convert_binary(tensors: BlockedTensors, node: Node) -> bool:
    """Add, Mul, Sub of two twins of one shape, or of a twin and one number."""
    first, second = (tensors.twins.get(name) for name in node.input)
    if first is None or second is None:
        return _with_number(tensors, node) or scale_by_constant(tensors, node)
    shape, other = (tensors.shape(name)[1:] for name in node.input)  # batches may broadcast
    if shape != other or len(shape) != 3 or None in shape:
        return multiply_by_gate(tensors, node)
    if not np.array_equal(first.places, second.places) or first.width != second.width:
        return False
    made = tensors.graph.add(node.op_type, [first.name, second.name])
    tensors.convert(node, first._replace(name=made.output[0]))
    return True


def convert_pool(tensors: BlockedTensors, node: Node) -> bool:
    """MaxPool, AveragePool and the global pools of a tensor that has a twin."""
    twin = tensors.twins.get(node.input[0])
    if twin is None or len(node.output) > 1 or len(tensors.shape(node.input[0])) != 4:
        return False
    if node.op_type == "AveragePool" and attribute(node, "ceil_mode", 0) and attribute(
            node, "count_include_pad", 0):
        return False  # the blocked kernel counts what lies behind the border, the plain one not
    attributes = {item.name: attribute(node, item.name) for item in node.attribute
                  if item.name != "storage_order"}
    made = tensors.graph.add(node.op_type, [twin.name], domain=DOMAIN, **attributes)
    tensors.convert(node, twin._replace(name=made.output[0]))
    return True


def convert_concat(tensors: BlockedTensors, node: Node) -> bool:
    """A Concat of channels of twins; with gaps only where readers can leave them out."""
    twins = [tensors.twins.get(name) for name in node.input]
    found = [twin for twin in twins if twin is not None]
    if attribute(node, "axis") not in (1, -3) or len(found) < len(twins):
        return False
    starts = np.cumsum([0, *(twin.width for twin in found)])
    places = np.concatenate([twin.places + start
                             for twin, start in zip(found, starts, strict=False)])
    joined = Twin("", places, int(starts[-1]))
    if not joined.is_dense and not _only_convolutions_read(tensors, node.output[0]):
        return False
    made = tensors.graph.add("Concat", [twin.name for twin in found], axis=1)
    tensors.convert(node, joined._replace(name=made.output[0]))
    return True


def convert_split(tensors: BlockedTensors, node: Node) -> bool:
    """A Split of channels between blocks."""
    graph, twin = tensors.graph, tensors.twins.get(node.input[0])
    sizes = [tensors.shape(name)[1] if len(tensors.shape(name)) == 4 else None
             for name in node.output]
    known = [size for size in sizes if isinstance(size, int)]
    if twin is None or not twin.is_dense or attribute(node, "axis", 0) not in (1, -3) \
            or len(known) < len(sizes) or any(size % tensors.block for size in known[:-1]) \
            or graph.opset < SIZES_ARE_INPUTS:
        return False
    widths = np.array([padded_channels(size, tensors.block) for size in known], np.int64)
    names = [graph.fresh("part") for _ in known]
    graph.add("Split", [twin.name, graph.constant("widths", widths)], names, axis=1)
    tensors.convert(node, *(tensors.dense(name, size)
                            for name, size in zip(names, known, strict=True)))
    return True


def convert_resize(tensors: BlockedTensors, node: Node) -> bool:
    """Enlarging of height and width by whole numbers, to the nearest neighbour or linearly."""
    twin = tensors.twins.get(node.input[0])
    if twin is None:
        return False
    scales, how = _whole_scales(tensors, node), _interpolation(node)
    if scales is None or how is None:
        return False
    made = tensors.graph.add("Upsample", [twin.name], domain=DOMAIN, scales=scales, **how)
    tensors.convert(node, twin._replace(name=made.output[0]))
    return True


def convert_transpose(tensors: BlockedTensors, node: Node) -> bool:
    """NCHW to NHWC: the blocks are written out that way."""
    twin = tensors.twins.get(node.input[0])
    if twin is None or not twin.is_dense or attribute(node, "perm") != TO_CHANNELS_LAST:
        return False
    made = tensors.graph.add("ReorderOutput", [twin.name], domain=DOMAIN,
                             channels=twin.channels, channels_last=1)
    return tensors.graph.replace(node.output[0], made.output[0])


def _joins_convolution(tensors: BlockedTensors, node: Node, twin: Twin) -> bool:
    """Let a blocked convolution that has no activation yet compute this one."""
    conv, activation = tensors.graph.producer.get(twin.name), activation_of(tensors.graph, node)
    if activation is None or conv is None or (conv.op_type, conv.domain) != ("Conv", DOMAIN) \
            or attribute(conv, "activation") or not tensors.graph.is_private(node.input[0]):
        return False
    set_attribute(conv, "activation", activation.name)
    if activation.parameters:
        set_attribute(conv, "activation_params", activation.parameters)
    tensors.convert(node, twin)
    return True


def _with_number(tensors: BlockedTensors, node: Node) -> bool:
    """Arithmetic of a twin and a constant of one element."""
    for place in (0, 1):
        twin, other = tensors.twins.get(node.input[place]), node.input[1 - place]
        rank = len(tensors.shape(node.input[place]))
        if twin is None or tensors.graph.scalar(other) is None \
                or len(tensors.shape(other)) > rank:
            continue
        names = [twin.name, other] if place == 0 else [other, twin.name]
        made = tensors.graph.add(node.op_type, names)
        tensors.convert(node, twin._replace(name=made.output[0]))
        return True
    return False


def _only_convolutions_read(tensors: BlockedTensors, name: str) -> bool:
    """Whether all readers are ungrouped convolutions, which find channels wherever they lie."""
    graph = tensors.graph
    return not graph.is_pinned(name) and all(
        user.op_type in ("Conv", "FusedConv") and attribute(user, "group", 1) == 1
        and user.input[0] == name and name not in list(user.input)[1:]
        and user.input[1] in graph.constants
        and len(graph.constants.shape_of(user.input[1])) == 4
        for user in graph.uses(name))


def _interpolation(node: Node) -> dict[str, str] | None:
    """The attributes of a blocked Upsample that computes what a node does; None for none."""
    mode = attribute(node, "mode", "nearest")
    if node.op_type == "Upsample":
        return {} if mode == "nearest" else None
    places = attribute(node, "coordinate_transformation_mode", "half_pixel")
    if mode == "nearest":
        rounding = attribute(node, "nearest_mode", "round_prefer_floor")
        return {} if (places, rounding) == ("asymmetric", "floor") else None
    plain = not attribute(node, "antialias", 0) and not attribute(node, "exclude_outside", 0)
    if mode != "linear" or places not in LINEAR_PLACES or not plain:
        return None
    return {"mode": mode, "coordinate_transformation_mode": places}


def _whole_scales(tensors: BlockedTensors, node: Node) -> list[int] | None:
    """The factors [1, 1, height, width] of a Resize or Upsample where they are whole; else None."""
    constants = tensors.graph.constants
    given = [constants.get(name) if name else None for name in node.input]
    if node.op_type == "Upsample":
        scales = given[1] if len(given) > 1 else None
    elif attribute(node, "axes") is not None:
        return None
    elif len(given) > 3 and node.input[3]:  # sizes
        before, after = tensors.shape(node.input[0]), given[3]
        if after is None or len(after) != 4 or not all(isinstance(n, int) for n in before) \
                or attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
            return None
        scales = after / np.array(before)
    else:
        scales = given[2] if len(given) == 3 else None
    if scales is None or scales.shape != (4,) or (scales != np.round(scales)).any():
        return None
    whole = [int(scale) for scale in scales]
    return whole if whole[:2] == [1, 1] and min(whole) > 0 else None
