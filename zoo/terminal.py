"""How commands end: results with 0, a failed check with 1, a user's mistake with one line and 2."""

import os
import sys
from contextlib import AbstractContextManager
from typing import Any

import click

from zoo.errors import InferenceError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run_command(command: click.Command) -> int:
    """Run a click command and turn its outcome into an exit code; mistakes print one line.

    The command's own return value, where it is a number, is the exit code.
    """
    try:
        result = command.main(standalone_mode=False)
        return result if isinstance(result, int) else 0
    except InferenceError as error:
        return _mistake(str(error))
    except click.ClickException as error:
        return _mistake(f"{error.format_message()} (see --help)")
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _mistake(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


def progress_bar(unit: str) -> AbstractContextManager[Any]:
    """A rich progress bar on stderr that counts ``unit``."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
