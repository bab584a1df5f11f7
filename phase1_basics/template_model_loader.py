"""From a file to a prediction: where a reader of phase 1 starts.

    python model_loader.py --model resnet50.pth --image dog.jpg
    python model_loader.py --model resnet50.pth --batch photos/
    python model_loader.py --make resnet50.pth
    python model_loader.py --diagnose

Pixels become a network's input (``preprocessing``), a runtime runs the network (``onnx_model``,
``tflite_model``, ``torch_model``; programs in a ``worker_model``), its numbers become words
(``postprocessing``). Nothing is loaded before ``model_safety`` looked at its bytes, and no
framework is imported before a file needs it.

Your part, to be checked by ``course check``:

    1.6 One prediction: classify

The idea, an example and the usual mistakes: guidelines.md#16-one-prediction
"""

import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":  # what is not done yet falls back to the solution
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from course.fallback import run_template

    sys.exit(run_template(__file__))

from phase1_basics.template_postprocessing import Ranked, as_probabilities, softmax, top_k
from phase1_basics.template_preprocessing import (
    Floats,
    Image,
    Letterboxed,
    LetterboxTransform,
    centre_crop,
    letterbox,
    normalise,
    resize,
    to_nchw,
    to_nhwc,
)
from solutions.phase1_basics.model import Model, ModelAbout
from solutions.phase1_basics.onnx_model import OnnxModel, TensorSpec
from zoo.errors import InferenceError
from zoo.registry import ModelEntry, Progress, entries, fetch, find

__all__ = [
    "LetterboxTransform", "Letterboxed", "Model", "ModelAbout", "OnnxModel", "Ranked",
    "TensorSpec", "as_probabilities", "centre_crop", "classify", "letterbox", "load_model",
    "normalise", "resize", "softmax", "to_nchw", "to_nhwc", "top_k",
]

WEIGHTS = (".pth", ".pt", ".th", ".bin", ".safetensors")  # names of files of bare weights


def load_model(
    path: Path, arch: str | None = None, device: str = "auto", trust: bool = False,
    threads: int = 1,
) -> Model:
    """A model from a file or folder of any format that is known here.

    ``arch`` names the network for files of bare weights (default: by the file's name, as in
    ``resnet50-0676ba61.pth``); ``device`` is auto, cpu, cuda, cuda:N or mps; ``trust`` allows
    programs to hold what cannot be checked; ``threads`` is for one call (PyTorch in this process
    keeps its own setting: ``torch.set_num_threads``).

    Raises UnsafeModelError for a file that would do more than carry a model, InferenceError for
    one that is missing, damaged or does not fit, MissingExtraError without its runtime.
    """
    from phase1_basics.template_model_format import ModelFormat as Format
    from solutions.phase1_basics.model_safety import check_model

    model_format = check_model(path, trust)
    match model_format:
        case Format.PYTORCH_ZIP | Format.PYTORCH_LEGACY | Format.SAFETENSORS:
            return _load_weights(path, model_format == Format.SAFETENSORS, arch, device)
        case Format.ONNX:
            return _load_onnx(path, threads, device)
        case Format.TFLITE:
            _require_cpu(device, model_format)
            from solutions.phase1_basics.tflite_model import TfliteModel

            return TfliteModel(path, threads)
        case Format.GGUF:
            raise InferenceError(
                f"model {path} is a GGUF file: undamaged, but a language model that only programs "
                "such as llama.cpp run"
            )
        case Format.TENSORRT:
            raise InferenceError(
                f"model {path} is a TensorRT engine: told apart here, run by the TensorRT that "
                "built it, on the GPU it was built for"
            )
    _require_cpu(device, model_format)
    from solutions.phase1_basics.worker_model import WorkerModel

    return WorkerModel(path, model_format, threads, trust)


