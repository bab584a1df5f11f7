"""Which passes run, and in which order.

A stage is a group of passes that take turns up to a fixed point. *Portable* passes give standard
ONNX operators, which every runtime reads; those *for ONNX Runtime* give its own fused operators
and layouts, which only it does.
"""

from collections.abc import Callable

from solutions.phase2_optimization.graph_passes.constants import lift_constants
from solutions.phase2_optimization.graph_passes.dead_code import drop_dead_nodes
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph

Pass = Callable[[OnnxGraph], int]  # rewrites the graph; gives back how many places it changed

CLEANING: tuple[Pass, ...] = (drop_dead_nodes, lift_constants)
FUSIONS: tuple[Pass, ...] = ()
FOR_ONNXRUNTIME: tuple[Pass, ...] = ()
LAYOUT: tuple[Pass, ...] = ()

PORTABLE: tuple[Pass, ...] = (*CLEANING, *FUSIONS)
PORTABLE_STAGES = (PORTABLE,)
ONNXRUNTIME_STAGES = (PORTABLE, (*FOR_ONNXRUNTIME, drop_dead_nodes), LAYOUT)
