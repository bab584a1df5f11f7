"""The same network in the form that runs best on integers, before anything is quantized.

Rewrites that change no result: the Focus layer becomes one convolution (``focus_layer``),
x * sigmoid(x) one operator (``swish``), a product of matrices and its bias one Gemm, a Relu goes
before its pooling (``pool_order``), channels are filled up to the kernels' blocks
(``channel_alignment``), average poolings become convolutions (``average_pooling``) and doublings
copies (``upsampling``).
"""

from solutions.phase2_optimization.average_pooling import pools_as_convolutions
from solutions.phase2_optimization.channel_alignment import align_channels
from solutions.phase2_optimization.focus_layer import join_focus
from solutions.phase2_optimization.graph_passes.matrix_products import join_bias
from solutions.phase2_optimization.graph_preparation import infer_shapes
from solutions.phase2_optimization.onnx_rewrite import Model, OnnxGraph, attribute
from solutions.phase2_optimization.pool_order import clamps_before_pools
from solutions.phase2_optimization.swish import join_swish
from solutions.phase2_optimization.upsampling import doublings_as_copies

FEW_CHANNELS = 4
THIN = f"it reads at most {FEW_CHANNELS} channels: slower in integers than in float"


def fit_to_kernels(model: Model) -> Model:
    """A copy of a prepared float model that computes the same; its layers keep their names."""
    graph = OnnxGraph(model)
    join_focus(graph)
    join_swish(graph)
    join_bias(graph)
    clamps_before_pools(graph)
    aligned = OnnxGraph(align_channels(infer_shapes(graph.to_model())))
    pools_as_convolutions(aligned)
    doublings_as_copies(aligned)
    return infer_shapes(aligned.to_model())


def thin_convolutions(model: Model) -> dict[str, str]:
    """Convolutions that had better stay in float for speed, by name, with the reason.

    Integer kernels gather each output's window byte by byte in runs of a pixel's channels; for an
    image's three channels the gathering takes longer than the float kernel takes for everything.
    """
    graph = OnnxGraph(model)
    convolutions = [node for node in graph.nodes if node.op_type == "Conv"]
    return {
        node.name: THIN for node in convolutions
        if attribute(node, "group", 1) == 1
        and graph.constants.get(node.input[1]) is not None
        and graph.constants[node.input[1]].shape[1] <= FEW_CHANNELS
    }
