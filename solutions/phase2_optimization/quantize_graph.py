"""Post-training static quantization of a whole ONNX graph.

The four steps, each in a file of its own: prepare the float graph, place the integers, observe the
ranges of the tensors that become integers, and write the quantized graph: here. It has
QuantizeLinear and DequantizeLinear around float operators ("QDQ"), which every runtime can run as
it stands, and which ONNX Runtime and OpenVINO fuse into integer kernels:

    x -> Q -> DQ -> Conv -> Relu -> Q -> DQ -> ...         activations uint8, one scale
              DQ(weights int8, a scale per channel) -^
              DQ(bias int32, scale of x * scale of w) -^

Source: Jacob et al., arXiv:1712.05877, section 2.4 (bias); Krishnamoorthi, arXiv:1806.08342,
section 3 (per-channel weights).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from solutions.phase2_optimization.affine import (
    QuantParams,
    asymmetric_params,
)
from solutions.phase2_optimization.calibration import Calibrator, MinMax, Range
from solutions.phase2_optimization.clamps import EVERYTHING, within_limits
from solutions.phase2_optimization.graph_preparation import prepare
from solutions.phase2_optimization.hidden_integers import (
    behind_float_pool,
    exposed_nodes,
    hide_integers,
)
from solutions.phase2_optimization.kernel_form import fit_to_kernels, thin_convolutions
from solutions.phase2_optimization.layer_work import layer_macs
from solutions.phase2_optimization.observation import Batches, observe_ranges
from solutions.phase2_optimization.onnx_rewrite import Array, Model, Node, OnnxGraph, require_onnx
from solutions.phase2_optimization.placement import (
    LAYERS,
    Placement,
    known_types,
    place,
)
from solutions.phase2_optimization.quantized_types import INT8, UINT8, QuantizedType
from solutions.phase2_optimization.shared_scales import (
    shared_limits,
    shared_ranges,
    tie_within_limits,
)
from solutions.phase2_optimization.stored_integers import Rounded, store_layer, stored_steps
from solutions.phase2_optimization.swish import clipped_for_swish, feeds_only_swish
from zoo.errors import InferenceError

FLOAT_OUTPUT = "its output is the network's: weights int8, result float"


@dataclass(frozen=True)
class StaticSettings:
    """How a graph is quantized; nodes by the names that they have in the prepared model.

    Whole layers can be kept in float, not tensors: an activation that does not stand 256 steps
    keeps both its neighbours in float.
    """

    calibrator: Callable[[], Calibrator] = MinMax
    keep_float: Mapping[str, str] = field(default_factory=dict)  # node name: reason
    weights: QuantizedType = INT8  # INT7 where x86 without VNNI would saturate
    ranges: Mapping[str, Range] = field(default_factory=dict)  # known beforehand, by tensor
    rounded: Mapping[str, Rounded] = field(default_factory=dict)  # by layer
    biases: Mapping[str, Array] = field(default_factory=dict)  # corrected ones, by layer
    integer_outputs: frozenset[str] = frozenset()  # last layers whose results may be integers


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized ONNX model and what was done to it."""

    model: Model
    integer_layers: tuple[str, ...]  # names of Conv, Gemm and MatMul nodes
    float_layers: dict[str, str]  # those that stay float, and other named nodes: the reason
    integer_share: float  # of the multiply-accumulates, 0..1; nan where shapes are not known
    ranges: dict[str, Range]  # of each quantized tensor
    float_operators: dict[str, str] = field(default_factory=dict)  # between integers: name, type


def quantize_static(
    model: Model, batches: Batches, settings: StaticSettings | None = None
) -> QuantizedModel:
    """Quantize a float model with ranges observed on calibration data.

    ``batches``: arrays for the only input, or dictionaries of arrays by input name. The model
    itself is not changed. Layers that are slower in integers stay in float (``kernel_form``).
    Raises InferenceError for models and data that cannot be used.
    """
    prepared, given = fit_to_kernels(prepare(model)), settings or StaticSettings()
    kept = {**thin_convolutions(prepared), **given.keep_float}
    return quantize_prepared(prepared, batches, replace(given, keep_float=kept))


