"""GELU, written out by the exporter in five to eight nodes, as one.

    gelu(x)      = x / 2 * (1 + erf(x / sqrt 2))
    gelu_tanh(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))

Sources: Hendrycks and Gimpel, arXiv:1606.08415, section 2; ONNX operator Gelu (opset 20); ONNX
Runtime's com.microsoft.Gelu and FastGelu, for graphs of an older opset.
"""

import math

import numpy as np

from solutions.phase2_optimization.graph_passes.expressions import (
    is_close,
    maker,
    product_of,
    sum_of,
)
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

LEAST_OPSET = 20
CUBE = 0.044715
NAMES = {"none": "Gelu", "tanh": "FastGelu"}


def recognise_gelu(graph: OnnxGraph) -> int:
    """Written-out GELUs to ONNX's Gelu, from opset 20 on; how many.

    Proof: the operator's definition is the formula, with approximate "none" or "tanh".
    """
    if graph.opset < LEAST_OPSET:
        return 0
    changed = 0
    for node, source, form in _found(graph):
        made = graph.add("Gelu", [source], approximate=form)
        changed += graph.replace(node.output[0], made.output[0])
    return changed


def fuse_gelu(graph: OnnxGraph) -> int:
    """Written-out GELUs in single precision to ONNX Runtime's operators, in any opset; how many.

    Proof: the operators' definitions are the two formulas.
    """
    changed = 0
    for node, source, form in _found(graph):
        if graph.dtype(source) == np.float32:
            made = graph.add(NAMES[form], [source], domain="com.microsoft")
            changed += graph.replace(node.output[0], made.output[0])
    return changed


def _found(graph: OnnxGraph) -> list[tuple[Node, str, str]]:
    """The last node, the argument and the form of every GELU."""
    found = []
    for node in graph.nodes:
        if node.op_type in ("Mul", "Div") and not node.domain:
            match = _gelu(graph, node)
            if match is not None:
                found.append((node, *match))
    return found


def _gelu(graph: OnnxGraph, node: Node) -> tuple[str, str] | None:
    """The argument and the form of a GELU that ends in ``node``."""
    whole = product_of(graph, node.output[0])
    if len(whole.factors) != 2 or not is_close(graph, node.output[0], whole.coefficient, 0.5):
        return None
    for source, gate in (whole.factors, whole.factors[::-1]):
        inside = sum_of(graph, gate, root=graph.is_private(gate))
        if len(inside.terms) != 1 or inside.constant != 1:
            continue
        erf, tanh = (maker(graph, inside.terms[0], kind) for kind in ("Erf", "Tanh"))
        if erf is not None and _is_scaled(graph, erf.input[0], source, math.sqrt(0.5)):
            return source, "none"
        if tanh is not None and _is_cubic(graph, tanh.input[0], source):
            return source, "tanh"
    return None


def _is_scaled(graph: OnnxGraph, name: str, source: str, factor: float) -> bool:
    found = product_of(graph, name, root=graph.is_private(name))
    return found.factors == [source] and is_close(graph, name, found.coefficient, factor)


def _is_cubic(graph: OnnxGraph, name: str, source: str) -> bool:
    """Whether a tensor is sqrt(2 / pi) (x + 0.044715 x^3), or x taken out of the bracket."""
    outer = product_of(graph, name, root=graph.is_private(name))
    if not is_close(graph, name, outer.coefficient, math.sqrt(2 / math.pi)):
        return False
    taken_out = source in outer.factors
    rest = list(outer.factors)
    if taken_out:
        rest.remove(source)
    if len(rest) != 1:
        return False
    inner = sum_of(graph, rest[0], root=graph.is_private(rest[0]))
    terms = list(inner.terms)
    if not taken_out and source in terms:
        terms.remove(source)
        power, constant = 3, 0.0
    else:
        power, constant = 2, 1.0
    if len(terms) != 1 or inner.constant != constant or taken_out != (power == 2):
        return False
    cube = product_of(graph, terms[0], root=graph.is_private(terms[0]))
    factors = [part for factor in cube.factors for part in _powers(graph, factor)]
    return factors == [source] * power and is_close(graph, name, cube.coefficient, CUBE)


def _powers(graph: OnnxGraph, name: str) -> list[str]:
    """A factor taken apart if it is a power that several nodes read."""
    node = graph.producer.get(name)
    if node is not None and node.op_type == "Pow" and not node.domain:
        return product_of(graph, name).factors
    return [name]
