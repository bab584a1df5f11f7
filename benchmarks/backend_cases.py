"""The ONNX project's own cases (``onnx.backend.test``), each passed through an optimizer.

A case is a model with inputs and the outputs that the standard expects. Cases that ONNX Runtime
does not compute as expected on the untouched model say nothing about an optimizer and are left out.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.onnx_sessions import OFF, session
from solutions.phase2_optimization.onnx_rewrite import Model, copy_model, require_onnx

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted", "real")
LIGHT = "onnx/backend/test/data/light/"  # models of the kind "real" that come with the package


class DataSet(NamedTuple):
    """Inputs in the order of the graph, and the outputs expected."""

    inputs: list[Any]
    outputs: list[Any]


@dataclass(frozen=True)
class BackendCase:
    """One case of ``onnx.backend.test``."""

    name: str
    kind: str
    model: Model
    data_sets: tuple[DataSet, ...]
    rtol: float
    atol: float


class Verdict(NamedTuple):
    """What became of one case."""

    name: str
    kind: str
    found: Literal["equal", "wrong", "unsupported"]
    reason: str = ""


class Judged(NamedTuple):
    """All verdicts, and the cases whose model would have to be downloaded."""

    verdicts: list[Verdict]
    absent: list[str]

    def count(self, found: str) -> int:
        """How many cases came out so."""
        return sum(verdict.found == found for verdict in self.verdicts)

    @property
    def wrong(self) -> list[Verdict]:
        """The cases that the optimizer breaks."""
        return [verdict for verdict in self.verdicts if verdict.found == "wrong"]


def backend_cases(kinds: tuple[str, ...] = KINDS, every: int = 1) -> Iterator[BackendCase | str]:
    """Every ``every``-th case of each kind by name; the bare name of one that is not here."""
    from onnx.backend.test.loader import load_model_tests

    for kind in kinds:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # the package computes overflows on purpose
            found = sorted(load_model_tests(kind=kind), key=lambda case: str(case.name))
        for case in found[::every]:
            yield _read(case, kind) or str(case.name)


def judge(case: BackendCase, optimize: Callable[[Model], Model]) -> Verdict:
    """The case untouched, then optimized; ONNX Runtime's own optimizer is off both times."""
    try:
        _compare(case, case.model)
    except Exception as error:  # whatever ONNX Runtime refuses, in whatever way
        return Verdict(case.name, case.kind, "unsupported", _line(error))
    try:
        _compare(case, optimize(copy_model(case.model)))
    except Exception as error:  # an optimizer that raises is as wrong as one that errs
        return Verdict(case.name, case.kind, "wrong", _line(error))
    return Verdict(case.name, case.kind, "equal")


def judge_all(cases: Iterator[BackendCase | str], optimize: Callable[[Model], Model]) -> Judged:
    """All cases."""
    judged = Judged([], [])
    for case in cases:
        if isinstance(case, str):
            judged.absent.append(case)
        else:
            judged.verdicts.append(judge(case, optimize))
    return judged


def _compare(case: BackendCase, model: Model) -> None:
    from onnx.backend.test.runner import Runner

    os.environ["ALLOW_RELEASED_ONNX_OPSET_ONLY"] = "0"  # newer cases run, or are refused by kernel
    runner = session(model, OFF)
    names = [value.name for value in runner.get_inputs()]
    for inputs, expected in case.data_sets:
        outputs = runner.run(None, dict(zip(names, inputs, strict=False)))
        with np.errstate(all="ignore"):
            Runner.assert_similar_outputs(expected, outputs, case.rtol, case.atol)


def _read(case: Any, kind: str) -> BackendCase | None:
    onnx = require_onnx()
    if case.model is not None:
        sets = [DataSet(*(list(map(_value, side)) for side in pair)) for pair in case.data_sets]
        return BackendCase(case.name, kind, case.model, tuple(sets), case.rtol, case.atol)
    if case.model_dir is not None:
        folder = Path(case.model_dir)
        model = onnx.load(folder / "model.onnx")
        sets = [_folder(model, one) for one in sorted(folder.glob("test_data_set*"))]
        return BackendCase(case.name, kind, model, tuple(sets), case.rtol, case.atol)
    path = Path(onnx.__file__).parents[1] / str(case.url)
    if not (str(case.url).startswith(LIGHT) and path.is_file()):
        return None
    model = onnx.load(path)
    return BackendCase(case.name, kind, model, (_light(model, path),), case.rtol, case.atol)


def _folder(model: Model, folder: Path) -> DataSet:
    return DataSet(
        [_load(folder / f"input_{i}.pb", model.graph.input[i])
         for i in range(len(list(folder.glob("input_*.pb"))))],
        [_load(folder / f"output_{i}.pb", model.graph.output[i])
         for i in range(len(list(folder.glob("output_*.pb"))))],
    )


def _light(model: Model, path: Path) -> DataSet:
    """The ramp that the package feeds to its light models, and the outputs stored beside them."""
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for value in model.graph.input:
        if value.name not in given:
            shape = [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
            count = int(np.prod(shape))
            inputs.append((np.arange(count).reshape(shape) / count).astype(np.float32))
    outputs = [
        _load(path.with_name(f"{path.stem}_output_{place}.pb"), value)
        for place, value in enumerate(model.graph.output)
    ]
    return DataSet(inputs, outputs)


def _load(path: Path, value: Any) -> Any:
    onnx = require_onnx()
    content = path.read_bytes()
    if value.type.HasField("sequence_type"):
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if value.type.HasField("optional_type"):
        return onnx.numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(content))


def _value(item: Any) -> Any:
    onnx = require_onnx()
    if isinstance(item, onnx.TensorProto):
        return onnx.numpy_helper.to_array(item)
    return np.asarray(item) if isinstance(item, np.generic) else item


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
