"""Products and sums that are spread over several nodes, read as one formula.

Exporters write 0.5 * x * (1 + erf(x / 1.41)) in any order and grouping: ((x * 0.5) * g), (x * (g *
0.5)), ((x * g) / 2). A pattern for each would be long and miss some; here the grouping disappears:
a product is a coefficient and its factors, a sum is a constant and its terms.

Only nodes that nobody else reads are looked into, so that a match can replace all of them.
"""

from typing import NamedTuple

import numpy as np

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

MOST_PARTS = 8
CLOSE = {"float16": 2e-3, "float32": 2e-5, "float64": 2e-5}


class Product(NamedTuple):
    """coefficient * factors[0] * factors[1] * ..."""

    coefficient: float
    factors: list[str]


class Sum(NamedTuple):
    """constant + terms[0] + terms[1] + ..."""

    constant: float
    terms: list[str]


def product_of(graph: OnnxGraph, name: str, root: bool = True) -> Product:
    """A tensor as a product; Mul, Div by a number and whole powers up to 3 are taken apart.

    ``root``: the tensor itself is looked into even when several nodes read it.
    """
    node = _open(graph, name, root)
    if node is None:
        return Product(1.0, [name])
    if node.op_type == "Mul":
        parts = [_scalar_or_product(graph, part, other)
                 for part, other in zip(node.input, reversed(node.input), strict=True)]
        factors = [factor for part in parts for factor in part.factors]
        if len(factors) <= MOST_PARTS:
            return Product(parts[0].coefficient * parts[1].coefficient, factors)
    number = graph.scalar(node.input[1]) if len(node.input) == 2 else None
    if number is not None and _keeps_rank(graph, node.input[1], node.input[0]):
        base = node.input[0]
        if node.op_type == "Div" and number:
            inner = product_of(graph, base, root=False)
            return Product(inner.coefficient / number, inner.factors)
        if node.op_type == "Pow" and number in (2.0, 3.0):
            return Product(1.0, [base] * int(number))
    return Product(1.0, [name])


def sum_of(graph: OnnxGraph, name: str, root: bool = True) -> Sum:
    """A tensor as a sum; Add and Sub of a number are taken apart."""
    node = _open(graph, name, root)
    if node is None or node.op_type not in ("Add", "Sub"):
        return Sum(0.0, [name])
    numbers = [graph.scalar(part) for part in node.input]
    if node.op_type == "Sub":
        if numbers[1] is None or not _keeps_rank(graph, node.input[1], node.input[0]):
            return Sum(0.0, [name])
        inner = sum_of(graph, node.input[0], root=False)
        return Sum(inner.constant - numbers[1], inner.terms)
    parts = [Sum(number, []) if number is not None and _keeps_rank(graph, part, other)
             else sum_of(graph, part, root=False)
             for part, number, other in zip(
                 node.input, numbers, reversed(node.input), strict=True)]
    return Sum(parts[0].constant + parts[1].constant, [*parts[0].terms, *parts[1].terms])


def is_close(graph: OnnxGraph, name: str, found: float, wanted: float) -> bool:
    """Whether a constant of a formula is the wanted one, as exactly as the tensor's type holds."""
    dtype = graph.dtype(name)
    if dtype is None or dtype.name not in CLOSE:
        return False
    return abs(found - wanted) <= CLOSE[dtype.name] * abs(wanted)


def maker(graph: OnnxGraph, name: str, op_type: str) -> Node | None:
    """The node that makes a tensor, if it is of a type and nobody else reads it."""
    node = graph.producer.get(name)
    found = node is not None and node.op_type == op_type and not node.domain
    return node if found and graph.is_private(name) else None


def _open(graph: OnnxGraph, name: str, root: bool) -> Node | None:
    node = graph.producer.get(name)
    if node is None or node.domain or not (root or graph.is_private(name)):
        return None
    return node


def _scalar_or_product(graph: OnnxGraph, part: str, other: str) -> Product:
    number = graph.scalar(part)
    if number is not None and _keeps_rank(graph, part, other):
        return Product(number, [])
    return product_of(graph, part, root=False)


def _keeps_rank(graph: OnnxGraph, number: str, other: str) -> bool:
    """Whether a constant of one element leaves the result the shape of the other operand."""
    rank, shape = len(graph.shape(number) or ()), graph.shape(other)
    return rank <= (0 if shape is None else len(shape)) and bool(
        np.isfinite(graph.constants[number]).all())
