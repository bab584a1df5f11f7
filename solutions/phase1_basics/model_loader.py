"""From a file to a prediction: where a reader of phase 1 starts.

Pixels become a network's input (``preprocessing``), a runtime runs the network (``onnx_model``),
its numbers become words (``postprocessing``). None of them imports a framework heavier than ONNX
Runtime.
"""

from solutions.phase1_basics.onnx_model import OnnxModel, TensorSpec
from solutions.phase1_basics.postprocessing import Ranked, softmax, top_k
from solutions.phase1_basics.preprocessing import (
    Letterboxed,
    LetterboxTransform,
    letterbox,
    normalise,
    to_nchw,
)

__all__ = [
    "LetterboxTransform", "Letterboxed", "OnnxModel", "Ranked", "TensorSpec", "letterbox",
    "normalise", "softmax", "to_nchw", "top_k",
]
