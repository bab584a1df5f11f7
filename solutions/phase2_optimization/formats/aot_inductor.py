"""AOTInductor: the kernels of ``torch.compile``, but ahead of time: a package that needs no Python.

An exported program becomes a shared library with its weights; a C++ program can load it too.
Source: https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html
"""

import importlib

from solutions.phase2_optimization.formats.compiled import (
    Compiled,
    FormatOptions,
    Source,
    Stopwatch,
    bytes_below,
    faults_of,
)
from solutions.phase2_optimization.formats.exported_program import export_program
from solutions.phase2_optimization.formats.torch_compile import need_compiler
from solutions.phase2_optimization.formats.torch_runner import require_torch, runner


def aot_inductor(source: Source, options: FormatOptions) -> Compiled:
    """A package made by AOTInductor, weights frozen into it, loaded again from its file."""
    torch = require_torch(options.threads)
    need_compiler()
    inductor = importlib.import_module("torch._inductor")  # torch does not bring it by itself
    watch = Stopwatch()
    program = export_program(source, options)
    path = options.folder / "aotinductor.pt2"
    with faults_of("AOTInductor"), torch.no_grad():
        inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs={"freezing": True})
        loaded = inductor.aoti_load_package(str(path))
    return Compiled("aotinductor", runner(loaded), watch.seconds(), bytes_below(path))
