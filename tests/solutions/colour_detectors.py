"""Tiny ONNX detectors, one for each output layout, that find cells of pure colour.

Cell by cell of a grid with strides 8, 16 and 32, the score of class k is the mean of colour
channel k, and the box is the cell. So what such a network should find is plain arithmetic, and
colour order, range, placing and scaling all show in it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
WIDTH, HEIGHT = 160, 96
LABELS = ("first", "second", "third")  # by colour channel


def cell_boxes(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.float32]:
    """Centre and size of each cell [N, 4] in pixels."""
    boxes = [
        (stride * (column + 0.5), stride * (row + 0.5), stride, stride)
        for stride in STRIDES
        for row in range(height // stride)
        for column in range(width // stride)
    ]
    return np.array(boxes, np.float32)


def write_detector(
    path: Path, layout: str, white: float = 255.0, *, dtype: int = TensorProto.FLOAT,
    channels_last: bool = False, open_size: bool = False, names: str = "",
    anchors: int = 1, no_object: bool = False,
) -> Path:
    """A detector whose scores are 1 where a channel is ``white`` throughout a cell."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def const(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(kind: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    image = "images"
    if dtype != TensorProto.FLOAT:
        image = node("Cast", [image], "as_float", to=TensorProto.FLOAT)
    if channels_last:
        image = node("Transpose", [image], "planes", perm=[0, 3, 1, 2])
    levels = []
    for stride in STRIDES:
        pooled = node("AveragePool", [image], f"pool{stride}", kernel_shape=[stride, stride],
                      strides=[stride, stride])
        levels.append(node("Reshape", [pooled, const(f"flat{stride}", np.array([1, 3, -1]))],
                           f"level{stride}"))
    means = node("Concat", levels, "means", axis=2)
    columns = node("Mul", [means, const("scale", np.float32(1 / white))], "columns")  # [1, 3, N]
    rows = node("Transpose", [columns], "rows", perm=[0, 2, 1])  # [1, N, 3]
    if anchors > 1:
        rows = node("Concat", [rows] * anchors, "repeated", axis=1)
    boxes = np.concatenate([cell_boxes()] * anchors)[None]
    ones = np.ones((1, boxes.shape[1], 1), np.float32)
    if layout == "yolox":
        offsets = np.tile(np.array([0.5, 0.5, 0, 0, 1], np.float32), (1, boxes.shape[1], 1))
        outputs = [node("Concat", [const("head", offsets), rows], "output", axis=2)]
    elif layout == "yolov5":
        head = np.concatenate([boxes, ones], axis=2)
        outputs = [node("Concat", [const("head", head), rows], "output", axis=2)]
    elif layout == "yolov8":
        head = boxes.transpose(0, 2, 1).copy()
        outputs = [node("Concat", [const("head", head), columns], "output0", axis=1)]
    elif layout == "ssd":
        half = boxes[..., 2:] / 2
        corners = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=2)
        corners /= np.array([WIDTH, HEIGHT] * 2, np.float32)
        yxyx = np.ascontiguousarray(corners[..., [1, 0, 3, 2]])
        best = node("ArgMax", [rows], "best", axis=2, keepdims=0)
        whole = node("Cast", [best], "best_float", to=TensorProto.FLOAT)
        outputs = [
            node("Identity", [const("boxes", yxyx)], "detection_boxes"),
            node("Add", [whole, const("one", np.float32(1))], "detection_classes"),
            node("ReduceMax", [rows, const("axis", np.array([2]))], "detection_scores",
                 keepdims=0),
        ]
    elif layout == "detr":
        clipped = node("Clip", [rows, const("low", np.float32(1e-4)),
                                const("high", np.float32(1 - 1e-4))], "clipped")
        logits = node("Log", [clipped], "logits" if no_object else "logs")
        if no_object:  # softmax of the logs and the log of what is left gives the scores back
            most = node("ReduceMax", [clipped, const("axis", np.array([2]))], "most")
            rest = node("Log", [node("Sub", [const("one", np.float32(1 + 1e-4)), most], "rest")],
                        "log_rest")
            only = node("Where", [node("Greater", [clipped, const("half", np.float32(0.5))],
                                       "sure"), logits, const("never", np.float32(-30))], "only")
            logits = node("Concat", [only, rest], "pred_logits", axis=2)
        else:
            other = node("Log", [node("Sub", [const("one", np.float32(1)), clipped], "inverse")],
                         "log_inverse")
            logits = node("Sub", [logits, other], "pred_logits")
        shares = boxes / np.array([WIDTH, HEIGHT] * 2, np.float32)
        outputs = [logits, node("Identity", [const("shares", shares)], "pred_boxes")]
    else:
        raise ValueError(layout)
    sides = ["height", "width"] if open_size else [HEIGHT, WIDTH]
    shape = [1, *sides, 3] if channels_last else [1, 3, *sides]
    graph = helper.make_graph(
        nodes, "colour", [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs], constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    if names:
        helper.set_model_props(model, {"names": names})
    model = onnx.shape_inference.infer_shapes(model)
    onnx.save(model, str(path))
    return path
