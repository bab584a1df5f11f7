"""``course reset``: the untouched template of an exercise again."""

import click

from course.checkout import Checkout
from course.state import back_up
from course.template_source import generate, replace_symbol


@click.command("reset")
@click.argument("exercise_id", metavar="ID")
def command(exercise_id: str) -> int:
    """Put an exercise's untouched text back; what you wrote is kept as a copy."""
    checkout = Checkout()
    manifest = checkout.manifest
    exercise = manifest.find(exercise_id)
    path = checkout.root / exercise.template
    fresh = generate(manifest, exercise.template)
    text = fresh
    if path.exists():
        copy = back_up(checkout.root, path)
        click.echo(f"what was there: {copy.relative_to(checkout.root)}")
        text = path.read_text("utf-8-sig", "replace")
        try:
            for symbol in exercise.symbols:
                text = replace_symbol(text, symbol, fresh)
        except (Exception, RecursionError):  # the file does not parse, or the symbol is gone
            text = fresh
            click.echo("the file could not be read as Python: all of it is new")
    path.write_text(text, "utf-8")
    click.echo(f"{exercise.template}: {', '.join(exercise.symbols)} as in the beginning")
    return 0
