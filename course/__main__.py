"""The command ``course``: bare, it shows the board."""

import importlib
import sys
from pathlib import Path

import click

from zoo.terminal import run_command

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "check": "run the checks of some exercises, or of all",
    "watch": "check again whenever a template is saved",
    "hint": "a hint, stronger each time",
    "diff": "the smallest input that fails: expected and got side by side",
    "reset": "put the untouched template of an exercise back",
    "solution": "the reference's answer, once yours is done",
    "grade": "grade a submission that is not trusted",
    "class": "grade a whole class, and see what to teach again",
    "doctor": "whether this machine and this checkout are ready",
    "generate": "write the templates from the solutions",
    "update": "renew what you have not touched, after a pull",
    "answers": "write the templates with the reference's answers in them",
    "release": "write a copy to hand out, without the reference",
}


class LazyGroup(click.Group):
    """Imports a command's module when it is called: the bare command must be quick."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The commands, in the order of use."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(
            f"course.commands.{'class_' if name == 'class' else name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, invoke_without_command=True)
@click.pass_context
def course(context: click.Context) -> None:
    """Learn inference by building it: fill the templates, and check them."""
    if context.invoked_subcommand is None:
        from rich.console import Console

        from course.manifest import load_manifest
        from course.progress import standings
        from course.show import show_board
        from course.state import find_state

        manifest, state = load_manifest(ROOT), find_state(ROOT)
        console = Console(highlight=False)
        show_board(manifest, standings(manifest, state), console)
        if state.note:
            console.print(f"[dim]{state.note}[/]")


def main() -> int:
    """The program ``course``."""
    return run_command(course)


if __name__ == "__main__":
    sys.exit(main())
