"""The blocked layout NCHWc: tensors and filters in groups of as many channels as a register holds.

In NCHW the channels of one pixel lie a whole picture apart, so a processor that multiplies 16
numbers at a time must gather them. NCHWc cuts the channels into blocks of c (16 with AVX-512, 8
with AVX2) and keeps a block's numbers of one pixel together:

    NCHW     [N, C, H, W]                pixel's channels: H * W apart
    NCHWc    [N, C / c, H, W, c]         pixel's channels of one block: side by side

Missing channels of the last block are filled: with zeros in the filters, so that whatever stands
in a tensor's filled channels counts for nothing. Filters come in two forms:

    OIHWBiBo  [O / c, I / c, H, W, c in, c out]   both sides blocked
    OIHWBo    [O / c, I, H, W, c out]             plain input (few channels), or depthwise

Source: Georganas et al., arXiv:1808.05567, section II; the forms are ONNX Runtime's
(com.microsoft.nchwc).
"""

import functools
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from solutions.phase2_optimization.onnx_rewrite import Model, require_onnx
from zoo.errors import InferenceError, MissingExtraError

Floats = NDArray[np.float32]
DOMAIN = "com.microsoft.nchwc"
METADATA = "nchwc_block_size"


def padded_channels(channels: int, block: int) -> int:
    """The number of channels with the last block filled."""
    return -(-channels // block) * block


def padded_vector(values: Floats, block: int) -> Floats:
    """One number per channel [C], zeros for the filled channels: [C up to a block]."""
    return np.pad(values, (0, padded_channels(len(values), block) - len(values)))


def blocked_filter(weights: Floats, block: int) -> Floats:
    """Filters [O, I, H, W] in the form OIHWBiBo; the shape keeps four axes [O', I', H, W]."""
    height, width = weights.shape[2:]
    filled = _filled(weights, [padded_channels(size, block) for size in weights.shape[:2]])
    split = filled.reshape(-1, block, filled.shape[1] // block, block, height, width)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 5, 3, 1)).reshape(filled.shape)


def _filled(weights: Floats, channels: list[int]) -> Floats:
    """Filters with zeros up to a number of output and input channels; no copy where none lack."""
    more = [(0, wanted - size) for wanted, size in zip(channels, weights.shape, strict=False)]
    return np.pad(weights, (*more, (0, 0), (0, 0))) if any(map(any, more)) else weights


def output_blocked_filter(weights: Floats, block: int) -> Floats:
    """Filters [O, I, H, W] in the form OIHWBo; the shape keeps four axes [O', I, H, W]."""
    outputs, inputs, height, width = weights.shape
    filled = _filled(weights, [padded_channels(outputs, block), inputs])
    split = filled.reshape(-1, block, inputs, height, width)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 4, 1)).reshape(filled.shape)


@functools.cache
def runtime_block_size() -> int:
    """The block size of ONNX Runtime on this processor; 1 where it knows no blocked layout.

    It is asked, not guessed from the processor: it optimizes a convolution with one output
    channel and writes down with how many it will really compute. Raises MissingExtraError where
    ONNX Runtime is not installed.
    """
    onnx = require_onnx()
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "edge") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            _one_convolution(), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(str(path)).graph
    convs = [node for node in graph.node if node.domain == DOMAIN and node.op_type == "Conv"]
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    return int(shapes[convs[0].input[1]][0]) if convs else 1


def block_size_of(model: Model) -> int | None:
    """The block size that a model was compiled for; None where it is in no blocked layout."""
    found = [item.value for item in model.metadata_props if item.key == METADATA]
    return int(found[0]) if found else None


def check_block_size(model: Model, here: int | None = None) -> None:
    """Refuse a model whose weights are blocked for another processor: it would compute nonsense.

    Raises InferenceError. ``here`` is this processor's block size, asked for if not given.
    """
    wanted = block_size_of(model)
    if wanted is None:
        return
    present = runtime_block_size() if here is None else here
    if wanted != present:
        raise InferenceError(
            f"the model was compiled for processors that compute {wanted} channels at a time; "
            f"ONNX Runtime computes {present} on this one: compile it anew here"
        )


def _one_convolution() -> bytes:
    onnx = require_onnx()
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "probe",
        [helper.make_tensor_value_info("x", number, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", number, [1, 1, 8, 8])], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    written: bytes = model.SerializeToString()
    return written
