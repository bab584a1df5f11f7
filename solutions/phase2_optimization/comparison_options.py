"""The options of the commands that compare the precisions of a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

ROUNDS = 30
OPTIONS = (
    click.option("--model", default="zoo:street-middle", show_default=True,
                 help="a zoo, registry or torchvision name, or an ONNX file"),
    click.option("--data", type=click.Path(path_type=Path),
                 help="for an ONNX file: .npy, .npz or a folder of pictures"),
    click.option("--output", type=click.Path(path_type=Path), default=Path("out/quantization"),
                 show_default=True, help="folder of the page and the JSON"),
    click.option("--rounds", type=click.IntRange(3, 10_000), default=ROUNDS, show_default=True,
                 help="of the timing; every variant has its turn in each"),
    click.option("--variant", "variants", multiple=True,
                 help="only these, beside fp32; repeatable"),
)


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function the options ``model``, ``data``, ``output``, ``rounds`` and ``variants``."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
