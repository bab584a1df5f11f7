"""Other optimizers of ONNX graphs, each as one function from a model to a model.

Each runs with its defaults, since that is what its users get; none may change the model given.
"""

import contextlib
import io
from collections.abc import Callable
from typing import Any, NamedTuple

from solutions.phase2_optimization.onnx_rewrite import Model, copy_model

Optimizer = Callable[[Model], Model]

SLIM, SIM, OPTIMIZER = "onnxslim", "onnxsim", "onnxoptimizer"


class Peers(NamedTuple):
    """The optimizers that are installed, and a line for each that is not."""

    found: dict[str, Optimizer]
    missing: list[str]


def onnxslim() -> Optimizer:
    """onnxslim: pattern fusion and constant folding in Python."""
    import onnxslim as package

    return lambda model: package.slim(copy_model(model))


def onnxsim() -> Optimizer:
    """onnxsim: onnxoptimizer's passes and constant folding by ONNX Runtime, to a fixed point."""
    import onnxsim as package

    def simplify(model: Model) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return package.simplify(copy_model(model))[0]

    return simplify


def onnxoptimizer() -> Optimizer:
    """onnxoptimizer: the ONNX project's own fusing and eliminating passes, to a fixed point."""
    import onnxoptimizer as package

    passes = package.get_fuse_and_elimination_passes()
    return lambda model: package.optimize(copy_model(model), passes, fixed_point=True)


PEERS: dict[str, Callable[[], Optimizer]] = {
    SLIM: onnxslim, SIM: onnxsim, OPTIMIZER: onnxoptimizer,
}


def peers() -> Peers:
    """What is installed of :data:`PEERS`."""
    found: dict[str, Optimizer] = {}
    missing = []
    for name, make in PEERS.items():
        try:
            found[name] = make()
        except ImportError as error:
            missing.append(f"{name} is not installed ({error}): pip install '.[bench]'")
    return Peers(found, missing)
