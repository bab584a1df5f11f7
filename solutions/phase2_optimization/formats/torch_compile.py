"""torch.compile: Python is followed, graphs are taken out of it and become generated C++ kernels.

Compiling happens at the first call of each new kind of input, so it is done here, for every batch
size that will come, and its time is told apart from running. *Dynamic*: the batch axis is marked as
free, and one program serves all sizes but 1, which is always a program of its own. *Freezing*:
weights become constants, which allows folding and layouts chosen beforehand; then each size gets
its own program. Source: Ansel et al., "PyTorch 2", ASPLOS 2024.
"""

import shutil
from typing import Any

from solutions.phase2_optimization.formats.compiled import (
    Compiled,
    FormatOptions,
    Source,
    Stopwatch,
    faults_of,
)
from solutions.phase2_optimization.formats.graph_breaks import explain_breaks
from solutions.phase2_optimization.formats.torch_runner import (
    as_tensors,
    require_torch,
    runner,
    weight_bytes,
)
from zoo.errors import InferenceError


def compiled(source: Source, options: FormatOptions) -> Compiled:
    """``torch.compile`` with a free batch axis where several sizes are wanted."""
    torch = require_torch(options.threads)
    need_compiler()
    module = source.need_module()
    breaks = explain_breaks(module, as_tensors(options.example(source)))
    fresh_start()
    program = torch.compile(module, dynamic=None)
    watch = Stopwatch()
    with faults_of("torch.compile"), torch.inference_mode():
        if options.is_dynamic:
            program(*_marked(options.example(source)))
        for size in options.sizes:
            program(*as_tensors(source.rows(size)))
    return _made("compile", program, watch.seconds(), module, str(breaks))


def compiled_freezing(source: Source, options: FormatOptions) -> Compiled:
    """``torch.compile`` with weights as constants: one program per batch size."""
    torch = require_torch(options.threads)
    need_compiler()
    import torch._inductor.config as inductor

    module = source.need_module()
    fresh_start()
    program = torch.compile(module, dynamic=False)
    watch = Stopwatch()
    with faults_of("torch.compile"), torch.inference_mode(), inductor.patch(freezing=True):
        for size in options.sizes:
            program(*as_tensors(source.rows(size)))
    return _made("compile-freezing", program, watch.seconds(), module, "")


def need_compiler() -> None:
    """Raises InferenceError where no C++ compiler is to be found: generated kernels need one."""
    import os

    wanted = os.environ.get("CXX", "g++")
    if not any(shutil.which(name) for name in (wanted, "clang++", "c++", "cl")):
        raise InferenceError("torch.compile needs a C++ compiler (g++ or clang++): none found")


def fresh_start() -> None:
    """Forget what was compiled and counted before."""
    import torch
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()


def _marked(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Tensors whose first axis is free."""
    import torch

    tensors = as_tensors(batch)
    for tensor in tensors:
        torch._dynamo.mark_dynamic(tensor, 0)
    return tensors


def _made(name: str, program: Any, seconds: float, module: Any, breaks: str) -> Compiled:
    import torch
    from torch._dynamo.utils import counters

    saved = torch.compiler.save_cache_artifacts()
    code = len(saved[0]) if saved else 0
    programs = int(counters["stats"]["unique_graphs"])
    detail = "; ".join(part for part in (breaks, f"{programs} compiled") if part)
    return Compiled(name, runner(program), seconds, weight_bytes(module) + code, detail)
