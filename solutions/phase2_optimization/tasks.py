"""Any model as a task: by a zoo or registry name, a torchvision name, or an ONNX file.

A file needs data to be calibrated with: ``--data`` names a .npy or .npz file or a folder of
pictures; three quarters calibrate, the rest judge. Without data it gets noise, and is told so.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from solutions.phase1_basics.image_input import (
    guess_image_input,
    image_files,
    prepare_image,
    read_image,
)
from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase2_optimization.classifier_tasks import TASKS, torchvision_task
from solutions.phase2_optimization.detector_tasks import detector_task
from solutions.phase2_optimization.evaluation_task import Feeds, Task, agreement, split_batches
from solutions.phase2_optimization.layer_work import with_fixed_inputs
from solutions.phase2_optimization.onnx_rewrite import Array, Model, load_onnx
from zoo.errors import InferenceError
from zoo.registry import entries, fetch, find

NOISE_BATCHES = 32
MOST = 256  # images of --data


def find_task(name: str, data: Path | None = None, streets: int | None = None) -> Task:
    """The task of that name or file.

    Raises InferenceError for names that nobody knows, files that are no ONNX models, and data
    that do not fit.
    """
    entry = entries().get(name)
    is_detector = entry is not None and entry.kind == "detector"
    if name in TASKS or is_detector:
        _refuse_data(name, data)
        if name in TASKS:
            return TASKS[name]()
        return detector_task(name, streets) if streets else detector_task(name)
    path = Path(name)
    if path.suffix == ".onnx" or path.is_file():
        return file_task(path, data)
    if entry is not None:
        return file_task(fetch(entry), data)
    if name.startswith("zoo:"):
        find(name)  # says what it is called
    _refuse_data(name, data)
    return torchvision_task(name)


def _refuse_data(name: str, data: Path | None) -> None:
    if data is not None:
        raise InferenceError(f"{name} brings its own data: --data is for model files")


def file_task(path: Path, data: Path | None) -> Task:
    """An ONNX file, judged by its agreement with itself in FP32."""
    if not path.is_file():
        raise InferenceError(f"model {path}: no such file")
    model = load_onnx(path)
    note = ""
    if data is None:
        batches: Sequence[Feeds] = noise(model)
        note = "no --data: calibrated and judged on noise, which says little"
    else:
        batches = read_data(model, data)
    judged = list(batches[3::4]) or list(batches)
    calibration = [b for i, b in enumerate(batches) if i % 4 != 3] or list(batches)
    if len(batches) < 4:
        note = f"{len(batches)} inputs only: the same calibrate and judge"
    metric, metric_name = agreement(model, judged)
    control, _ = agreement(model, calibration)
    return Task(path.name, model, calibration, metric, metric_name, loss=0.02, note=note,
                control=control)


def input_specs(model: Model) -> list[TensorSpec]:
    """The inputs that are no weights; free dimensions are None."""
    from onnx.helper import tensor_dtype_to_np_dtype

    weights = {tensor.name for tensor in model.graph.initializer}
    specs = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        if not tensor.elem_type:
            raise InferenceError(f"input {value.name!r} is no tensor: it cannot be fed")
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
        specs.append(TensorSpec(
            value.name, shape, np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)).name))
    return specs


def noise(model: Model) -> list[Feeds]:
    """Standard normal values (integers: 0 and 1) for every input; free dimensions are 1."""
    fixed = with_fixed_inputs(model)
    rng = np.random.default_rng(0)
    batches: list[Feeds] = []
    for _ in range(NOISE_BATCHES):
        batch: dict[str, Array] = {}
        for spec in input_specs(fixed):
            shape = tuple(size or 1 for size in spec.shape)
            drawn = rng.standard_normal(shape) if np.dtype(spec.dtype).kind == "f" else (
                rng.integers(0, 2, shape))
            batch[spec.name] = drawn.astype(spec.dtype)
        batches.append(batch)
    return batches


def read_data(model: Model, data: Path) -> list[Feeds]:
    """Inputs from a .npy or .npz file (rows are inputs) or a folder of pictures."""
    specs = input_specs(model)
    if data.is_dir():
        if len(specs) != 1:
            raise InferenceError(f"{data}: pictures cannot feed a model with {len(specs)} inputs")
        want = guess_image_input(specs[0])
        images = [prepare_image(read_image(path), want) for path in image_files(data)[:MOST]]
        return [{specs[0].name: image} for image in images]
    arrays = read_arrays(data)
    if len(specs) == 1 and len(arrays) == 1:
        arrays = {specs[0].name: next(iter(arrays.values()))}
    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        raise InferenceError(
            f"{data} has {', '.join(arrays) or 'nothing'}, but the model wants "
            f"{', '.join(missing)}: name the arrays as the inputs"
        )
    arrays = {spec.name: _as_wanted(arrays[spec.name], spec) for spec in specs}
    rows = {len(arrays[spec.name]) if arrays[spec.name].ndim else 0 for spec in specs}
    if len(rows) != 1 or rows == {0}:
        raise InferenceError(f"{data}: arrays of {sorted(rows)} rows: one row per input is needed")
    count = min(rows.pop(), MOST)
    if len(specs) == 1:
        return split_batches(specs[0].name, arrays[specs[0].name][:count])
    return [{s.name: arrays[s.name][i : i + 1] for s in specs} for i in range(count)]


def _as_wanted(values: Array, spec: TensorSpec) -> Array:
    """Real numbers in the precision that the model computes with; other types stay as they are."""
    wanted = np.dtype(spec.dtype)
    return values.astype(wanted) if values.dtype.kind == wanted.kind == "f" else values


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a .npy or .npz file; nothing in it is executed.

    Raises InferenceError where it is missing, damaged or of another kind.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"data": loaded}
        with loaded:
            found = {name: loaded[name] for name in loaded.files}
        damaged = [name for name, values in found.items() if not isinstance(values, np.ndarray)]
        if damaged:
            raise ValueError(f"{damaged[0]} is no array")
        return found
    except FileNotFoundError as error:
        raise InferenceError(f"data {path}: no such file or folder") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InferenceError(
            f"data {path} is no .npy or .npz file of plain numbers: {error}") from error
