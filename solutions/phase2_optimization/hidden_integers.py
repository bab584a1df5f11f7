"""Nodes beside integers that ONNX Runtime would turn into integer nodes to our harm.

The first problem: a layer is kept in float because its weights do not stand 256 steps. But where
integers come in and go out, ONNX Runtime (from 1.22 on) takes it for an integer layer that somebody
forgot: it rounds the weights itself, with one scale for all channels. The idea: an operator that
does nothing, a Clip without limits, in front of the layer. Behind it nobody looks for integers.

The second problem: a max pooling behind a float layer (a ResNet's first) gives floats that are then
quantized. ONNX Runtime moves the quantizing before the pooling, whose kernel for bytes in the
float layers' order of channels takes 50 times as long as the one for floats. The idea: the maximum
of the tensor alone, another operator that does nothing; no quantizing is moved across it.

The third: an average pooling that cannot be a convolution (``average_pooling``) takes two to seven
times as long with ONNX Runtime's integer kernel as with floats; a Clip helps here, too.

Other float operators may be fused with the integers around them, too (a Softmax, an Add): there the
kernel computes the same, since it rounds no more than the graph says.
"""

from solutions.phase2_optimization.clamps import CLAMPS
from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph, require_onnx
from solutions.phase2_optimization.placement import MOVES, Placement

ROUNDED_UNASKED = frozenset({"Conv", "ConvTranspose", "Gemm"})


def exposed_nodes(graph: OnnxGraph, plan: Placement) -> list[Node]:
    """The float layers and average poolings that have integers before and behind them."""
    better_float = [
        node for node in graph.nodes if node.op_type == "AveragePool"
        or (node.op_type in ROUNDED_UNASKED and node.name not in plan.integer)
    ]
    return [node for node in better_float
            if _comes_from_integers(graph, node, plan) and _goes_to_integers(graph, node, plan)]


def _comes_from_integers(graph: OnnxGraph, node: Node, plan: Placement) -> bool:
    """Whether an integer node made the node's input, moved on the way or not."""
    name = node.input[0]
    while not plan.quantized.get(name):
        maker = graph.producer.get(name)
        if maker is None or maker.op_type not in MOVES:
            return False
        name = maker.input[0]
    return True


def _goes_to_integers(graph: OnnxGraph, node: Node, plan: Placement) -> bool:
    waiting = list(node.output)
    while waiting:
        name = waiting.pop()
        if name in plan.quantized:
            return True
        passed = [user for user in graph.uses(name) if user.op_type in MOVES | CLAMPS]
        waiting += [made for user in passed for made in user.output]
    return False


def hide_integers(graph: OnnxGraph, node: Node) -> None:
    """Put the Clip before a node."""
    source, name = node.input[0], graph.unused(f"{node.name}/float_input")
    graph.nodes.append(require_onnx().helper.make_node("Clip", [source], [name], name=name))
    node.input[0] = name


def behind_float_pool(graph: OnnxGraph, name: str) -> str:
    """The tensor to quantize instead of ``name``: itself, or what hides a pooling from it."""
    maker = graph.producer.get(name)
    if maker is None or maker.op_type != "MaxPool":
        return name
    hidden = graph.unused(f"{name}/float_pool")
    graph.nodes.append(require_onnx().helper.make_node("Max", [name], [hidden], name=hidden))
    return hidden
