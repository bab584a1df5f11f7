"""Arithmetic on a vector that is in a register already: activations, sums, what follows a layer.

A layer that is followed by Relu, by a residual Add or by both need not write its result, read it
and write it again: the stages are applied to the sums before they are stored. The same stages make
up kernels of their own where no layer comes before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Form = Literal["none", "number", "channel", "tensor", "self"]


@dataclass(frozen=True)
class Pointwise:
    """``v = op(v, operand)``, or with the operand on the left.

    The operand is a number, one value per channel, a tensor of v's shape (``source`` names it in
    the graph), or v itself.
    """

    op: str
    numbers: tuple[float, ...] = ()  # of the operator; the operand where its form is "number"
    form: Form = "none"
    source: str = ""
    left: bool = False

    def expression(self, v: str, operand: str, width: int) -> str:
        """C for the new v."""
        if self.form == "none":
            return UNARY[self.op](v, self.numbers, width)
        other = number(self.numbers[0]) if self.form == "number" else operand
        if self.form == "number" and self.op in ("min", "max"):
            other = f"splat{width}({other})"
        one, two = (other, v) if self.left else (v, other)
        return BINARY[self.op](one, two, width)


def number(value: float) -> str:
    """A float as C, exactly."""
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = repr(float(np.float32(value)))
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


Unary = Callable[[str, Sequence[float], int], str]
Binary = Callable[[str, str, int], str]


def _function(name: str) -> Unary:
    return lambda v, n, w: f"{name}{w}({', '.join([v, *map(number, n)])})"


UNARY: dict[str, Unary] = {
    "relu": lambda v, n, w: f"max{w}(splat{w}(0.0f), {v})",
    "clip": lambda v, n, w: (
        f"min{w}(splat{w}({number(n[1])}), max{w}(splat{w}({number(n[0])}), {v}))"),
    "neg": lambda v, n, w: f"-{v}",
    "leaky_relu": _function("leaky_relu"),  # slope
    "hard_sigmoid": _function("hard_sigmoid"),  # alpha, beta
    "elu": _function("elu"),  # alpha
    "abs": _function("abs"),
    "exp": _function("exponential"),
    "sigmoid": _function("sigmoid"),
    "tanh": _function("tanh"),
    "erf": _function("erf"),
    "hard_swish": _function("hard_swish"),
    "silu": _function("silu"),
    "sqrt": _function("sqrt"),
    "square": lambda v, n, w: f"{v} * {v}",
    "reciprocal": lambda v, n, w: f"1.0f / {v}",
    "log": _function("vlog"),
    "softplus": _function("softplus"),
    "gelu": _function("gelu"),
}

BINARY: dict[str, Binary] = {
    "add": lambda a, b, w: f"{a} + {b}",
    "sub": lambda a, b, w: f"{a} - {b}",
    "mul": lambda a, b, w: f"{a} * {b}",
    "div": lambda a, b, w: f"{a} / {b}",
    "min": lambda a, b, w: f"min{w}({a}, {b})",
    "max": lambda a, b, w: f"max{w}({a}, {b})",
    "prelu": lambda a, b, w: f"max{w}(splat{w}(0.0f), {a}) + min{w}(splat{w}(0.0f), {a}) * {b}",
}


def parameters(chain: Sequence[Pointwise]) -> list[str]:
    """The names of the pointers that a chain of stages needs, in order."""
    return [f"e{i}" for i, stage in enumerate(chain) if stage.form in ("channel", "tensor")]


def applied(
    chain: Sequence[Pointwise], variable: str, at: str, width: int, channel_at: str = ""
) -> list[str]:
    """C statements that turn ``variable`` into what the chain makes of it.

    ``at``: where the output's vector lies, from the start of a tensor; ``channel_at``: the same
    for values per channel.
    """
    lines = []
    for i, stage in enumerate(chain):
        operand = {
            "tensor": f"load{width}(e{i} + {at})",
            "channel": f"load{width}(e{i}{channel_at and ' + ' + channel_at})",
            "self": variable,
        }.get(stage.form, "")
        lines.append(f"{variable} = {stage.expression(variable, operand, width)};")
    return lines
