"""May this file be loaded? One question for every format, answered from the bytes alone.

A format is either data or a program. Data (safetensors, ONNX, TFLite, GGUF, a pickled state dict)
must be undamaged and stay in its folder. A program (TorchScript, TensorFlow, Keras,
``torch.export``, TensorRT) must use nothing but operators that compute; what cannot be read, native
code above all, is refused unless the user trusts the file.
"""

from pathlib import Path

from solutions.phase1_basics.export_check import check_torch_export
from solutions.phase1_basics.file_bytes import FileBytes
from solutions.phase1_basics.gguf_check import check_gguf
from solutions.phase1_basics.keras_check import check_keras, check_keras_h5
from solutions.phase1_basics.model_format import ModelFormat, detect_format
from solutions.phase1_basics.onnx_check import check_onnx
from solutions.phase1_basics.safetensors_file import read_safetensors_header
from solutions.phase1_basics.saved_model_check import check_frozen_graph, check_saved_model
from solutions.phase1_basics.tflite_check import check_tflite
from solutions.phase1_basics.torch_file import check_torch_legacy, check_torch_zip
from solutions.phase1_basics.torchscript_check import check_torchscript
from solutions.phase1_basics.unsafe_model import UnsafeModelError

__all__ = ["UnsafeModelError", "check_file", "check_model"]


def check_model(path: Path, trust: bool = False) -> ModelFormat:
    """The format of a model file or folder, once nothing in it does more than carry a model.

    ``trust`` allows what a program format may do (foreign operators, native code), never damage,
    never a pickle that is not a state dict, never a way out of the model's folder.

    Raises UnsafeModelError that names the offending thing, InferenceError for a file that is
    damaged, cut off or of no known format, MissingExtraError where a check needs a package.
    """
    model_format = detect_format(path)
    if model_format == ModelFormat.SAVED_MODEL:
        check_saved_model(path, trust)
        return model_format
    with FileBytes(path) as file:
        check_file(file, model_format, trust)
    return model_format


def check_file(file: FileBytes, model_format: ModelFormat, trust: bool = False) -> None:
    """The check of one format, for a file or for bytes in memory; errors as :func:`check_model`."""
    match model_format:
        case ModelFormat.PYTORCH_ZIP:
            check_torch_zip(file)
        case ModelFormat.PYTORCH_LEGACY:
            check_torch_legacy(file)
        case ModelFormat.TORCHSCRIPT:
            check_torchscript(file, trust)
        case ModelFormat.TORCH_EXPORT:
            check_torch_export(file, trust)
        case ModelFormat.SAFETENSORS:
            read_safetensors_header(file)
        case ModelFormat.ONNX:
            check_onnx(file, trust)
        case ModelFormat.FROZEN_GRAPH:
            check_frozen_graph(file, trust)
        case ModelFormat.KERAS:
            check_keras(file, trust)
        case ModelFormat.KERAS_H5:
            check_keras_h5(file, trust)
        case ModelFormat.TFLITE:
            check_tflite(file, trust)
        case ModelFormat.GGUF:
            check_gguf(file)
        case _ if not trust:
            raise UnsafeModelError(
                f"model {file.path} is a TensorRT engine, which is native code: load it only if "
                "you made it yourself (--trust)"
            )
