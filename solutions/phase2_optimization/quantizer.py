"""From a float ONNX model to a quantized one: where a reader of quantization starts.

    python -m solutions.phase2_optimization.quantizer zoo:street-middle --out middle-int8.onnx
    python -m solutions.phase2_optimization.quantizer mine.onnx --data photos/ --out int8.onnx
    python -m solutions.phase2_optimization.quantizer zoo:street-large --method "static entropy" ...

The arithmetic is in ``affine`` and ``integer_layers``; what deserves the 256 steps is decided by
``calibration``. A graph is prepared (``graph_preparation``, ``kernel_form``), its integers are
placed (``placement``) and written (``quantize_graph``). ``equalization``, ``bias_correction``,
``adaround`` and ``smooth_quant`` save accuracy, ``sensitivity`` finds the layers that mind, and
``accuracy_control`` keeps as few of them in float as a metric allows. ``dynamic_quantization`` and
``weight_only`` need no data.
"""

import sys
from collections import Counter
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository's root is two folders up
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import click

from solutions.phase2_optimization.accuracy_control import ControlledModel, quantize_to_accuracy
from solutions.phase2_optimization.adaround import round_adaptively
from solutions.phase2_optimization.affine import (
    QuantParams,
    asymmetric_params,
    dequantize,
    fake_quantize,
    quantize,
    symmetric_params,
    weight_params,
)
from solutions.phase2_optimization.bias_correction import output_shift
from solutions.phase2_optimization.calibration import CALIBRATORS, Calibrator, Range
from solutions.phase2_optimization.dynamic_quantization import quantize_dynamic
from solutions.phase2_optimization.equalization import equalization_factors, equalize
from solutions.phase2_optimization.graph_preparation import prepare
from solutions.phase2_optimization.kernel_form import fit_to_kernels, thin_convolutions
from solutions.phase2_optimization.onnx_protobuf import check_place, save_onnx
from solutions.phase2_optimization.quantize_graph import (
    QuantizedModel,
    StaticSettings,
    quantize_prepared,
    quantize_static,
)
from solutions.phase2_optimization.sensitivity import harmless_outputs, layer_sensitivity
from solutions.phase2_optimization.smooth_quant import smooth, smoothing_factors
from solutions.phase2_optimization.weight_only import quantize_weights
from zoo.errors import InferenceError
from zoo.terminal import progress_bar, run_command

__all__ = [
    "CALIBRATORS", "Calibrator", "ControlledModel", "QuantParams", "QuantizedModel", "Range",
    "StaticSettings", "asymmetric_params", "dequantize", "equalization_factors", "equalize",
    "fake_quantize", "fit_to_kernels", "harmless_outputs", "layer_sensitivity", "output_shift",
    "prepare", "quantize", "quantize_dynamic", "quantize_prepared", "quantize_static",
    "quantize_to_accuracy", "quantize_weights", "round_adaptively", "smooth", "smoothing_factors",
    "symmetric_params", "thin_convolutions", "weight_params",
]


@click.command()
@click.argument("model")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True,
              help="the quantized model's file")
@click.option("--method", default="accuracy-controlled", show_default=True,
              help='dynamic, "weights int8", "weights int4", "static CALIBRATOR", careful, or '
                   "accuracy-controlled")
@click.option("--data", type=click.Path(path_type=Path),
              help="for an ONNX file: .npy, .npz or a folder of pictures")
def quantize_command(model: str, out: Path, method: str, data: Path | None) -> int:
    """Quantize a zoo, registry or torchvision MODEL, or an ONNX file."""
    from solutions.phase2_optimization.tasks import find_task
    from solutions.phase2_optimization.variants import NAMES, VariantMaker, described

    methods = NAMES[NAMES.index("dynamic"):]
    if method not in methods:
        raise InferenceError(f"no method {method!r}: there are {', '.join(methods)}")
    check_place(out)
    with progress_bar("") as bar:
        part = bar.add_task(f"load {model}", total=None)
        task = find_task(model, data)
        maker = VariantMaker(task, lambda line: bar.update(part, description=line))
        bar.update(part, description=method)
        made = maker.recipes()[method]()
        before, after = task.score(task.model), task.score(made.model)
    save_onnx(made.model, out)
    click.echo(f"{out}: {described(made)}; {out.stat().st_size:,} bytes")
    click.echo(f"{task.metric_name}: {after:.4f} ({before:.4f} in FP32)")
    for name, reason in made.float_layers.items():
        click.echo(f"  float: {name}: {reason}")
    between = Counter(made.float_operators.values())
    if between:
        counted = ", ".join(f"{count} {kind}" for kind, count in between.most_common())
        click.echo(f"  float between integers: {counted}")
    if task.note:
        click.echo(f"note: {task.note}", err=True)
    return 0


def main() -> int:
    """The command; its exit code."""
    return run_command(quantize_command)


if __name__ == "__main__":
    sys.exit(main())
