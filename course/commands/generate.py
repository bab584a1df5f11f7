"""``course generate``: templates from solutions, for those who write exercises."""

import ast
import difflib
from pathlib import Path

import click

from course.checkout import Checkout
from course.manifest import Manifest
from course.template_source import find_symbol, generate, is_untouched


@click.command("generate")
@click.option("--check", is_flag=True, help="write nothing; exit with 1 where one would change")
def command(check: bool) -> int:
    """Write the templates anew. For authors: a learner's answers in them would be lost, so a file
    with answers is left alone."""
    checkout = Checkout()
    manifest = checkout.manifest
    stale = 0
    for template in manifest.templates:
        path = checkout.root / template
        text = generate(manifest, template)
        before = path.read_text("utf-8") if path.exists() else ""
        if text == before:
            continue
        stale += 1
        if check:
            click.echo(f"{template} is not what its solution gives:")
            lines = difflib.unified_diff(before.splitlines(), text.splitlines(), "there",
                                         "generated", lineterm="", n=1)
            click.echo("\n".join(list(lines)[:20]))
            continue
        if before and answered(manifest, template, before):
            click.echo(f"{template} holds answers: left alone (course update renews the rest)")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        click.echo(f"{template} written")
    if not stale:
        click.echo(f"{len(manifest.templates)} templates are as their solutions give them")
    return int(check and stale > 0)


def answered(manifest: Manifest, template: Path, text: str) -> bool:
    """Whether somebody has done an exercise in a template's text."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return True
    return any(
        find_symbol(tree, symbol) is not None and not is_untouched(tree, exercise, symbol)
        for exercise in manifest.exercises if exercise.template == template
        for symbol in exercise.symbols
    )
