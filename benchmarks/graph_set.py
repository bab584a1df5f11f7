"""The graphs that the optimizers are measured on, and how torchvision's networks become graphs.

    python -m benchmarks.graph_set NETWORK EXPORTER FILE

exports one network in a process of its own: the process that measures holds no torch then.
Random weights are drawn so that a wrong rewrite shows: batch norms get the statistics of their
own input, and no parameter stays at the zero or the 1e-6 of a fresh network.
"""

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import registry
from zoo.errors import InferenceError, MissingExtraError

TORCHSCRIPT, DYNAMO, FILE = "torchscript", "dynamo", "file"
EXPORTERS = (TORCHSCRIPT, DYNAMO)
LIMIT = 600  # seconds for one export
SEED = 7


@dataclass(frozen=True)
class Network:
    """A network of torchvision and the side of its square input in pixels."""

    name: str
    side: int = 224

    @property
    def family(self) -> str:
        """The module of torchvision that builds it."""
        part = {"deeplabv3": "segmentation", "ssdlite320": "detection"}
        return "torchvision.models" + "".join(
            f".{module}" for stem, module in part.items() if self.name.startswith(stem)
        )


@dataclass(frozen=True)
class GraphCase:
    """One graph of the set."""

    name: str  # a network of torchvision, or a name in the registry
    source: str  # an exporter, or "file"

    def __str__(self) -> str:
        return self.name if self.source == FILE else f"{self.name} ({self.source})"


NETWORKS = (
    Network("resnet50"), Network("mobilenet_v3_large"), Network("efficientnet_b0"),
    Network("convnext_tiny"), Network("vit_b_16"), Network("swin_t"),
    Network("deeplabv3_mobilenet_v3_large", 256), Network("ssdlite320_mobilenet_v3_large", 320),
)
FILES = (
    "zoo:street-small", "zoo:street-middle", "zoo:street-large", "zoo:digits", "yolox-nano",
    "mnist-cnn",
)
CASES = tuple(GraphCase(name, FILE) for name in FILES) + tuple(
    GraphCase(network.name, exporter) for network in NETWORKS for exporter in EXPORTERS
)
QUICK = tuple(
    case for case in CASES
    if case.source == FILE or (case.name == "mobilenet_v3_large" and case.source == TORCHSCRIPT)
)


def graph_file(case: GraphCase) -> Path:
    """The graph's file: fetched, or exported and kept in the cache.

    Raises InferenceError that says why where it is not to be had.
    """
    if case.source == FILE:
        return registry.fetch(registry.find(case.name))
    for package in ("torch", "torchvision", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "learn")
    path = registry.cache_folder() / "graphs" / f"{case.name}-{case.source}-{_version()}.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        try:
            _export_apart(case, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def _version() -> str:
    from importlib.metadata import version

    return f"torch{version('torch').split('+')[0]}"


def _export_apart(case: GraphCase, path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.graph_set", case.name, case.source, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise InferenceError(f"{case}: not exported within {LIMIT} s") from error
    if done.returncode != 0 or not path.is_file():
        raise InferenceError(f"{case}: not exported: {_reason(done.stderr)}")


def _reason(text: str) -> str:
    """The line of a traceback that names the error."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    chosen = (named or lines or ["no reason given"])[-1]
    return re.sub(r"\x1b\[\d*m", "", chosen)[:160]


def build_network(network: Network) -> Any:
    """A torchvision network with seeded weights that use all of its layers, in eval mode."""
    import importlib

    import torch

    torch.manual_seed(SEED)
    builder = getattr(importlib.import_module(network.family), network.name)
    names = {"weights": None}
    if network.family != "torchvision.models":
        names["weights_backbone"] = None
    model = builder(**names)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.abs().max() < 1e-5:
                parameter.normal_(0, 0.02)
            elif parameter.ndim == 1:
                parameter.add_(torch.empty_like(parameter).normal_(0, 0.1))
    images = torch.rand(4, 3, network.side, network.side)
    if network.family == "torchvision.models.detection":
        _settle_detector(model, images)
    else:
        _settle_batch_norms(model, images)
    return model.eval()


def _settle_detector(model: Any, images: Any) -> None:
    """A detector trains on targets only; its scores are spread, so that none of them tie."""
    import torch

    target = {"boxes": torch.tensor([[10.0, 10.0, 200.0, 200.0]]), "labels": torch.tensor([1])}
    _settle_batch_norms(model, list(images), [target] * len(images))
    with torch.no_grad():
        for layers in model.head.classification_head.module_list:
            layers[-1].weight.mul_(4)


def _settle_batch_norms(model: Any, *batch: Any) -> None:
    import torch

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model.train()
        model(*batch)


def export(network: Network, exporter: str, path: Path) -> None:
    """Write the network as one ONNX file of fixed batch 1; raises what the exporter raises."""
    import torch

    model = build_network(network)
    images = torch.rand(1, 3, network.side, network.side)
    if exporter == DYNAMO:
        torch.onnx.export(model, (images,), path, dynamo=True, external_data=False)
    else:
        torch.onnx.export(model, (images,), path, dynamo=False, opset_version=17)


if __name__ == "__main__":
    wanted = next(network for network in NETWORKS if network.name == sys.argv[1])
    export(wanted, sys.argv[2], Path(sys.argv[3]))
