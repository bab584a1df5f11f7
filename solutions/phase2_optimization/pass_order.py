"""Which passes run, and in which order.

A stage is a group of passes that take turns up to a fixed point. *Portable* passes give standard
ONNX operators, which every runtime reads; those *for ONNX Runtime* give its own fused operators
and layouts, which only it does.
"""

from collections.abc import Callable

from solutions.phase2_optimization.graph_passes.activations import (
    merge_clips,
    recognise_hard_sigmoid,
    recognise_hard_swish,
    recognise_mish,
)
from solutions.phase2_optimization.graph_passes.attention import fuse_attention
from solutions.phase2_optimization.graph_passes.bias_gelu import fuse_bias_gelu
from solutions.phase2_optimization.graph_passes.blocked_layout import blocked_layout
from solutions.phase2_optimization.graph_passes.broadcasts import drop_expands
from solutions.phase2_optimization.graph_passes.casts import merge_casts
from solutions.phase2_optimization.graph_passes.channels_last import (
    sink_past_constants,
    sink_past_convolutions,
    sink_past_sums,
)
from solutions.phase2_optimization.graph_passes.common_subexpressions import (
    merge_common_subexpressions,
)
from solutions.phase2_optimization.graph_passes.concats import merge_concats
from solutions.phase2_optimization.graph_passes.constant_folding import fold_constants
from solutions.phase2_optimization.graph_passes.constants import lift_constants
from solutions.phase2_optimization.graph_passes.dead_code import drop_dead_nodes
from solutions.phase2_optimization.graph_passes.duplicate_weights import merge_duplicate_weights
from solutions.phase2_optimization.graph_passes.flat_products import join_bias_between_reshapes
from solutions.phase2_optimization.graph_passes.fused_conv import (
    fuse_activations,
    fuse_residuals,
)
from solutions.phase2_optimization.graph_passes.fused_products import (
    fuse_gemm_activations,
    fuse_matmul_scales,
    fuse_matmul_transposes,
)
from solutions.phase2_optimization.graph_passes.gelu import fuse_gelu, recognise_gelu
from solutions.phase2_optimization.graph_passes.identities import (
    drop_identities,
    drop_neutral_operands,
)
from solutions.phase2_optimization.graph_passes.layer_norm import recognise_layer_norm
from solutions.phase2_optimization.graph_passes.layout_detours import (
    drop_detours,
    drop_gemm_reshapes,
)
from solutions.phase2_optimization.graph_passes.matrix_products import join_bias
from solutions.phase2_optimization.graph_passes.norm_folding import (
    fold_norms,
    fold_scales,
    scale_products,
)
from solutions.phase2_optimization.graph_passes.pad_folding import fold_pads
from solutions.phase2_optimization.graph_passes.pooling import recognise_global_pool
from solutions.phase2_optimization.graph_passes.quick_gelu import fuse_swish
from solutions.phase2_optimization.graph_passes.reductions import absorb_reshapes
from solutions.phase2_optimization.graph_passes.reshapes import fix_targets, merge_reshapes
from solutions.phase2_optimization.graph_passes.rotations import gather_slices
from solutions.phase2_optimization.graph_passes.row_gathers import gather_rows
from solutions.phase2_optimization.graph_passes.shapes import narrow_shapes
from solutions.phase2_optimization.graph_passes.slice_partitions import join_partitions
from solutions.phase2_optimization.graph_passes.slices import merge_slices
from solutions.phase2_optimization.graph_passes.squeezes import lift_squeezes
from solutions.phase2_optimization.graph_passes.transposes import (
    merge_transposes,
    reshape_unit_transposes,
    sink_transposes,
)
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph

Pass = Callable[[OnnxGraph], int]  # rewrites the graph; gives back how many places it changed

CLEANING: tuple[Pass, ...] = (
    drop_dead_nodes, lift_constants, fold_constants, fix_targets, drop_dead_nodes, drop_identities,
    drop_neutral_operands, merge_duplicate_weights, merge_common_subexpressions, merge_casts,
    narrow_shapes, reshape_unit_transposes, merge_reshapes, lift_squeezes, absorb_reshapes,
    sink_transposes, merge_transposes, merge_slices, gather_slices, merge_concats, drop_expands,
)
FUSIONS: tuple[Pass, ...] = (
    fold_pads, fold_norms, fold_scales, scale_products, gather_rows, drop_detours,
    sink_past_constants, sink_past_sums, join_bias, join_bias_between_reshapes, drop_gemm_reshapes,
    join_partitions, recognise_layer_norm, recognise_gelu, recognise_hard_sigmoid,
    recognise_hard_swish, recognise_mish, recognise_global_pool, merge_clips,
)
FOR_ONNXRUNTIME: tuple[Pass, ...] = (
    fuse_attention, sink_past_convolutions, sink_past_sums, drop_detours, merge_reshapes,
    drop_gemm_reshapes, drop_identities, fuse_gelu, fuse_bias_gelu, fuse_swish, fuse_residuals,
    fuse_activations, fuse_gemm_activations, fuse_matmul_transposes, fuse_matmul_scales,
)
LAYOUT: tuple[Pass, ...] = (blocked_layout,)

NEW_RULES = 7  # the opset from which operators broadcast as in numpy; the passes rely on it
ANY_OPSET: tuple[Pass, ...] = (drop_dead_nodes, lift_constants, merge_duplicate_weights)

PORTABLE: tuple[Pass, ...] = (*CLEANING, *FUSIONS)
PORTABLE_STAGES = (PORTABLE,)
ONNXRUNTIME_STAGES = (PORTABLE, (*FOR_ONNXRUNTIME, drop_dead_nodes), LAYOUT)
