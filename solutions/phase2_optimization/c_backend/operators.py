"""Which operator is lowered by what."""

from solutions.phase2_optimization.c_backend import moves
from solutions.phase2_optimization.c_backend.convolutions import convolution
from solutions.phase2_optimization.c_backend.elementwise import reduce_sum, softmax
from solutions.phase2_optimization.c_backend.lowering import Operator
from solutions.phase2_optimization.c_backend.matrices import matrix_product
from solutions.phase2_optimization.c_backend.pools import (
    average_pool,
    global_average_pool,
    global_max_pool,
    max_pool,
)

OPERATORS: dict[str, Operator] = {
    "Conv": convolution,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "Gemm": matrix_product,
    "MatMul": matrix_product,
    "Softmax": softmax,
    "ReduceMean": reduce_sum,
    "ReduceSum": reduce_sum,
    "Reshape": moves.view,
    "Flatten": moves.view,
    "Squeeze": moves.view,
    "Unsqueeze": moves.view,
    "Identity": moves.same,
    "Dropout": moves.same,
    "Transpose": moves.transpose,
    "Slice": moves.slices,
    "Split": moves.split,
    "Concat": moves.concat,
    "Pad": moves.pad,
    "Resize": moves.resize,
    "Upsample": moves.resize,
}
