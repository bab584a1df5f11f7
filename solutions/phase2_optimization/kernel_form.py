"""The same network in the form that runs best on integers, before anything is quantized.

Three rewrites that change no result: the Focus layer becomes one convolution (``focus_layer``),
x * sigmoid(x) one operator (``swish``), and channels are filled up to the kernels' blocks
(``channel_alignment``).
"""

from solutions.phase2_optimization.channel_alignment import align_channels
from solutions.phase2_optimization.focus_layer import join_focus
from solutions.phase2_optimization.graph_preparation import infer_shapes
from solutions.phase2_optimization.onnx_rewrite import Model, OnnxGraph
from solutions.phase2_optimization.swish import join_swish


def fit_to_kernels(model: Model) -> Model:
    """A copy of a prepared float model that computes the same; its layers keep their names."""
    graph = OnnxGraph(model)
    join_focus(graph)
    join_swish(graph)
    return align_channels(infer_shapes(graph.to_model()))
