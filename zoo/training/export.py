"""Trained weights as they ship: ONNX, safetensors and a model card each.

    python -m zoo.training.export street-middle --weights DIR

Reads ``NAME.pt`` and ``NAME.json`` (what the training took) from the weights folder, writes
``zoo/models/NAME.{onnx,safetensors,md}``. Batch norms are folded by the exporter, the division by
255 into the first convolution. The card's accuracy is what ``python -m zoo score NAME --save`` last
found.
"""

import argparse
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save_file
from torch import nn

from zoo import registry
from zoo.training.detector_net import SIZES, ExportedDetector, StreetDetector
from zoo.training.model_card import write_card
from zoo.training.route_nets import DigitClassifier, ExportedSpotter, SignSpotter
from zoo.training.street_data import HEIGHT, WIDTH

OPSET = 20


def fold_norms(net: nn.Module) -> None:
    """Fold every batch norm into the convolution before it (both children of one Sequential)."""
    for module in net.modules():
        if not isinstance(module, nn.Sequential) or len(module) < 2:
            continue
        layers = list(module.children())
        for i, (conv, norm) in enumerate(itertools.pairwise(layers)):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                fused = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
                module[i], module[i + 1] = fused, nn.Identity()


def scale_input(net: nn.Module) -> None:
    """Fold the division by 255 into the first convolution (its bias, if any, stays)."""
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    first.weight.data /= 255.0


def to_onnx(
    net: nn.Module, example: torch.Tensor, output: str, path: Path, metadata: dict[str, str]
) -> None:
    """Export with a free batch size and the metadata that makes the file self-explanatory."""
    program = torch.onnx.export(
        net.eval(),
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        output_names=[output],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    program.optimize()
    model = program.model_proto
    onnx.helper.set_model_props(model, metadata)
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for value in (
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
        *model.graph.node,
    ):
        value.ClearField("metadata_props")
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, str(path))


def check_onnx(net: nn.Module, example: torch.Tensor, path: Path) -> float:
    """The greatest difference between the network and ONNX Runtime on random pixels."""
    import onnxruntime as ort

    pixels = np.random.default_rng(0).uniform(0, 255, (2, *example.shape[1:])).astype(np.float32)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(pixels)).numpy()
    found = np.asarray(session.run(None, {"images": pixels})[0])
    gap = float(np.abs(found - expected).max())
    assert gap < 1e-3, f"{path}: ONNX Runtime differs by {gap}"
    return gap


def detector_metadata(net: StreetDetector, name: str) -> dict[str, str]:
    """What a user of the ONNX file must know."""
    entry = registry.find(f"zoo:{name}")
    return {
        "layout": "yolox",
        "strides": ",".join(map(str, net.strides)),
        "labels": ",".join(entry.labels),
        "color": "bgr",
        "range": "0-255",
        "letterbox": "topleft",
        "pad": "114",
    }


def main() -> None:
    builders: dict[str, Callable[[], nn.Module]] = {
        **{name: partial(StreetDetector, size) for name, size in SIZES.items()},
        "route-sign": SignSpotter,
        "digits": DigitClassifier,
    }
    parser = argparse.ArgumentParser(description="Export trained weights.")
    parser.add_argument("name", choices=list(builders))
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=registry.MODELS)
    options = parser.parse_args()
    name: str = options.name
    options.out.mkdir(parents=True, exist_ok=True)
    net = builders[name]()
    state = torch.load(options.weights / f"{name}.pt", weights_only=True)
    net.load_state_dict(state)
    record: dict[str, Any] = json.loads((options.weights / f"{name}.json").read_text())
    tensors = {key: value.contiguous() for key, value in state.items()}
    save_file(tensors, str(options.out / f"{name}.safetensors"))
    fold_norms(net)
    scale_input(net)
    example = torch.zeros(2, 1, 20, 20)
    shipped, output, metadata = net, "logits", {"labels": "0,1,2,3,4,5,6,7,8,9"}
    if isinstance(net, StreetDetector):
        shipped, output, metadata = ExportedDetector(net), "output", detector_metadata(net, name)
        example = torch.zeros(2, 3, HEIGHT, WIDTH)
    elif isinstance(net, SignSpotter):
        shipped, output, metadata = ExportedSpotter(net), "heatmap", {"stride": "2"}
        example = torch.zeros(2, 1, 48, 96)
    path = options.out / f"{name}.onnx"
    to_onnx(shipped, example, output, path, metadata)
    gap = check_onnx(shipped, example, path)
    write_card(name, record, options.out)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, within {gap:.1e} of PyTorch")


if __name__ == "__main__":
    main()
