"""``course solution``: the reference's answer."""

from pathlib import Path

import click

from course.checkout import Checkout, find_reference
from course.template_source import symbol_text
from zoo.errors import InferenceError


@click.command("solution")
@click.argument("exercise_id", metavar="ID")
@click.option("--spoil", is_flag=True, help="also where yours is not done")
@click.option("--reference", type=click.Path(path_type=Path, exists=True))
def command(exercise_id: str, spoil: bool, reference: Path | None) -> int:
    """Show the reference's answer, once yours is done."""
    from rich.console import Console
    from rich.syntax import Syntax

    from course.progress import standings

    checkout = Checkout()
    exercise = checkout.manifest.find(exercise_id)
    standing = next(s for s in standings(checkout.manifest, checkout.state)
                    if s.exercise.id == exercise.id)
    if standing.verdict not in ("done", "slow") and not spoil:
        raise InferenceError(f"{exercise.id} is not done yet (course check {exercise.id}); "
                             "--spoil shows the answer all the same")
    path = find_reference(checkout.root, reference) / exercise.solution
    if not path.exists():
        raise InferenceError(f"{exercise.solution} is not in this copy of the course: name the "
                             "reference by --reference")
    source = path.read_text("utf-8")
    console = Console()
    console.print(f"[dim]{exercise.solution}[/]\n")
    for symbol in exercise.symbols:
        console.print(Syntax(symbol_text(source, symbol), "python", background_color="default"))
        console.print()
    return 0
