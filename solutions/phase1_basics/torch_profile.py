"""Time, arithmetic, traffic and activations of each module of a torch network.

Hooks before and after every module give the time, also that of what a module does outside its
children (a residual addition, a flatten). A second, untimed prediction is watched operator by
operator, which gives shapes and lifetimes without knowing any kind of module.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from solutions.phase1_basics.exclusive_time import Span, exclusive_times
from solutions.phase1_basics.flops import (
    attention_flops,
    convolution_flops,
    elements,
    product_flops,
    transposed_convolution_flops,
)
from solutions.phase1_basics.layers import Layer, Operation, Shape
from solutions.phase1_basics.load_generator import nothing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.nn import Module

ROOT = "(model)"
MOVES = frozenset({
    "view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "slice", "select",
    "unsqueeze", "squeeze", "split", "chunk", "detach", "alias", "clone", "cat", "copy_", "empty",
    "_to_copy", "flatten", "contiguous", "unbind", "stack", "fill_", "zero_", "as_strided",
    "constant_pad_nd", "index", "embedding", "arange", "zeros", "ones", "full", "roll", "gather",
})  # fmt: skip


@dataclass
class TorchTrace:
    """What one prediction did, by module, and its operators in order."""

    flops: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bytes_moved: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    operations: list[Operation] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of each activation
    results: tuple[str, ...] = ()


@contextmanager
def _hooked(
    model: "Module", enter: Callable[[str], None], leave: Callable[[str], None]
) -> "Iterator[None]":
    """Tell of each module when it begins and ends, by its name; the model itself is ROOT."""
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            name = name or ROOT
            before = module.register_forward_pre_hook(lambda *_, own=name: enter(own))
            after = module.register_forward_hook(
                lambda *_, own=name: leave(own), always_call=True
            )
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        yield


def time_modules(
    model: "Module",
    batch: "Tensor",
    runs: int = 20,
    clock: Callable[[], float] = time.perf_counter,
    synchronise: Callable[[], None] = nothing,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """Own seconds of each module, median over the runs; the sum is that of a prediction."""
    import torch

    found: dict[str, list[float]] = defaultdict(list)
    spans: list[Span] = []
    open_spans: list[tuple[str, float]] = []

    def enter(name: str) -> None:
        synchronise()
        open_spans.append((name, clock()))

    def leave(name: str) -> None:
        synchronise()
        own, start = open_spans.pop()
        spans.append(Span(own, start, clock()))

    with torch.inference_mode(), _hooked(model, enter, leave):
        for done in range(runs):
            spans.clear()
            model(batch)
            for name, seconds in exclusive_times(spans).items():
                found[name].append(seconds)
            progress(done + 1)
    return {name: float(np.median(seconds)) for name, seconds in found.items()}


def trace_modules(model: "Module", batch: "Tensor") -> TorchTrace:
    """Watch one prediction operator by operator: arithmetic, traffic and lifetimes."""
    import torch
    from torch.multiprocessing.reductions import StorageWeakRef
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    trace, stack = TorchTrace(), [ROOT]
    weights = {p.untyped_storage()._cdata for p in [*model.parameters(), *model.buffers()]}
    # A weak reference keeps a storage's address from being used again, not its memory.
    kept: list[StorageWeakRef] = []

    def storage(tensor: "Tensor") -> str:
        held = tensor.untyped_storage()
        name = f"s{held._cdata}"
        if name not in trace.sizes:
            kept.append(StorageWeakRef(held))  # type: ignore[no-untyped-call]
            trace.sizes[name] = 0 if held._cdata in weights else held.nbytes()
        return name

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            kind = func.overloadpacket.__name__
            read = _tensors(tree_leaves((args, kwargs)))
            written = _tensors(tree_leaves(result))
            if not _is_view(read, written):
                trace.flops[stack[-1]] += torch_operator_flops(
                    kind, [tuple(t.shape) for t in read], [tuple(t.shape) for t in written],
                    transposed=kind == "convolution" and bool(args[6]),
                )
                trace.bytes_moved[stack[-1]] += sum(t.nbytes for t in [*read, *written])
            trace.operations.append(Operation(
                f"{stack[-1]}: {kind}", tuple(map(storage, read)), tuple(map(storage, written))
            ))
            return result

    watch = Watch()  # type: ignore[no-untyped-call]
    hooks = _hooked(model, stack.append, lambda name: _leave(stack, name))
    with torch.no_grad(), _without_fast_attention(), watch, hooks:
        result = model(batch)
    trace.results = tuple(storage(t) for t in _tensors(tree_leaves(result)))
    return trace


def _leave(stack: list[str], name: str) -> None:
    while len(stack) > 1 and stack.pop() != name:
        pass


@contextmanager
def _without_fast_attention() -> "Iterator[None]":
    """One fused operator would hide all arithmetic of an attention block."""
    import torch

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _tensors(leaves: list[Any]) -> "list[Tensor]":
    import torch

    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _is_view(read: "list[Tensor]", written: "list[Tensor]") -> bool:
    """Whether nothing was computed: the result is another look at the first operand's memory."""
    if not (read and written):
        return False
    first = read[0].untyped_storage()._cdata
    same = all(t.untyped_storage()._cdata == first for t in written)
    return same and written[0] is not read[0]


def torch_operator_flops(
    kind: str, inputs: list[Shape], outputs: list[Shape], transposed: bool = False
) -> int:
    """FLOPs of one aten operator, by the rules of ``flops``: two for a multiplication and an
    addition, one for each element of an elementwise result, none for moving data."""
    if not outputs:
        return 0
    if kind in {"convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution"}:
        if transposed:
            return transposed_convolution_flops(inputs[1], inputs[0])
        return convolution_flops(inputs[1], outputs[0])
    if kind in {"mm", "bmm"}:
        return product_flops(inputs[0], inputs[1], outputs[0])
    if kind in {"addmm", "baddbmm"}:
        return product_flops(inputs[1], inputs[2], outputs[0])
    if "scaled_dot_product" in kind and "attention" in kind:
        return attention_flops(inputs[0], inputs[1], inputs[2])
    if kind in MOVES:
        return 0
    reduction = elements(outputs[0]) < elements(inputs[0]) if inputs else False
    return elements(inputs[0]) if reduction and kind in {"mean", "sum"} else elements(outputs[0])


def profile_torch(
    model: "Module",
    batch: "Tensor",
    runs: int = 20,
    clock: Callable[[], float] = time.perf_counter,
    synchronise: Callable[[], None] = nothing,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[list[Layer], TorchTrace]:
    """Every module that spent time or arithmetic of its own, and the trace behind it."""
    trace = trace_modules(model, batch)
    seconds = time_modules(model, batch, runs, clock, synchronise, progress)
    kinds = {name or ROOT: type(module).__name__ for name, module in model.named_modules()}
    leaves = {name or ROOT for name, m in model.named_modules() if not any(m.children())}
    layers = [
        Layer(name, kinds[name] if name in leaves else f"{kinds[name]} (own)",
              max(seconds[name], 0.0), trace.flops[name], trace.bytes_moved[name])
        for name in kinds if name in seconds
    ]
    return layers, trace
