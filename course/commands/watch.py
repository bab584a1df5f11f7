"""``course watch``: a check at every save."""

import os
import queue
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from course.checkout import Checkout
from course.commands.check import run_check
from course.manifest import Exercise
from course.progress import next_exercise, standings
from zoo.errors import MissingExtraError

KEYS = "h hint   l list   r reset   c check again   q quit"


@click.command("watch")
@click.argument("ids", nargs=-1)
@click.option("--seed", type=click.IntRange(min=0))
def command(ids: tuple[str, ...], seed: int | None) -> int:
    """Check an exercise whenever its template is saved; without IDS, the next open one."""
    try:
        import watchfiles  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("watchfiles", "learn") from error
    checkout = Checkout()
    wanted = checkout.chosen(ids) if ids else ()
    events: queue.Queue[str] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_saves, args=(checkout, events, stop), daemon=True).start()
    with _single_keys() as terminal:
        if terminal:
            threading.Thread(target=_keys, args=(events, stop), daemon=True).start()
        try:
            _follow(checkout, wanted, seed, events, terminal)
        finally:
            stop.set()
    return 0


def _follow(checkout: Checkout, wanted: tuple[Exercise, ...], seed: int | None,
            events: "queue.Queue[str]", terminal: bool) -> None:
    current = wanted or _open(checkout)
    _check(current, seed, terminal)
    while True:
        event = events.get()
        if event == "q":
            return
        if event == "h" and current:
            _command("hint", current[0].id)
        elif event == "l":
            _command("board")
        elif event == "r" and current:
            _command("reset", current[0].id)
        elif event == "c" or event.endswith(".py"):
            if event.endswith(".py"):
                current = _touched(checkout, wanted, event) or current
            _check(current, seed, terminal)
            current = wanted or _open(checkout) or current


def _open(checkout: Checkout) -> tuple[Exercise, ...]:
    """The next exercise that is open; none where all are done."""
    found = next_exercise(standings(checkout.manifest, Checkout(checkout.root).state))
    return (found,) if found else ()


def _touched(checkout: Checkout, wanted: tuple[Exercise, ...], name: str) -> tuple[Exercise, ...]:
    """The exercises of a saved template whose text changed since their last verdict."""
    here = [s for s in standings(checkout.manifest, Checkout(checkout.root).state)
            if s.exercise.template.name == name and (not wanted or s.exercise in wanted)]
    changed = tuple(s.exercise for s in here if s.verdict not in ("todo", "done"))
    return changed or tuple(s.exercise for s in here if s.verdict != "done")[:1]


def _check(exercises: tuple[Exercise, ...], seed: int | None, terminal: bool) -> None:
    click.clear()
    if exercises:
        run_check(Checkout(), tuple(exercise.id for exercise in exercises), None, seed)
    else:
        click.echo("Everything is done.")
    click.echo(f"\n{KEYS}" if terminal else "\nsave a template to check it, Ctrl-C to end")


def _command(name: str, *words: str) -> None:
    """Another command of the course, shown here."""
    from course.__main__ import course

    click.clear()
    arguments = [] if name == "board" else [name, *words]
    course.main(arguments, standalone_mode=False)
    click.echo(f"\n{KEYS}")


def _saves(checkout: Checkout, events: "queue.Queue[str]", stop: threading.Event) -> None:
    from watchfiles import watch

    templates = {template.name for template in checkout.manifest.templates}
    folders = {checkout.root / t.parent for t in checkout.manifest.templates}
    for changes in watch(*sorted(folders), stop_event=stop, debounce=100, step=50,
                         recursive=False, raise_interrupt=False):
        for name in sorted({os.path.basename(path) for _, path in changes}):  # noqa: PTH119
            if name in templates:
                events.put(name)


def _keys(events: "queue.Queue[str]", stop: threading.Event) -> None:
    while not stop.is_set():
        if select.select([sys.stdin], [], [], 0.2)[0]:
            key = sys.stdin.read(1)
            if not key:
                return
            events.put(key.lower())


@contextmanager
def _single_keys() -> Iterator[bool]:
    """Keys without Enter, where there is a terminal that can."""
    try:
        import termios
        import tty
    except ImportError:
        yield False
        return
    if not sys.stdin.isatty():
        yield False
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield True
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
