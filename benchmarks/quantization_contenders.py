"""Our quantizer and its peers, each as a function from a case to a quantized model."""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers import nncf_quantization, onnxruntime_quantization
from benchmarks.quantization_cases import Case, Judge
from solutions.phase2_optimization.evaluation_task import Run, onnx_run
from solutions.phase2_optimization.layer_work import layer_macs
from solutions.phase2_optimization.onnx_rewrite import (
    Model,
    Node,
    OnnxGraph,
    load_onnx,
    require_onnx,
)
from solutions.phase2_optimization.variants import VariantMaker
from zoo.errors import InferenceError, MissingExtraError
from zoo.registry import fetch, find

DEFAULT = "accuracy-controlled"  # what the command does where it is told nothing
SHIPPED = "shipped"  # the zoo's INT8 detector
PER_CHANNEL = 13  # the first opset with a scale per channel
PAIRS = {  # ours: the peer that does the same
    "dynamic": "ORT dynamic",
    "static minmax": "ORT MinMax",
    "static entropy": "ORT Entropy",
    "static percentile": "ORT Percentile",
    "careful": "NNCF",
    DEFAULT: "NNCF accuracy-controlled",
}
QUICK = ("dynamic", "static minmax", "careful")
WEIGHTED = ("Conv", "Gemm", "MatMul")
BETWEEN = ("Relu", "Clip")  # what ONNX Runtime takes into the integer kernel


@dataclass(frozen=True)
class Made:
    """A quantized model, or why there is none."""

    name: str
    model: Model  # None where there is a reason
    seconds: float
    reason: str = ""


def is_ours(name: str) -> bool:
    """Whether a contender is one of the repository's."""
    return name in PAIRS or name == SHIPPED


def contenders(model: str, quick: bool) -> list[str]:
    """Who quantizes a model: each of ours before the peer that does the same."""
    pairs = [name for ours, theirs in PAIRS.items() for name in (ours, theirs)
             if not quick or ours in QUICK]
    shipped = [SHIPPED] if model.startswith("zoo:street") else []
    return [*shipped, *pairs]


def make(case: Case, name: str) -> Made:
    """Quantize a case's model as a contender does; nothing is kept from one call to the next."""
    start = time.perf_counter()
    try:
        model = _ours(case, name) if is_ours(name) else _theirs(case, name)
        seconds = time.perf_counter() - start
        onnx_run(model)(case.task.example)  # some peers write what nobody can run
    except (InferenceError, MissingExtraError) as error:
        return Made(name, None, time.perf_counter() - start, str(error).splitlines()[0])
    return Made(name, model, seconds)


def _ours(case: Case, name: str) -> Model:
    if name == SHIPPED:
        return load_onnx(fetch(find(f"{case.name}-int8")))
    return VariantMaker(case.task).recipes()[name]().model


def _theirs(case: Case, name: str) -> Model:
    """A peer's model; it is given the float model in an opset that knows scales per channel."""
    model, batches = with_opset(case.task.model, PER_CHANNEL), case.task.batches
    library, _, what = name.partition(" ")
    if name == "ORT dynamic":
        return onnxruntime_quantization.quantize_dynamic(model)
    if library == "ORT":
        return onnxruntime_quantization.quantize_static(model, batches, what)
    if not what:
        return nncf_quantization.quantize_default(model, batches)

    def scores(candidate: Model, numbers: Sequence[int]) -> tuple[float, list[float]]:
        return item_scores(case.control, onnx_run(candidate), numbers)

    return nncf_quantization.quantize_with_accuracy_control(
        model, batches, case.control.count, scores, case.task.loss)


def item_scores(
    judge: Judge, run: Run, numbers: Iterable[int]
) -> tuple[float, list[float]]:
    """A judge's score over some inputs, and for each of them alone (0 where there is none)."""
    chosen = list(numbers)
    found: dict[int, Any] = {number: judge.find(run, number) for number in chosen}
    everything = [found.get(number) for number in range(judge.count)]
    alone = [judge.score(everything, [number]) for number in chosen]
    return judge.score(everything, chosen), np.nan_to_num(alone).tolist()


def with_opset(model: Model, least: int) -> Model:
    """The model, converted by ``onnx`` where its opset is older."""
    onnx = require_onnx()
    version = max(opset.version for opset in model.opset_import if not opset.domain)
    return model if version >= least else onnx.version_converter.convert_version(model, least)


def digest(model: Model) -> str:
    """Equal for equal files."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def integer_share(model: Model, real: Model) -> float:
    """The share of multiply-accumulates that ONNX Runtime computes in integers, 0..1.

    Of the quantized ``model`` itself; of the float model ``real`` where its integer operators
    (MatMulInteger, ConvInteger) tell no shapes.
    """
    graph, macs = OnnxGraph(model), layer_macs(_named(model))
    nodes = [node for node in _named(model).graph.node if node.op_type in WEIGHTED]
    in_float = sum(macs.get(node.name, 0) for node in nodes if not _is_integer(graph, node))
    total = max(sum(macs.values()), sum(layer_macs(_named(real)).values()))
    return 1 - in_float / total if total else float("nan")


def _is_integer(graph: OnnxGraph, node: Node) -> bool:
    """Whether a layer stands between DequantizeLinear and, a convolution, QuantizeLinear."""
    makers = [graph.producer.get(name) for name in list(node.input)[:2]]
    if not all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
        return False
    if node.op_type != "Conv":
        return True
    readers = graph.uses(node.output[0])
    while len(readers) == 1 and readers[0].op_type in BETWEEN:
        readers = graph.uses(readers[0].output[0])
    return bool(readers) and all(reader.op_type == "QuantizeLinear" for reader in readers)


def _named(model: Model) -> Model:
    """A copy in which every node has a name of its own."""
    copy = require_onnx().ModelProto()
    copy.CopyFrom(model)
    for number, node in enumerate(copy.graph.node):
        node.name = f"{number}"
    return copy
