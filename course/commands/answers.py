"""``course answers``: a perfect submission, for the tests of the grader."""

from pathlib import Path

import click

from course.checkout import Checkout
from course.template_source import generate
from zoo.errors import InferenceError


@click.command("answers")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def command(out: Path) -> int:
    """Write the templates with the reference's bodies in them into a folder of their own."""
    checkout = Checkout()
    if out.resolve() == checkout.root.resolve() or (out.exists() and any(out.iterdir())):
        raise InferenceError(f"{out} is not an empty folder: answers are written into a new one")
    for template in checkout.manifest.templates:
        path = out / template
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generate(checkout.manifest, template, answers=True), "utf-8")
    click.echo(f"{len(checkout.manifest.templates)} files in {out}")
    return 0
