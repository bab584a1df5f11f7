"""A matrix product and the addition of a bias as one operator, Gemm.

The bias is added while a tile of the product is in the cache. Only where the product is one of
plain matrices: with more axes a Gemm would need reshapes around it.
"""

from solutions.phase2_optimization.onnx_rewrite import Node, OnnxGraph

FLOATS = frozenset({"float16", "float32", "float64"})


def join_bias(graph: OnnxGraph) -> int:
    """MatMul of two matrices, plus a bias that reaches over its rows: one Gemm; how many.

    Proof: Gemm is alpha A B + beta C with C broadcast to the product; here alpha = beta = 1. The
    bias must not be larger than the product, which Add would broadcast.
    """
    changed = 0
    for node in list(graph.nodes):
        if node.op_type != "Add" or node.domain:
            continue
        for place in (0, 1):
            product, bias = graph.producer.get(node.input[place]), node.input[1 - place]
            if product is not None and _takes_bias(graph, product, bias):
                made = graph.add("Gemm", [*product.input, bias])
                changed += graph.replace(node.output[0], made.output[0])
                break
    return changed


def _takes_bias(graph: OnnxGraph, product: Node, bias: str) -> bool:
    """Whether a MatMul is of matrices, read here only, and the bias fits under it."""
    if product.op_type != "MatMul" or product.domain or not graph.is_private(product.output[0]):
        return False
    shapes = [graph.shape(name) for name in product.input]
    if any(shape is None or len(shape) != 2 for shape in shapes):
        return False
    dtype, columns = graph.dtype(product.output[0]), (shapes[1] or ())[1]
    fits = bias in graph.constants and graph.constants.shape_of(bias) in ((columns,), (1, columns))
    return fits and dtype is not None and dtype.name in FLOATS
