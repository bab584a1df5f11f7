"""Activations written out in several nodes, as the standard's one operator.

    hard sigmoid    clip(x + 3, 0, 6) / 6                       HardSigmoid
    hard swish      x * hard sigmoid(x)                         HardSwish, opset 14
    Mish            x * tanh(softplus(x))                       Mish, opset 18

Relu and Clip after one another are one Clip, whose bounds are both's. Sources: Howard et al.,
arXiv:1905.02244, section 5.2; Misra, arXiv:1908.08681.
"""

from typing import Any, NamedTuple

import numpy as np

from solutions.phase2_optimization.graph_passes.expressions import (
    is_close,
    maker,
    product_of,
    sum_of,
)
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, attribute

HARD_SWISH, MISH, CLIP_INPUTS = 14, 18, 11
KERNELS = frozenset({"float16", "float32"})  # ONNX Runtime has no such activations of float64


class Bounds(NamedTuple):
    """What a Clip or Relu leaves of a tensor."""

    low: float
    high: float


def recognise_hard_sigmoid(graph: OnnxGraph) -> int:
    """clip(x + b, 0, m) / m to HardSigmoid; how many.

    Proof: HardSigmoid is max(0, min(1, alpha x + beta)) with alpha = 1 / m, beta = b / m.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type not in ("Mul", "Div") or node.domain or not _has_kernels(graph, node):
            continue
        whole = product_of(graph, node.output[0])
        if len(whole.factors) != 1:
            continue
        found = _shifted_clip(graph, whole.factors[0])
        if found is not None and is_close(graph, node.output[0], whole.coefficient * found[2], 1):
            source, shift, high = found
            made = graph.add("HardSigmoid", [source], alpha=1 / high, beta=shift / high)
            changed += graph.replace(node.output[0], made.output[0])
    return changed


def recognise_hard_swish(graph: OnnxGraph) -> int:
    """x * clip(x + 3, 0, 6) / 6, or x * HardSigmoid(x), to HardSwish; how many.

    Proof: HardSwish is x * max(0, min(1, x / 6 + 1 / 2)).
    """
    changed = 0
    for node in list(graph.nodes) if graph.opset >= HARD_SWISH else []:
        if node.op_type not in ("Mul", "Div") or node.domain or not _has_kernels(graph, node):
            continue
        source = _hard_swish(graph, node)
        if source is not None:
            made = graph.add("HardSwish", [source])
            changed += graph.replace(node.output[0], made.output[0])
    return changed


def recognise_mish(graph: OnnxGraph) -> int:
    """x * tanh(softplus(x)) to Mish; how many.

    Proof: the operator's definition.
    """
    changed = 0
    for node in list(graph.nodes) if graph.opset >= MISH else []:
        if node.op_type != "Mul" or node.domain:
            continue
        for source, gate in (node.input, list(node.input)[::-1]):
            tanh = maker(graph, gate, "Tanh")
            plus = None if tanh is None else maker(graph, tanh.input[0], "Softplus")
            if plus is not None and plus.input[0] == source:
                made = graph.add("Mish", [source])
                changed += graph.replace(node.output[0], made.output[0])
                break
    return changed


def merge_clips(graph: OnnxGraph) -> int:
    """A Relu or Clip after a Relu or Clip: one of them, or one Clip; how many went.

    Proof: min and max by constants compose to min and max: clip(clip(x, a, b), c, d) is
    clip(x, low, high) with low = clip(a, c, d), high = clip(b, c, d), NaN being kept by both.
    """
    changed = 0
    for node in list(graph.nodes):
        outer = _bounds(graph, node)
        before = graph.producer.get(node.input[0]) if outer is not None else None
        inner = None if before is None else _bounds(graph, before)
        if outer is None or inner is None or before is None or not graph.is_private(
                before.output[0]):
            continue
        source = before.input[0]
        dtype = graph.dtype(source)
        if dtype is None or dtype.kind != "f":
            continue
        low, high = np.clip(inner, outer.low, outer.high)
        if (low, high) == (0.0, np.inf):
            made = graph.add("Relu", [source])
        elif graph.opset >= CLIP_INPUTS:
            made = graph.add("Clip", [source, *(_limit(graph, dtype, v) for v in (low, high))])
        else:
            continue
        changed += graph.replace(node.output[0], made.output[0])
    return changed


def _has_kernels(graph: OnnxGraph, node: Node) -> bool:
    """Whether a node is still there and makes numbers of a type that activations are made for."""
    dtype = graph.dtype(node.output[0]) if graph.has(node) else None
    return dtype is not None and dtype.name in KERNELS


def _shifted_clip(graph: OnnxGraph, name: str) -> tuple[str, float, float] | None:
    """x, b and m where a tensor is clip(x + b, 0, m)."""
    clip = maker(graph, name, "Clip")
    bounds = None if clip is None else _bounds(graph, clip)
    if clip is None or bounds is None or bounds.low != 0 or not 0 < bounds.high < np.inf:
        return None
    inside = sum_of(graph, clip.input[0], root=graph.is_private(clip.input[0]))
    return (inside.terms[0], inside.constant, bounds.high) if len(inside.terms) == 1 else None


def _hard_swish(graph: OnnxGraph, node: Node) -> str | None:
    """The argument of a hard swish that ends in ``node``."""
    whole = product_of(graph, node.output[0])
    if len(whole.factors) != 2:
        return None
    for source, gate in (whole.factors, whole.factors[::-1]):
        found = _shifted_clip(graph, gate)
        if found == (source, 3.0, 6.0) and is_close(graph, source, whole.coefficient, 1 / 6):
            return source
        hard = maker(graph, gate, "HardSigmoid")
        if hard is None or hard.input[0] != source or whole.coefficient != 1:
            continue
        alpha, beta = (float(attribute(hard, key, 0.0)) for key in ("alpha", "beta"))
        if is_close(graph, source, alpha, 1 / 6) and is_close(graph, source, beta, 0.5):
            return source
    return None


def _bounds(graph: OnnxGraph, node: Node) -> Bounds | None:
    """The constant bounds of a Relu or Clip; None for other nodes and for bounds from data."""
    if node.domain or node.op_type not in ("Relu", "Clip"):
        return None
    if node.op_type == "Relu":
        return Bounds(0.0, np.inf)
    found = [float(attribute(node, "min", -np.inf)), float(attribute(node, "max", np.inf))]
    for place, name in enumerate(node.input[1:3]):
        value = graph.scalar(name) if name else found[place]
        if value is None or np.isnan(value):
            return None
        found[place] = value
    return Bounds(*found) if found[0] <= found[1] else None


def _limit(graph: OnnxGraph, dtype: np.dtype[Any], value: float) -> str:
    """The name of a Clip's bound, "" where there is none."""
    return "" if np.isinf(value) else graph.constant("bound", np.array(value, dtype))
