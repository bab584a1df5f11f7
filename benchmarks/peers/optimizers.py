"""Other optimizers of ONNX graphs, each as one function from a model to a model.

Each runs with its defaults, since that is what its users get; none may change the model given.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

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

    return lambda model: package.simplify(copy_model(model))[0]


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
            found[name] = _silent(make())
        except ImportError as error:
            missing.append(f"{name} is not installed ({error}): pip install '.[bench]'")
    return Peers(found, missing)


def _silent(optimize: Optimizer) -> Optimizer:
    def run(model: Model) -> Model:
        with _no_output():
            return optimize(model)

    return run


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Nothing on either stream, of C++ either: onnxsim warns about every node that it skips."""
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