def _load_weights(path: Path, safetensors: bool, arch: str | None, device: str) -> Model:
    from phase1_basics.template_device_choice import choose_device
    from solutions.phase1_basics.machine_facts import gather_facts
    from solutions.phase1_basics.safetensors_file import read_safetensors
    from solutions.phase1_basics.torch_file import load_state_dict_file
    from solutions.phase1_basics.torch_model import torch_model

    name = arch or arch_of_file(path)
    checkpoint = read_safetensors(path) if safetensors else load_state_dict_file(path)
    chosen = "cpu" if device == "cpu" else choose_device(
        device, gather_facts(), path.stat().st_size).device
    return torch_model(checkpoint, name, path, chosen)


def classify(
    predict: Callable[[Floats], Floats], image: Image, prepare: Callable[[Image], Floats],
    labels: Sequence[str], k: int = 5,
) -> list[Ranked]:
    """What is on one picture: the ``k`` likeliest classes, best first.

    ``prepare`` makes the network's input of the image, a batch of one; ``predict`` gives the
    scores of a batch, [1, n] or with further axes of size 1, as networks with a convolution at
    their end do. They may be logits or probabilities.

    Raises InferenceError where the network does not answer with one picture's scores, or where
    there are fewer labels than scores.
    """
    # TODO 1.6 One prediction
    # 1. Prepare the image, predict, and refuse an answer that is not for one picture with an
    #    InferenceError.
    # 2. Flatten the scores: networks give [1, n] or [1, n, 1, 1].
    # 3. Scores may be logits or probabilities already: as_probabilities tells. Then top_k.
    raise NotImplementedError("exercise 1.6: classify")


def arch_of_file(path: Path) -> str:
    """The architecture that a file's name speaks of: ``resnet50-0676ba61.pth`` is a resnet50.

    A file of the registry is what the registry says. Raises InferenceError where no known
    architecture is in the name.
    """
    for entry in entries().values():
        if entry.file == path.name and entry.arch:
            return entry.arch
    from solutions.phase1_basics.architectures import known_architectures

    stem = re.sub(r"[^a-z0-9]+", "_", path.stem.lower())
    fitting = [name for name in known_architectures()
               if re.match(rf"{name}(_|$)", stem)]
    if not fitting:
        raise InferenceError(
            f"{path.name} is named like no network that is known here: name one by --arch (such as "
            "resnet50)"
        )
    return max(fitting, key=len)


def find_model(name: str, progress: Progress | None = None) -> tuple[Path, ModelEntry | None]:
    """The file for a path or a name of the registry, with its entry; downloaded where necessary.

    Raises InferenceError, with what to do, where there is neither.
    """
    path = Path(name)
    if path.exists():
        known = [entry for entry in entries().values() if entry.file == path.name]
        return path, known[0] if known else None
    if name in entries() or not (path.suffix or path.parent != Path()):
        entry = find(name)
        if entry.kind not in ("model", "detector"):
            raise InferenceError(f"{name} is {entry.kind}, not a model")
        return fetch(entry, progress), entry
    if path.suffix not in WEIGHTS:
        raise InferenceError(f"no file {name}: python -m zoo list names models that can be had")
    raise InferenceError(
        f"no file {name}: --make {name} writes it with random weights, --make {name} --pretrained "
        "downloads torchvision's; python -m zoo list names models that can be had"
    )


def _load_onnx(path: Path, threads: int, device: str) -> OnnxModel:
    """On the GPU where this ONNX Runtime was built for one and it starts, or where it is named."""
    if device != "auto":
        return OnnxModel(path, threads, device)
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        with contextlib.suppress(InferenceError):
            return OnnxModel(path, threads, "cuda")
    return OnnxModel(path, threads)


def _require_cpu(device: str, model_format: str) -> None:
    if device not in ("auto", "cpu"):
        raise InferenceError(f"device {device}: {model_format} models run on the CPU here")


def main() -> int:
    """The command line; its exit code."""
    from solutions.phase1_basics.model_command import command
    from zoo.terminal import run_command

    return run_command(command)
