"""Padding goes into the convolution or pooling after it.

A Pad with zeros in front of a convolution writes the whole picture anew; the convolution can take
the zeros as read at its borders. The same holds for pooling: an average that counts the border
(``count_include_pad``) takes zeros, a maximum takes minus infinity.
"""

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute, set_attribute

NEUTRAL = {"Conv": 0.0, "AveragePool": 0.0, "MaxPool": -np.inf}


def fold_pads(graph: OnnxGraph) -> int:
    """Constant pads of height and width, into the convolutions or pools that read them.

    Proof: the operator reads at a border position what Pad would have written there: zero for
    Conv; zero, counted in the mean, for AveragePool with count_include_pad; minus infinity, the
    neutral element, for MaxPool. Pads of the batch or the channels, negative pads, other values,
    auto_pad and ceil_mode (which counts beyond the border) stay.
    """
    changed = 0
    for pad in list(graph.nodes):
        if pad.op_type != "Pad" or pad.domain or graph.is_pinned(pad.output[0]):
            continue
        readers = graph.uses(pad.output[0])
        pads = _spatial_pads(graph, pad)
        if pads is None or not readers or not all(_takes(graph, pad, r, pads) for r in readers):
            continue
        for reader in readers:
            _give(reader, pads)
        changed += graph.replace(pad.output[0], pad.input[0])
    return changed


def _spatial_pads(graph: OnnxGraph, pad: Node) -> list[int] | None:
    """What a Pad adds at [begin..., end...] of the spatial axes; None where it does more."""
    if attribute(pad, "mode", "constant") != "constant" or any(pad.input[3:]):
        return None
    pads = attribute(pad, "pads")
    if pads is None:
        found = graph.constants.get(pad.input[1]) if len(pad.input) > 1 else None
        pads = None if found is None else found.tolist()
    if pads is None or len(pads) < 6:
        return None
    half = len(pads) // 2
    begin, end = pads[:half], pads[half:]
    if min(pads) < 0 or any(begin[:2]) or any(end[:2]):
        return None
    return [*begin[2:], *end[2:]]


def _takes(graph: OnnxGraph, pad: Node, reader: Node, pads: list[int]) -> bool:
    """Whether an operator can read a Pad's border as its own."""
    if reader.op_type not in NEUTRAL or reader.domain or reader.input[0] != pad.output[0]:
        return False
    if list(reader.input).count(pad.output[0]) != 1 or len(reader.output) > 1:
        return False
    if _value(graph, pad) != NEUTRAL[reader.op_type]:
        return False
    if attribute(reader, "auto_pad", "NOTSET") != "NOTSET" or attribute(reader, "ceil_mode", 0):
        return False
    present = attribute(reader, "pads", [0] * len(pads))
    if len(present) != len(pads):
        return False
    if reader.op_type == "Conv":
        return True
    total = [p + q for p, q in zip(present, pads, strict=True)]
    kernel = attribute(reader, "kernel_shape")
    fits = all(p < k for p, k in zip(total, [*kernel, *kernel], strict=True))
    counted = attribute(reader, "count_include_pad", 0) or not any(present)
    return fits and (reader.op_type == "MaxPool" or bool(counted))


def _value(graph: OnnxGraph, pad: Node) -> float | None:
    """The number that a Pad writes, or None where it depends on the data."""
    if len(pad.input) > 2 and pad.input[2]:
        return graph.scalar(pad.input[2])
    return float(attribute(pad, "value", 0.0))


def _give(reader: Node, pads: list[int]) -> None:
    present = attribute(reader, "pads", [0] * len(pads))
    set_attribute(reader, "pads", [p + q for p, q in zip(present, pads, strict=True)])
    if reader.op_type == "AveragePool":
        set_attribute(reader, "count_include_pad", 1)
