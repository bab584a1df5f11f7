"""``course hint``: a hint, stronger each time."""

import click

from course.checkout import Checkout
from course.state import Remembered


@click.command("hint")
@click.argument("exercise_id", metavar="ID")
@click.option("--all", "everything", is_flag=True, help="all hints at once")
def command(exercise_id: str, everything: bool) -> int:
    """Show the next hint; after the last one it is shown again."""
    checkout = Checkout()
    exercise = checkout.manifest.find(exercise_id)
    state = checkout.state
    known = state.exercises.setdefault(exercise.id, Remembered("todo", ""))
    known.hints = len(exercise.hints) if everything else min(known.hints + 1, len(exercise.hints))
    state.save()
    first = 1 if everything else known.hints
    for number in range(first, known.hints + 1):
        click.echo(f"{exercise.id} {exercise.title}, hint {number} of {len(exercise.hints)}:")
        click.echo(click.wrap_text(exercise.hints[number - 1], 88, "  ", "  "))
    folder = exercise.template.parts[0]
    click.echo(f"\nThe idea and an example: {folder}/guidelines.md#{exercise.guide}")
    return 0
