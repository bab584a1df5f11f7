"""What a pass makes of a graph that is written as text, and whether it still computes the same."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import parser
from onnx.reference import ReferenceEvaluator

from solutions.phase2_optimization.generated_inputs import FreeSizes, generated_inputs
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph

HEADER = '<ir_version: 8, opset_import: ["" : {opset}]> g '


@dataclass(frozen=True)
class Rewritten:
    """A graph after a pass."""

    model: onnx.ModelProto
    changed: int

    @property
    def operators(self) -> Counter[str]:
        return Counter(node.op_type for node in self.model.graph.node)

    def node(self, op_type: str) -> onnx.NodeProto:
        (found,) = [node for node in self.model.graph.node if node.op_type == op_type]
        return found

    def constant(self, name: str) -> np.ndarray:
        (found,) = [t for t in self.model.graph.initializer if t.name == name]
        return onnx.numpy_helper.to_array(found)


def parsed(text: str, opset: int = 17) -> onnx.ModelProto:
    """The model; of its outputs the element type counts, the shape is left to be inferred."""
    model = parser.parse_model(HEADER.format(opset=opset) + text)
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(bare).graph.output
    except onnx.shape_inference.InferenceError:  # a graph that is broken on purpose
        return model
    for declared, found in zip(model.graph.output, inferred, strict=True):
        if found.type.tensor_type.HasField("shape"):
            declared.CopyFrom(found)
    return model


def rewritten(
    text: str, *passes: Callable[[OnnxGraph], int], opset: int = 17,
    sizes: Sequence[FreeSizes] = (FreeSizes(2, 6, 5), FreeSizes(3, 4, 1)), exact: bool = True,
) -> Rewritten:
    """The graph after the passes, checked and compared with itself before them, by onnx's
    reference evaluator, at several free sizes."""
    model = parsed(text, opset)
    graph = OnnxGraph(model)
    changed = sum(one(graph) for one in passes)
    made = onnx.ModelProto.FromString(graph.to_model().SerializeToString())
    onnx.checker.check_model(made, full_check=True)
    for number, size in enumerate(sizes):
        feeds = generated_inputs(model, np.random.default_rng(number), size)
        pairs = zip(run(model, feeds), run(made, feeds), strict=True)
        for before, after in pairs:
            assert before.dtype == after.dtype and before.shape == after.shape
            if exact:
                np.testing.assert_array_equal(after, before)
            else:
                np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    return Rewritten(made, changed)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return ReferenceEvaluator(model).run(None, feeds)
