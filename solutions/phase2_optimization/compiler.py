"""A graph compiler: the same function from fewer, larger, faster operators.

    python -m solutions.phase2_optimization.compiler MODEL --out FILE.onnx [--verify]

An exported network is a graph that nobody has tidied: constants computed at run time, shapes
measured that are known, transposes there and back, a convolution and its normalisation as two
operators. Each *pass* finds one such pattern and rewrites it; each has a proof, in its docstring,
that the outputs stay. Where to read on:

    onnx_rewrite.py, graph_index.py     the graph, editable: who makes a tensor, who reads it
    graph_constants.py, graph_types.py  weights undecoded; element types and shapes
    graph_check.py                      what is no graph, in one line
    graph_passes/                       the passes, one kind of rewrite per file
    constant_kernels.py, shape_arithmetic.py, determinism.py
                                        for folding: operators on arrays, shapes known in part,
                                        what may be computed beforehand at all
    pass_order.py                       which passes, in which order: portable, for ONNX Runtime
    pass_manager.py                     the fixed point, time, counts; faulty passes undone
    generated_inputs.py, output_check.py  numerics checked after each pass
    model_files.py, model_names.py      files of any size; models by name
    compiler_command.py                 this file's command
    arena.py, memory_plan.py, fixed_shapes.py
                                        one block of memory for all activations
    c_backend/                          the graph as a C library, built ahead of time

Sources: Aho, Lam, Sethi, Ullman, "Compilers", chapter 9 (constant folding, common subexpressions,
dead code); ONNX Runtime's and onnx-simplifier's documented rewrites.
"""

import sys

from solutions.phase2_optimization.compiler_command import main
from solutions.phase2_optimization.generated_inputs import generated_inputs
from solutions.phase2_optimization.graph_check import check_model, unknown_operators
from solutions.phase2_optimization.graph_passes.broadcasts import drop_expands
from solutions.phase2_optimization.graph_passes.casts import merge_casts
from solutions.phase2_optimization.graph_passes.common_subexpressions import (
    merge_common_subexpressions,
)
from solutions.phase2_optimization.graph_passes.concats import merge_concats
from solutions.phase2_optimization.graph_passes.constant_folding import fold_constants
from solutions.phase2_optimization.graph_passes.constants import lift_constants
from solutions.phase2_optimization.graph_passes.dead_code import drop_dead_nodes
from solutions.phase2_optimization.graph_passes.duplicate_weights import merge_duplicate_weights
from solutions.phase2_optimization.graph_passes.identities import (
    drop_identities,
    drop_neutral_operands,
)
from solutions.phase2_optimization.graph_passes.reshapes import (
    fix_targets,
    merge_reshapes,
    reshape_target,
)
from solutions.phase2_optimization.graph_passes.slices import merge_slices, merged_cuts
from solutions.phase2_optimization.graph_passes.transposes import merge_transposes, sink_transposes
from solutions.phase2_optimization.graph_types import known_shapes
from solutions.phase2_optimization.model_files import read_model, write_model
from solutions.phase2_optimization.model_names import named_model
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from solutions.phase2_optimization.output_check import OutputCheck
from solutions.phase2_optimization.pass_manager import Optimized, PassReport, optimize
from solutions.phase2_optimization.pass_order import ONNXRUNTIME_STAGES, PORTABLE_STAGES, Pass

__all__ = [
    "ONNXRUNTIME_STAGES", "PORTABLE_STAGES", "OnnxGraph", "Optimized", "OutputCheck", "Pass",
    "PassReport", "check_model", "drop_dead_nodes", "drop_expands", "drop_identities",
    "drop_neutral_operands", "fix_targets", "fold_constants", "generated_inputs", "known_shapes",
    "lift_constants", "main", "merge_casts", "merge_common_subexpressions", "merge_concats",
    "merge_duplicate_weights", "merge_reshapes", "merge_slices", "merge_transposes",
    "merged_cuts", "named_model", "optimize", "read_model", "reshape_target", "sink_transposes",
    "unknown_operators", "write_model",
]

if __name__ == "__main__":
    sys.exit(main())
