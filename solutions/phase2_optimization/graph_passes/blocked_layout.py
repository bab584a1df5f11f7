"""Let a network compute in the blocked layout from its first convolution to its last.

The problem: ONNX Runtime's fastest convolutions want blocks of channels (blocked_weights.py), its
other operators the plain layout, and reordering costs as much as a small convolution. The idea:
walk through the graph once in its order, convert every operator that can compute on blocks, and
reorder only where blocks begin and end. Weights are reordered here, once.

Only for ONNX Runtime on a CPU, in single precision; the model notes for which block size it was
made (``nchwc_block_size`` in its metadata), and :func:`check_block_size` refuses it elsewhere.
Source: Liu et al., "Optimizing CNN model inference on CPUs", arXiv:1809.02697, section 3.2; the
operators are those of ONNX Runtime's own transformer, onnxruntime/core/optimizer.
"""

from collections.abc import Callable

from solutions.phase2_optimization.graph_passes.blocked_convolution import convert_convolution
from solutions.phase2_optimization.graph_passes.blocked_operators import (
    UNARY,
    convert_binary,
    convert_concat,
    convert_pool,
    convert_resize,
    convert_split,
    convert_transpose,
    convert_unary,
)
from solutions.phase2_optimization.graph_passes.blocked_scaling import convert_norm
from solutions.phase2_optimization.graph_passes.blocked_tensors import BlockedTensors
from solutions.phase2_optimization.graph_passes.blocked_weights import (
    METADATA,
    runtime_block_size,
)
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, require_onnx

Rule = Callable[[BlockedTensors, Node], bool]
RULES: dict[str, Rule] = {
    "Conv": convert_convolution,
    "FusedConv": convert_convolution,
    "Add": convert_binary,
    "Sub": convert_binary,
    "Mul": convert_binary,
    "BatchNormalization": convert_norm,
    "Concat": convert_concat,
    "Split": convert_split,
    "Resize": convert_resize,
    "Upsample": convert_resize,
    "Transpose": convert_transpose,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
                    convert_pool),
    **dict.fromkeys(UNARY, convert_unary),
}
DOMAINS = frozenset({"", "com.microsoft"})


def blocked_layout(graph: OnnxGraph) -> int:
    """Convert to the block size of this processor; how many operators were converted.

    Proof: a blocked operator computes the same sums of the same products as the plain one; filled
    channels meet weights of zero, and are cut off where the plain layout begins again.
    """
    return to_blocked_layout(graph, runtime_block_size())


def to_blocked_layout(graph: OnnxGraph, block: int) -> int:
    """Convert to blocks of ``block`` channels; how many operators were converted.

    With a block of 1 (a processor for which ONNX Runtime knows no blocks) nothing changes.
    """
    if block <= 1:
        return 0
    tensors = BlockedTensors(graph, block)
    converted = 0
    for node in list(graph.ordered()):
        rule = RULES.get(node.op_type) if node.domain in DOMAINS else None
        converted += rule is not None and graph.has(node) and rule(tensors, node)
    tensors.finish()
    if converted:
        _note_block_size(graph, block)
    return converted


def _note_block_size(graph: OnnxGraph, block: int) -> None:
    """Write into the model's metadata for which processors its weights are."""
    kept = [item for item in graph.model.metadata_props if item.key != METADATA]
    del graph.model.metadata_props[:]
    graph.model.metadata_props.extend(kept)
    graph.model.metadata_props.append(
        require_onnx().StringStringEntryProto(key=METADATA, value=str(block)))
