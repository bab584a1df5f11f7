"""ExecuTorch: an exported program as a flat file for phones and boards, convolutions by XNNPACK.

The Python package carries the same runtime that devices have, so the file can be run here.
Source: https://docs.pytorch.org/executorch/stable/using-executorch-export.html
"""

import contextlib
from typing import Any

from solutions.phase2_optimization.formats.compiled import (
    Compiled,
    FormatOptions,
    Source,
    Stopwatch,
    bytes_below,
    faults_of,
)
from solutions.phase2_optimization.formats.exported_program import export_program
from solutions.phase2_optimization.formats.torch_runner import require_torch, runner
from zoo.errors import MissingExtraError


def executorch(source: Source, options: FormatOptions) -> Compiled:
    """A ``.pte`` file with what XNNPACK takes over delegated to it, loaded again from the file."""
    require_torch(options.threads)
    partitioner, lower, runtime = require_executorch()
    watch = Stopwatch()
    program = export_program(source, options)
    path = options.folder / "executorch.pte"
    with faults_of("ExecuTorch"):
        edge = lower(program, partitioner=[partitioner()])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            edge.to_executorch().write_to_file(file)
        _use_threads(options.threads)
        method = runtime.get().load_program(path).load_method("forward")
    # outputs lie in the program's own arena: as_arrays would hand out memory that the next
    # run overwrites, so each is copied
    run = runner(lambda *tensors: [each.clone() for each in method.execute(tensors)])
    delegated, total = delegated_nodes(edge)
    return Compiled("executorch", run, watch.seconds(), bytes_below(path),
                    f"{delegated} parts delegated to XNNPACK, {total} operators left")


def require_executorch() -> tuple[Any, Any, Any]:
    """Partitioner, lowering and runtime; raises MissingExtraError without them."""
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from executorch.runtime import Runtime
    except ImportError as error:
        raise MissingExtraError("executorch", "mobile") from error
    return XnnpackPartitioner, to_edge_transform_and_lower, Runtime


def delegated_nodes(edge: Any) -> tuple[int, int]:
    """Calls of delegates in a lowered program, and operators that stayed outside of them."""
    nodes = [node for node in edge.exported_program().graph.nodes if node.op == "call_function"]
    calls = sum("executorch_call_delegate" in str(node.target) for node in nodes)
    rest = sum("getitem" not in str(node.target) for node in nodes) - calls
    return calls, rest


def _use_threads(count: int) -> None:
    """As many threads as everyone else, where this version can be told."""
    with contextlib.suppress(ImportError, AttributeError):
        from executorch.extension.pybindings import portable_lib

        portable_lib._unsafe_reset_threadpool(count)
