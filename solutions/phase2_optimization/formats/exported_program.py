"""torch.export: the whole network as one graph of ATen operators, and what it assumes written down.

The program has no Python left; what depends on the data (an ``if`` on a tensor's values) is
refused when exporting, not silently frozen as a trace does. Batch sizes are a symbol with a range.
Source: https://docs.pytorch.org/docs/stable/export.html
"""

from typing import Any

from solutions.phase2_optimization.formats.compiled import (
    Compiled,
    FormatOptions,
    Source,
    Stopwatch,
    faults_of,
)
from solutions.phase2_optimization.formats.torch_runner import (
    as_tensors,
    batch_axes,
    require_torch,
    runner,
    saved_bytes,
)


def export_program(source: Source, options: FormatOptions) -> Any:
    """The network as a ``torch.export.ExportedProgram``, its batch axis free where needed.

    Raises InferenceError that says what cannot be exported.
    """
    torch = require_torch(options.threads)
    module, example = source.need_module(), as_tensors(options.example(source))
    shapes = batch_axes(source, max(options.sizes)) if options.is_dynamic else None
    with faults_of("torch.export"):
        return torch.export.export(module, example, dynamic_shapes=shapes)


def exported(source: Source, options: FormatOptions) -> Compiled:
    """The exported program run as a module: the graph, interpreted as generated Python."""
    torch = require_torch(options.threads)
    watch = Stopwatch()
    program = export_program(source, options)
    module = program.module()
    seconds = watch.seconds()
    size = saved_bytes(lambda path: torch.export.save(program, path), options.folder / "model.pt2")
    nodes = sum(node.op == "call_function" for node in program.graph.nodes)
    return Compiled("export", runner(module), seconds, size, f"{nodes} operators")