def quantize_prepared(model: Model, batches: Batches, settings: StaticSettings) -> QuantizedModel:
    """Quantize a model that :func:`prepare` gave back, with its node names as they are."""
    graph = OnnxGraph(model)
    unknown = set(settings.keep_float) - {node.name for node in graph.nodes}
    if unknown:
        raise InferenceError(f"no node is named {', '.join(sorted(unknown))}: cannot keep it float")
    plan = place(
        graph, known_types(model), dict(settings.keep_float), settings.integer_outputs
    )
    wanted = [name for name in plan.quantized if name not in settings.ranges]
    ranges = {name: settings.ranges[name] for name in plan.quantized if name in settings.ranges}
    if wanted:
        seen = observe_ranges(model, batches, wanted, settings.calibrator)
        ranges |= {
            name: clipped_for_swish(found) if feeds_only_swish(graph, name) else found
            for name, found in seen.items()
        }
    tie_within_limits(plan.tied, plan.joined, ranges, plan.limits)
    macs = layer_macs(model)
    layers = [node.name for node in graph.nodes if node.op_type in LAYERS]
    integer = [name for name in layers if name in plan.integer.difference(plan.float_outputs)]
    total = sum(macs.get(name, 0) for name in layers)
    share = sum(macs.get(name, 0) for name in integer) / total if total else float("nan")
    others = float_operators(graph, plan)
    write_quantized(graph, plan, activation_steps(plan, ranges), settings)
    reasons = plan.float_reasons | dict.fromkeys(plan.float_outputs, FLOAT_OUTPUT)
    return QuantizedModel(graph.to_model(), tuple(integer), reasons, share, ranges, others)


def float_operators(graph: OnnxGraph, plan: Placement) -> dict[str, str]:
    """The types of the nodes that read integers as real numbers, for want of a kernel; by name."""
    spoken_of = plan.integer | plan.float_reasons.keys()
    return {
        node.name: node.op_type for node in graph.nodes
        if node.name not in spoken_of and node.op_type not in ("Shape", "Size")
        and any(plan.quantized.get(name) for name in node.input)
    }


def activation_params(found: Range, limits: Range = EVERYTHING) -> QuantParams:
    """How an activation with this range is stored: uint8, zero among the steps.

    ``limits``: what the clamp before it lets through.
    """
    return within_limits(asymmetric_params(found.low, found.high, UINT8), limits)


def activation_steps(plan: Placement, ranges: Mapping[str, Range]) -> dict[str, QuantParams]:
    """Scale and zero point of each tensor that a plan quantizes."""
    shared = shared_ranges({name: ranges[name] for name in plan.quantized}, plan.tied)
    limits = shared_limits(plan.limits, plan.tied)
    return {
        name: activation_params(found, limits.get(plan.tied.leader(name), EVERYTHING))
        for name, found in shared.items()
    }


def write_quantized(
    graph: OnnxGraph, plan: Placement, params: Mapping[str, QuantParams], settings: StaticSettings
) -> None:
    """Put the QuantizeLinear and DequantizeLinear nodes of a plan into a graph."""
    exposed = exposed_nodes(graph, plan)
    for node in [n for n in graph.nodes if n.op_type in LAYERS and n.name in plan.integer]:
        store_layer(graph, node, params[node.input[0]], settings.weights,
                    settings.rounded.get(node.name), settings.biases.get(node.name))
    for name, made_by_integers in plan.quantized.items():
        if made_by_integers:
            _requantize_output(graph, name, params[name])
        else:
            users = [node for node in graph.uses(name) if node.name in plan.integer]
            _quantize_input(graph, name, params[name], users)
    for node in exposed:
        hide_integers(graph, node)
    graph.refresh()


def _requantize_output(graph: OnnxGraph, name: str, params: QuantParams) -> None:
    """Everyone who reads the tensor gets it back from integers; its maker writes another name."""
    maker, raw = graph.producer[name], graph.unused(f"{name}/real")
    maker.output[list(maker.output).index(name)] = raw
    _pair(graph, raw, name, graph.unused(f"{name}/integer"), params)


def _quantize_input(
    graph: OnnxGraph, name: str, params: QuantParams, users: list[Node]
) -> None:
    """Integer nodes read the tensor through integers, all others as it is."""
    stepped = graph.unused(f"{name}/stepped")
    graph.rename_uses(name, stepped, users)
    source = behind_float_pool(graph, name)
    _pair(graph, source, stepped, graph.unused(f"{name}/integer"), params)


def _pair(
    graph: OnnxGraph, source: str, target: str, integers: str, params: QuantParams
) -> None:
    helper = require_onnx().helper
    steps = stored_steps(graph, f"{integers}/params", params)
    graph.nodes.append(helper.make_node("QuantizeLinear", [source, *steps], [integers],
                                        name=f"{integers}/quantize"))
    graph.nodes.append(helper.make_node("DequantizeLinear", [integers, *steps], [target],
                                        name=f"{integers}/dequantize"))
