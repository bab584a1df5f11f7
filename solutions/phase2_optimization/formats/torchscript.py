"""TorchScript: a network as a program of its own, by watching a run or by reading the source.

*Tracing* writes down the operators of one run; an ``if`` leaves only the branch that this run took
(``trace_check`` finds that out). *Scripting* compiles the source and keeps control flow, but knows
only a part of Python. *Freezing* makes constants of the weights, so that batch norms are folded and
convolutions are stored as the kernels want them.
"""

import warnings
from collections.abc import Callable
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
    require_torch,
    runner,
    saved_bytes,
)
from solutions.phase2_optimization.formats.trace_check import check_trace, probes
from zoo.errors import InferenceError


def trace_module(module: Any, example: tuple[Any, ...]) -> Any:
    """The operators of one run. Raises InferenceError where tracing fails."""
    import torch

    with faults_of("tracing"), warnings.catch_warnings(), torch.inference_mode(False):
        warnings.simplefilter("ignore")
        with torch.no_grad():
            return torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]


def script_module(module: Any) -> Any:
    """The source, compiled; control flow stays. Raises InferenceError for Python it lacks."""
    import torch

    with faults_of("scripting"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


def freeze_module(scripted: Any) -> Any:
    """Weights as constants, batch norms folded."""
    import torch

    with faults_of("freezing"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.freeze(scripted.eval())  # type: ignore[no-untyped-call]


def optimize_frozen(frozen: Any) -> Any:
    """Layouts and fusions for inference on this machine, in place: store the program before."""
    import torch

    with faults_of("optimizing for inference"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.optimize_for_inference(frozen)  # type: ignore[no-untyped-call]


def traced(source: Source, options: FormatOptions) -> Compiled:
    """A trace that was checked to be the program."""
    return _compiled("torchscript-traced", source, options, lambda: _checked(source, options))


def scripted(source: Source, options: FormatOptions) -> Compiled:
    """The scripted module."""
    return _compiled("torchscript-scripted", source, options,
                     lambda: script_module(source.need_module()))


def frozen(source: Source, options: FormatOptions) -> Compiled:
    """A checked trace, or where it is not the program the scripted module; frozen, optimized."""
    require_torch(options.threads)
    watch = Stopwatch()
    module, detail = source.need_module(), ""
    try:
        made = _checked(source, options)
    except InferenceError as error:
        made, detail = script_module(module), f"scripted: {error}"
    stored = freeze_module(made)
    seconds = watch.seconds()
    size = saved_bytes(stored.save, options.folder / "frozen.pt")  # before weights are rearranged
    watch = Stopwatch()
    program = optimize_frozen(stored)
    return Compiled("torchscript-frozen", runner(program), seconds + watch.seconds(), size,
                    detail)


def _checked(source: Source, options: FormatOptions) -> Any:
    """The trace. Raises InferenceError where it is not the program."""
    example = options.example(source)
    module = source.need_module()
    found = trace_module(module, as_tensors(example))
    check = check_trace(module, found, probes(example, options.sizes))
    if not check.is_the_program:
        raise InferenceError(f"the trace is not the program: {check.reason}")
    return found


def _compiled(
    name: str, source: Source, options: FormatOptions, make: Callable[[], Any]
) -> Compiled:
    require_torch(options.threads)
    watch = Stopwatch()
    module = make()
    seconds = watch.seconds()
    size = saved_bytes(module.save, options.folder / f"{name}.pt")
    return Compiled(name, runner(module), seconds, size)
