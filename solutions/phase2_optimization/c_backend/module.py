"""A network as a library in C: building it and running it."""

import ctypes
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.c_backend.blocks import Floats
from solutions.phase2_optimization.c_backend.elementwise import elementwise
from solutions.phase2_optimization.c_backend.lowering import lower
from solutions.phase2_optimization.c_backend.operators import OPERATORS
from solutions.phase2_optimization.c_backend.source import c_source
from solutions.phase2_optimization.c_backend.toolchain import (
    LIBRARY,
    OPTIMIZATION,
    WEIGHTS,
    Compiler,
    built,
    find_compiler,
)
from solutions.phase2_optimization.fixed_shapes import fix_shapes, static_shapes
from solutions.phase2_optimization.graph_preparation import prepare
from solutions.phase2_optimization.memory_plan import MemoryPlan
from solutions.phase2_optimization.onnx_rewrite import Model, OnnxGraph
from solutions.phase2_optimization.pass_manager import optimize
from zoo.errors import InferenceError

FLOAT32 = np.dtype(np.float32)  # to compare a type with this is faster than with np.float32
LINE = 64  # bytes: arena and constants start at a cache line


@dataclass(frozen=True)
class Generated:
    """What a model became: C, its constants, and the shapes that it is for."""

    source: str
    weights: bytes
    plan: MemoryPlan
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]


def generate(
    model: Model, batch: int = 1, sizes: Mapping[str, int] | None = None, lanes: int = 16
) -> Generated:
    """Lower a float32 model of fixed shapes to C for vectors of ``lanes`` floats.

    Raises InferenceError where a dimension is open, a shape depends on the data, or an operator,
    an attribute or a type is not known to the back end.
    """
    prepared = fix_shapes(prepare(model), batch, sizes)
    fixed = fix_shapes(optimize(prepared).model)
    graph = OnnxGraph(fixed)
    program = lower(graph, static_shapes(fixed), lanes, OPERATORS, elementwise)
    source, plan = c_source(program)
    shapes = [shape for _, shape in program.outputs]
    return Generated(
        source, program.weight_bytes(), plan,
        {name: static_shapes(fixed)[name].shape for name in graph.inputs},
        dict(zip(graph.outputs, shapes, strict=True)),
    )


def build(
    model: Model,
    batch: int = 1,
    sizes: Mapping[str, int] | None = None,
    compiler: Compiler | None = None,
    optimization: str = OPTIMIZATION,
) -> "CModule":
    """Lower a model, build it with the system's C compiler (or take it from the cache), load it.

    Raises InferenceError as :func:`generate` does, and where there is no compiler or it fails.
    """
    compiler = compiler or find_compiler()
    generated = generate(model, batch, sizes, compiler.lanes)
    folder = built(generated.source, generated.weights, compiler, optimization)
    try:
        return CModule(folder, generated)
    except OSError:  # what the cache holds was damaged: once more
        shutil.rmtree(folder, ignore_errors=True)
        folder = built(generated.source, generated.weights, compiler, optimization)
        return CModule(folder, generated)


def line_aligned(floats: int) -> Floats:
    """Zeros that start at a cache line."""
    room = np.zeros(floats + LINE // 4, np.float32)
    start = -room.ctypes.data % LINE // 4
    return room[start : start + floats]


def _address(array: Any) -> int:
    """Where an array that may be written starts; faster than asking numpy."""
    return ctypes.addressof(ctypes.c_float.from_buffer(array))


class CModule:
    """A built network. ``run`` may be called from several threads; they take turns."""

    def __init__(self, folder: Path, generated: Generated) -> None:
        self.folder = folder
        self.plan, self.source, self.weights = generated.plan, generated.source, generated.weights
        self.inputs, self.outputs = generated.inputs, generated.outputs
        constants = np.fromfile(folder / WEIGHTS, np.float32)
        if constants.nbytes != len(generated.weights):
            raise OSError(f"{folder / WEIGHTS} is cut off")
        self._weights = line_aligned(len(constants))
        self._weights[:] = constants
        self._arena = line_aligned(generated.plan.arena.size // 4)
        self._run = ctypes.CDLL(str(folder / LIBRARY)).run
        self._run.restype = None
        self._sources = (ctypes.c_void_p * len(self.inputs))()
        self._results = (ctypes.c_void_p * len(self.outputs))()
        self._constant = [ctypes.c_void_p(a.ctypes.data) for a in (self._weights, self._arena)]
        self._lock = threading.Lock()

    @property
    def arena_bytes(self) -> int:
        """Bytes of all activations but inputs and outputs."""
        return self.plan.arena.size

    @property
    def output_bytes(self) -> int:
        """Bytes of all outputs."""
        return sum(4 * prod(shape) for shape in self.outputs.values())

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, Floats]:
        """The outputs by name, for float32 inputs by name in the shapes of ``inputs``.

        Raises InferenceError where an input is missing or of another shape or type.
        """
        given = [self._checked(inputs, name, shape) for name, shape in self.inputs.items()]
        made = {name: np.empty(shape, np.float32) for name, shape in self.outputs.items()}
        with self._lock:
            for place, array in enumerate(given):
                self._sources[place] = array.__array_interface__["data"][0]
            for place, array in enumerate(made.values()):
                self._results[place] = _address(array)
            self._run(*self._constant, self._sources, self._results)
        return made

    @staticmethod
    def _checked(
        inputs: Mapping[str, NDArray[np.float32]], name: str, shape: tuple[int, ...]
    ) -> Floats:
        if name not in inputs:
            raise InferenceError(f"input {name!r} is missing: given are {sorted(inputs)}")
        array = inputs[name]
        if array.shape != shape or array.dtype != FLOAT32:
            raise InferenceError(
                f"input {name!r} is {array.dtype} {array.shape}: the network was built for "
                f"float32 {shape}"
            )
        return np.ascontiguousarray(array)
