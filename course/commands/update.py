"""``course update``: after a pull, renew what the learner has not touched."""

import ast

import click

from course.checkout import Checkout
from course.state import back_up
from course.template_source import find_symbol, generate, is_untouched, replace_symbol


@click.command("update")
def command() -> int:
    """Renew the templates from the solutions; answers stay, and so does a copy of what changes."""
    checkout = Checkout()
    manifest = checkout.manifest
    changed = 0
    for template in manifest.templates:
        path = checkout.root / template
        fresh = generate(manifest, template)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fresh, "utf-8")
            click.echo(f"{template}: new")
            changed += 1
            continue
        text = path.read_text("utf-8-sig", "replace")
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            click.echo(f"{template}: line {error.lineno} is no Python: left alone")
            continue
        kept = []
        merged = fresh
        for exercise in manifest.of_template(template):
            for symbol in exercise.symbols:
                if find_symbol(tree, symbol) is not None and not is_untouched(
                        tree, exercise, symbol):
                    merged = replace_symbol(merged, symbol, text)
                    kept.append(symbol)
        if merged == text:
            continue
        copy = back_up(checkout.root, path)
        path.write_text(merged, "utf-8")
        changed += 1
        click.echo(f"{template}: renewed" + (f", your {', '.join(kept)} kept" if kept else "")
                   + f" (before: {copy.relative_to(checkout.root)})")
    if not changed:
        click.echo("everything is up to date")
    return 0
